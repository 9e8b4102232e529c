"""The compiled meta-gradient is the eager one: the formula, the packed numbers, data in chunks.

What the compiler makes of the formula is tried with two compilations. Everything else is tried on
the formula as it stands (`not_compiled`), which takes milliseconds instead of seconds.
"""

import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torch._inductor.config
from cases import (
    EXACT,
    STEP,
    TRAINING,
    carts,
    gen,
    of_task,
    signed_alpha,
    sines,
    start,
    used,
    wanted,
)
from torch.testing import assert_close

from metasgd_core import (
    FINE_TUNING,
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    Data,
    Sinusoid,
    init_alpha,
    init_theta,
    meta_loss,
    meta_train,
)
from metasgd_core.compiled import meta_gradient
from metasgd_core.training import draws, gradient

SCALAR = replace(META_SGD, name="learned scalar", alpha_shape="scalar")
TENSOR = replace(META_SGD, name="learned per tensor", alpha_shape="tensor")
LOG = replace(META_SGD, name="in the log", alpha_form="log")
NONNEGATIVE = replace(META_SGD, name="nonnegative", alpha_form="nonnegative")
STEPS = replace(META_SGD, name="three steps", inner_steps=3)
FIRST = replace(STEPS, name="three steps, first order", first_order=True)
METHODS = [MAML, replace(MAML, name="MAML, three steps", inner_steps=3), FOMAML, META_SGD, SCALAR,
           TENSOR, LOG, NONNEGATIVE, STEPS, FIRST]
COMPILER = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"there is no C++ compiler {COMPILER!r} here"
)


def train(family, method, runs=(), alpha=None, **changes):
    """Train from a start that is the same for all: 13 iterations, recorded at 5, 10 and 13."""
    theta = init_theta(family.model, generator=gen(1), runs=runs)
    if alpha is None:
        alpha = init_alpha(theta, method.alpha_shape, 0.05, runs=runs)
    settings = {"iterations": 13, "meta_batch": 3, "shots": 5, "query_shots": 6, "lr": 0.01,
                "record_every": 5, "generator": gen(3)}
    return meta_train(family, theta, alpha, method, **(settings | changes))


# ---- the formula


@pytest.mark.parametrize("runs", [(), (2,)], ids=["one run", "two runs"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_formula_is_the_gradient_of_the_meta_loss(method, runs):
    """Losses and gradients of one meta-batch, by vmap(grad) and by autograd of ``meta_loss``."""
    family = sines()
    theta, alpha = start(family, method.alpha_shape, runs=runs)
    if method.alpha_shape == "entry" and method.alpha_form == "raw":
        alpha = signed_alpha(theta)
    tasks = family.sample_tasks(*runs, 3, generator=gen(2))
    data = family.sample_data(tasks, None, 11, generator=gen(4))
    names, rates = list(theta), list({id(a): a for a in alpha.values()}.values())
    learned = [*theta.values(), *(rates if method.learn_alpha else [])]

    def unpack(numbers):
        mine = numbers[len(names):] or rates
        if method.alpha_form == "log":
            mine = [a.exp() for a in mine]
        # A scalar is one number under six names.
        return dict(zip(names, numbers)), dict(zip(names, mine * (len(names) // len(mine))))

    gradient = meta_gradient(family, method, unpack, runs=len(runs), shots=5)
    loss, norm, grads = gradient(learned, data)

    leaves = list(wanted(dict(enumerate(learned))).values())
    expected = meta_loss(family, *unpack(leaves), tasks, method, shots=5, query_shots=6,
                         generator=gen(), data=data)
    by_autograd = torch.autograd.grad(expected.sum(), leaves)
    assert_close(loss, expected.detach(), **STEP)
    assert_close(grads, list(by_autograd), rtol=1e-10, atol=1e-12)
    every = torch.cat([g.reshape(*runs, -1) for g in by_autograd], dim=-1)
    assert_close(norm, every.square().sum(-1).sqrt(), **STEP)
    assert (norm > 0.01).all()


# ---- the training around it


@pytest.fixture
def not_compiled(monkeypatch):
    """Train with the formula as it stands, on chunks of 4 draws."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    monkeypatch.setattr(draws, "CHUNK", 4)


@dataclass
class OneByOne:
    """Hands an eager training, draw by draw, what the family draws for a whole chunk at once."""

    family: Sinusoid
    chunk: int
    place: int = -1
    on_policy: bool = False

    @property
    def model(self):
        return self.family.model

    def sample_tasks(self, *batch, generator):
        self.place = (self.place + 1) % self.chunk
        if self.place == 0:
            self.tasks = self.family.sample_tasks(self.chunk, *batch, generator=generator)
        return type(self.tasks)(*(part[self.place] for part in self.tasks))

    def sample_data(self, tasks, phi, shots, *, generator):
        if self.place == 0:  # after the tasks of the whole chunk, as the other draws them
            self.data = self.family.sample_data(self.tasks, phi, shots, generator=generator)
        return Data(*(part[self.place] for part in self.data))

    def loss(self, phi, data):
        return self.family.loss(phi, data)

    score = loss


def poisoned(family):
    """Return the family, but run 1 meets NaN at the third draw of the second chunk."""
    drawn = []

    class Poisoned(Sinusoid):
        def sample_data(self, tasks, phi, shots, *, generator):
            x, y = super().sample_data(tasks, phi, shots, generator=generator)
            drawn.append(x)
            if len(drawn) == 3:  # the first draw only shows the shapes
                y[2, 1] = torch.nan
            return Data(x, y)

    return Poisoned(family.model)


@pytest.mark.parametrize(
    ("method", "changes"),
    [(method, {}) for method in METHODS]
    + [(META_SGD, {"final_lr": 0.1, "alpha_lr": 0.1, "clip": 0.5}), (SCALAR, {"alpha_lr": 0.1}),
       (MAML, {"alpha": 0.03}), (TENSOR, {"runs": ()}), (META_SGD, {"runs": (2, 2)})],
    ids=lambda value: getattr(value, "name", None) or "-".join(value),
)
def test_a_training_by_the_formula_is_the_eager_one_on_its_data(not_compiled, method, changes):
    """Packed numbers, the log, the clamp, alpha's own rate, the schedule, the clip: the same."""
    family, changes = sines(), {"runs": (2,)} | changes
    mine = list(train(family, method, compiled=True, **changes))
    eager = list(train(OneByOne(family, 4), method, **changes))
    assert [r.iteration for r in mine] == [5, 10, 13]
    for record, expected in zip(mine, eager):
        assert_close(record._asdict(), expected._asdict(), **TRAINING)
    if method is NONNEGATIVE:
        assert min(float(a.min()) for a in mine[-1].alpha.values()) == 0  # it was set back
    assert len({id(a) for a in mine[-1].alpha.values()}) == len(
        {id(a) for a in eager[-1].alpha.values()}
    )


@pytest.mark.parametrize("changes", [{}, {"clip": 0.5, "final_lr": 0.1, "alpha_lr": 0.02}],
                         ids=["plain", "clip-schedule-alpha_lr"])
@pytest.mark.parametrize("method", [META_SGD, NONNEGATIVE], ids=lambda m: m.name)
def test_one_call_takes_the_steps_of_pytorchs_adam(not_compiled, tmp_path, method, changes):
    """Whoever passes Adam gets the gradient and the step apart; one may go on with the other's
    checkpoint, and a lost run is frozen in both."""
    apart = {"compiled": True, "optimizer": partial(torch.optim.Adam, fused=True)} | changes
    one = {"compiled": True} | changes
    expected = list(train(poisoned(sines()), method, (2,), **apart))
    mine = list(train(poisoned(sines()), method, (2,), **one))
    assert [r.diverged.tolist() for r in mine] == [[False, False], [False, True], [False, True]]
    for record, other in zip(mine, expected):
        assert_close(record._asdict(), other._asdict(), equal_nan=True, **TRAINING)
    healthy = list(train(sines(), method, (2,), **apart))
    for first, second in ((one, apart), (apart, one)):
        path = tmp_path / f"{first is one}.safetensors"
        next(train(sines(), method, (2,), checkpoint=path, **first))
        rest = list(train(sines(), method, (2,), checkpoint=path, **second))
        assert [r.iteration for r in rest] == [10, 13]
        assert_close(rest[-1].theta, healthy[-1].theta, **TRAINING)


def test_a_step_that_is_skipped_is_skipped_compiled_too(not_compiled):
    """And what Adam remembers of the run stays finite: it goes on as in eager PyTorch's steps."""
    settings = {"compiled": True, "record_every": 1, "clip": 0.5, "skip": True}
    mine = list(train(poisoned(sines()), META_SGD, (2,), **settings))
    other = list(train(poisoned(sines()), META_SGD, (2,),
                       optimizer=partial(torch.optim.Adam, fused=True), **settings))
    assert [record.loss.isnan().tolist() for record in mine] == [
        [False, record.iteration == 7] for record in mine]
    for record, apart in zip(mine, other):
        assert_close(record._asdict(), apart._asdict(), equal_nan=True, **TRAINING)


@pytest.mark.parametrize("changes", [{}, {"clip": 0.5}], ids=["free", "clipped"])
def test_a_run_that_diverges_is_frozen_and_its_neighbour_does_not_notice(not_compiled, changes):
    """Run 1 meets NaN in meta-iteration 7 and keeps its numbers of the sixth, bit for bit."""
    family = sines()
    healthy = list(train(family, META_SGD, (2,), compiled=True, record_every=1, **changes))
    hurt = list(train(poisoned(family), META_SGD, (2,), compiled=True, record_every=1,
                      **changes))
    for record, well in zip(hurt, healthy):
        gone = record.iteration >= 7
        assert record.diverged.tolist() == record.loss.isnan().tolist() == [False, gone]
        for group in ("theta", "alpha"):
            mine, sound = getattr(record, group), getattr(well, group)
            assert_close(of_task(mine, 0), of_task(sound, 0), **EXACT)
            frozen = getattr(healthy[5], group) if gone else sound
            assert_close(of_task(mine, 1), of_task(frozen, 1), **EXACT)


@pytest.mark.parametrize("method", [META_SGD, SCALAR, LOG, NONNEGATIVE, MAML], ids=lambda m: m.name)
@pytest.mark.parametrize("record_every", [1, 3, 4, 5])
def test_a_resume_within_a_chunk_or_between_two_is_bit_for_bit(
    not_compiled, tmp_path, method, record_every
):
    """Broken off at every record in turn; a record may fall on a chunk's end, or anywhere in it."""
    settings = {"compiled": True, "record_every": record_every, "final_lr": 0.1}
    whole = gen(3)
    unbroken = list(train(sines(), method, (2,), generator=whole, **settings))
    path, records = tmp_path / "a.safetensors", []
    for _ in unbroken:
        generator = used(3) if path.exists() else gen(3)  # the checkpoint's state replaces it
        training = train(sines(), method, (2,), generator=generator, checkpoint=path, **settings)
        records.append(next(training))
        training.close()
    assert_close(records, unbroken, **EXACT)
    # Finished and read again, it leaves the generator where the unbroken training left its own.
    generator = used(3)
    list(train(sines(), method, (2,), generator=generator, checkpoint=path, **settings))
    assert torch.equal(generator.get_state(), whole.get_state())


@pytest.mark.parametrize("compiled", [False, True])
def test_a_checkpoint_of_the_other_mode_is_refused(not_compiled, tmp_path, compiled):
    """The data are drawn in another order: going on would repeat some and leave some out."""
    path = tmp_path / "a.safetensors"
    next(train(sines(), META_SGD, checkpoint=path, compiled=not compiled))
    with pytest.raises(ValueError, match=f"belongs to another training .*compiled: {not compiled} "
                                         f"there, {compiled} here"):
        next(train(sines(), META_SGD, checkpoint=path, compiled=compiled))


@pytest.mark.parametrize(
    ("family", "method", "named"),
    [(carts(), MAML, "CartPole"), (sines(), JOINT, "joint"), (sines(), REPTILE, "Reptile"),
     (sines(), FINE_TUNING, "fine-tuning")],
    ids=["carts", "joint", "Reptile", "fine-tuning"],
)
def test_what_cannot_be_compiled_is_refused_before_anything_is_drawn(family, method, named):
    generator = gen(3)
    with pytest.raises(ValueError, match=r"compiled=True is for supervised tasks and the objectives"
                                         rf" 'query' and 'steps' .*, not for {named}; leave it"):
        next(train(family, method, generator=generator, compiled=True))
    assert torch.equal(generator.get_state(), gen(3).get_state())


# ---- really compiled


def smooth(dtype):
    """Return a family without kinks: there rounding does not grow into another path."""
    return sines(activation="tanh", dtype=dtype)


LONG = {"runs": (2,), "iterations": 130, "record_every": 50, "final_lr": 0.1, "clip": 5.0,
        "compiled": True}


@pytest.fixture(scope="module")
def compiled_training():
    return list(train(smooth(torch.float32), META_SGD, **LONG))


@pytest.mark.slow
@needs_compiler
def test_a_compiled_training_is_that_of_the_formula(compiled_training, monkeypatch):
    """In float32, over two chunks and a piece, with learned rates, two runs, schedule and clip."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    plain = list(train(smooth(torch.float32), META_SGD, **LONG))
    for record, expected in zip(compiled_training, plain):
        assert_close(record._asdict(), expected._asdict(), rtol=1e-5, atol=1e-5)
    one_by_one = OneByOne(smooth(torch.float32), 64)
    *_, eager = train(one_by_one, META_SGD, **(LONG | {"compiled": False}))
    assert_close(compiled_training[-1].theta, eager.theta, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_training_resumes_bit_for_bit_within_a_chunk(compiled_training, tmp_path):
    path = tmp_path / "a.safetensors"
    before = train(smooth(torch.float32), META_SGD, checkpoint=path, **LONG)
    first = next(before)
    before.close()
    after = train(smooth(torch.float32), META_SGD, checkpoint=path, generator=used(3), **LONG)
    assert_close([first, *after], compiled_training, **EXACT)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_that_diverges_leaves_its_neighbour_alone(compiled_training):
    hurt = list(train(poisoned(smooth(torch.float32)), META_SGD, **LONG))
    assert [r.diverged.tolist() for r in hurt] == [[False, False], [False, True], [False, True]]
    for record, well in zip(hurt, compiled_training):
        assert_close(of_task(record.theta, 0), of_task(well.theta, 0), **EXACT)
        assert_close(record.loss[0], well.loss[0], **EXACT)
    assert_close(of_task(hurt[2].theta, 1), of_task(hurt[1].theta, 1), **EXACT)


@pytest.mark.slow
@needs_compiler
def test_fixed_rates_are_compiled_in(monkeypatch):
    """MAML's alpha is a constant of the graph: three steps, exact, one run, float64."""
    method = replace(MAML, inner_steps=3)
    mine = list(train(smooth(torch.float64), method, alpha=0.05, compiled=True))
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    plain = list(train(smooth(torch.float64), method, alpha=0.05, compiled=True))
    assert_close([r._asdict() for r in mine], [r._asdict() for r in plain], **TRAINING)


def test_without_a_compiler_one_sentence_says_so(tmp_path):
    nothing = {"cpp.cxx": (None, str(tmp_path / "nothing")), "force_disable_caches": True}
    with (
        torch._inductor.config.patch(nothing),
        pytest.raises(RuntimeError, match=r"^compiled=True: PyTorch could not") as e,
    ):
        next(train(sines(1, 2, 1), META_SGD, compiled=True))
    assert "InvalidCxxCompiler" in str(e.value)
    assert str(e.value).endswith("It needs a recent PyTorch and a C++ compiler, such as Debian's "
                                 "g++; without them, leave compiled out")
    assert "\n" not in str(e.value)


def test_a_compiler_that_fails_without_a_word_is_said_too(monkeypatch):
    """PyTorch may raise an error with no text at all."""

    def silent(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(torch, "compile", silent)
    with pytest.raises(RuntimeError, match=r"could not compile the meta-gradient here \(RuntimeE"):
        next(train(sines(), META_SGD, compiled=True))


@pytest.mark.parametrize(("most", "chunk"), [(2**28, 64), (11 * 8 * 3 * 2 * 3, 2), (1, 1)])
def test_a_chunk_is_bounded_by_its_bytes_and_never_empty(monkeypatch, most, chunk):
    """Sixty-four draws of sinusoids are a megabyte, of images they would be gigabytes."""
    monkeypatch.setattr(draws, "MOST_BYTES", most)
    family = sines()
    mine = draws.Draws(family, {}, (3,), 11, gen(3), chunked=True)
    assert mine.chunk == chunk
    assert mine.at(0)[1].x.shape == (3, 11, 1)


def test_what_is_compiled_meets_data_that_lie_in_memory_as_in_the_example():
    """Compiled code takes strides for granted; a family may well turn its axes about."""

    class Turned(Sinusoid):
        def sample_data(self, tasks, phi, shots, *, generator):
            data = super().sample_data(tasks, phi, shots, generator=generator)
            return Data(*(leaf.movedim(-2, 0).contiguous().movedim(0, -2) for leaf in data))

    mine = draws.Draws(Turned(sines().model), {}, (3,), 11, gen(3), chunked=True)
    for leaf, example in zip(mine.at(0)[1], mine.example[1]):
        assert leaf.stride() == example.stride()
