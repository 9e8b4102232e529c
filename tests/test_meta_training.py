"""The outer loop: it is algorithm 1 with a textbook optimiser, for one run or for many at once."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import (
    EXACT,
    STEP,
    TRAINING,
    OneOfRuns,
    gen,
    gradients,
    of_task,
    signed_alpha,
    sines,
    start,
    wanted,
)
from torch.func import functional_call
from torch.testing import assert_close

from metasgd_core import (
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    evaluate,
    init_alpha,
    init_theta,
    meta_loss,
    meta_train,
    progress,
)
from metasgd_core.meta_training import Record

SCALAR = replace(META_SGD, name="learned scalar", alpha_shape="scalar")
TENSOR = replace(META_SGD, name="learned per tensor", alpha_shape="tensor")
F64 = torch.float64


def train(family, theta, alpha, method, seed=3, **changes):
    settings = {"iterations": 4, "meta_batch": 3, "shots": 5, "query_shots": 6, "lr": 0.01,
                "record_every": 1, "generator": gen(seed)}
    return list(meta_train(family, theta, alpha, method, **(settings | changes)))


class Adam:
    """Kingma and Ba's algorithm 1, one number at a time as far as anyone can see."""

    def __init__(self, rates):
        self.rates, self.t, self.m, self.v = rates, 0, {}, {}

    def step(self, numbers, grads, factor):
        self.t += 1
        stepped = {}
        for key, g in grads.items():
            m = self.m[key] = 0.9 * self.m.get(key, 0) + 0.1 * g
            v = self.v[key] = 0.999 * self.v.get(key, 0) + 0.001 * g**2
            m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            stepped[key] = numbers[key] - factor * self.rates[key] * m_hat / (v_hat**0.5 + 1e-8)
        return stepped


@pytest.mark.parametrize("method", [SCALAR, TENSOR, META_SGD], ids=lambda m: m.name)
def test_training_is_algorithm_1_with_adam_written_out_by_hand(method):
    """Four iterations from first principles: a loop over tasks, plain autograd, Adam's equations.

    alpha has a learning rate of its own, and both fall linearly to a tenth. A scalar alpha that
    Adam met under each of its six names would be stepped six times; here it is one number.
    """
    family = sines(1, 4, 3, 1, activation="tanh")
    theta, alpha = start(family, method.alpha_shape, 0.05)
    records = train(family, theta, alpha, method, lr=0.02, alpha_lr=0.005, final_lr=0.1)

    names = list(theta)
    alpha_key = {n: "alpha" if method is SCALAR else f"alpha.{n}" for n in names}
    numbers = dict(theta) | {alpha_key[n]: alpha[n] for n in names}
    adam = Adam({key: 0.005 if key.startswith("alpha") else 0.02 for key in numbers})
    g = gen(3)
    for k, record in enumerate(records):
        tasks = family.sample_tasks(3, generator=g)
        points = family.sample_data(tasks, None, 11, generator=g)
        numbers = wanted(numbers)
        losses = []
        for x, y in zip(*points):

            def error(phi, rows, x=x, y=y):
                return (functional_call(family.model, phi, (x[rows],)) - y[rows]).square().mean()

            now = {n: numbers[n] for n in names}
            inner = torch.autograd.grad(error(now, slice(0, 5)), list(now.values()),
                                        create_graph=True)
            phi = {n: now[n] - numbers[alpha_key[n]] * d for n, d in zip(names, inner)}
            losses.append(error(phi, slice(5, 11)))
        loss = sum(losses) / 3
        (grads,) = gradients(loss, numbers)
        numbers = adam.step(numbers, grads, 1 - 0.9 * k / 3)
        assert record.iteration == k + 1
        assert_close(record.loss, loss.detach(), **TRAINING)
        assert_close(record.theta, {n: numbers[n].detach() for n in names}, **TRAINING)
        assert_close(record.alpha, {n: numbers[alpha_key[n]].detach() for n in names}, **TRAINING)


def test_a_learned_scalar_moves_by_one_adam_step_and_stays_one_number():
    """Adam's first step is the learning rate itself, whatever the gradient: 0.05 -> 0.04 or 0.06.

    Stepped once a name, it would have moved by six times that.
    """
    family = sines()
    theta, alpha = start(family, "scalar", 0.05)
    record = train(family, theta, alpha, SCALAR, iterations=1)[-1]
    first, *others = record.alpha.values()
    assert all(other is first for other in others)
    assert abs(float(first) - 0.05) == pytest.approx(0.01, rel=1e-4)


def test_the_learning_rate_falls_linearly_to_its_last_fraction():
    family = sines()
    theta, _ = start(family)
    seen = []

    def spy(groups, lr):
        outer = torch.optim.SGD(groups, lr=lr)
        outer.register_step_pre_hook(lambda o, *_: seen.append([g["lr"] for g in o.param_groups]))
        return outer

    train(family, theta, start(family)[1], META_SGD, iterations=5, lr=1.0, alpha_lr=0.1,
          final_lr=0.2, optimizer=spy)
    assert torch.tensor(seen).tolist() == pytest.approx(
        torch.tensor([[1.0, 0.1], [0.8, 0.08], [0.6, 0.06], [0.4, 0.04], [0.2, 0.02]])
    )


@pytest.mark.parametrize("method", [JOINT, MAML, FOMAML, REPTILE], ids=lambda method: method.name)
def test_alphas_own_rate_is_without_effect_where_alpha_is_fixed(method):
    """So that one set of settings serves several methods: the same records bit for bit."""
    family = sines()
    theta, alpha = start(family)
    found = train(family, theta, alpha, method, alpha_lr=9.0)
    assert_close(found, train(family, theta, alpha, method), **EXACT)


# ---- determinism, and what training leaves alone


@pytest.mark.parametrize("method", [JOINT, MAML, FOMAML, REPTILE, META_SGD], ids=lambda m: m.name)
def test_the_same_seed_gives_the_same_training_bit_for_bit(method):
    family = sines()
    theta, alpha = start(family)
    first = train(family, theta, alpha, method)
    torch.manual_seed(4321)  # the global generator plays no part
    assert_close(train(family, theta, alpha, method), first, **EXACT)
    assert not torch.equal(train(family, theta, alpha, method, seed=4)[-1].loss, first[-1].loss)


def test_theta_alpha_and_earlier_records_are_left_as_they_were():
    family = sines()
    theta, alpha = start(family)
    old = ({n: p.clone() for n, p in theta.items()}, {n: a.clone() for n, a in alpha.items()})
    records = train(family, theta, alpha, META_SGD)
    assert_close((theta, alpha), old, **EXACT)
    halfway = train(family, theta, alpha, META_SGD, iterations=4, record_every=2)[0]
    assert_close(records[1].theta, halfway.theta, **EXACT)
    assert not torch.equal(records[1].theta["layers.0.bias"], records[2].theta["layers.0.bias"])
    assert not any(p.requires_grad for p in [*records[0].theta.values(),
                                            *records[0].alpha.values()])


def test_a_record_averages_the_losses_since_the_last_and_the_end_is_always_recorded():
    family = sines()
    theta, alpha = start(family)
    each = train(family, theta, alpha, META_SGD, iterations=5)
    some = train(family, theta, alpha, META_SGD, iterations=5, record_every=2)
    assert [r.iteration for r in some] == [2, 4, 5]
    losses = [float(r.loss) for r in each]
    expected = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2, losses[4]]
    assert [float(r.loss) for r in some] == pytest.approx(expected, rel=1e-14)
    assert_close(some[-1].theta, each[-1].theta, **EXACT)


@pytest.mark.parametrize("method", [MAML, META_SGD], ids=lambda m: m.name)
@pytest.mark.parametrize("kind", ["transposed", "expanded"])
def test_the_memory_layout_of_theta_and_alpha_does_not_change_the_result(kind, method):
    """Fused Adam walks through memory: a transposed leaf would be stepped with another entry's
    gradient, and an expanded one (stride 0) would corrupt the heap, both without an error."""
    family = sines(1, 4, 4, 1)
    theta = {n: torch.full_like(p, 0.3) if n == "layers.1.bias" else p
             for n, p in start(family)[0].items()}
    alpha = start(family)[1] if kind == "expanded" else signed_alpha(theta)

    def laid_out(p):
        if kind == "transposed":
            return p.mT.contiguous().mT if p.ndim == 2 else p
        return p.flatten()[0].expand(p.shape) if (p == p.flatten()[0]).all() else p

    strange = [{n: laid_out(p) for n, p in group.items()} for group in (theta, alpha)]
    assert any(not p.is_contiguous() for group in strange for p in group.values())
    plain = train(family, theta, alpha, method)
    assert_close(train(family, *strange, method), plain, **EXACT)


# ---- the runs axis


@pytest.mark.parametrize("method", [JOINT, MAML, SCALAR, TENSOR, META_SGD, REPTILE],
                         ids=lambda m: m.name)
def test_runs_trained_at_once_equal_the_runs_trained_one_by_one(method):
    """On the same data, to rounding: a sweep is one training, and nothing leaks between runs.

    (To 1e-9 and not bit for bit: a batched matrix product may add in another order.) Three runs
    with three first rates; averaging the meta-loss over runs would shrink every gradient.
    """
    family = sines(1, 4, 3, 1)
    theta = init_theta(family.model, generator=gen(1), runs=(3,))
    alpha = init_alpha(theta, method.alpha_shape, torch.tensor([0.01, 0.05, 0.2], dtype=F64),
                       runs=(3,))
    together = train(OneOfRuns(family, 3, slice(None)), theta, alpha, method, clip=1.0)
    for run in range(3):
        mine = ({n: a[run] for n, a in alpha.items()} if method.alpha_shape != "scalar"
                else dict.fromkeys(theta, next(iter(alpha.values()))[run]))
        alone = train(OneOfRuns(family, 3, run), of_task(theta, run), mine, method, clip=1.0)
        for one, all_runs in zip(alone, together):
            assert_close(all_runs.loss[run], one.loss, **TRAINING)
            assert_close(of_task(all_runs.theta, run), one.theta, **TRAINING)
            assert_close(of_task(all_runs.alpha, run), one.alpha, **TRAINING)


def test_runs_do_not_share_their_tasks():
    """Shared tasks would make the spread over seeds look smaller than it is."""
    family = sines()
    theta, alpha = start(family, runs=(3,))
    met = []

    class Spy(type(family)):
        def sample_tasks(self, *batch, generator):
            tasks = super().sample_tasks(*batch, generator=generator)
            met.append(tasks.amplitude)
            return tasks

    train(Spy(family.model), theta, alpha, META_SGD)
    assert torch.stack(met).shape == (4, 3, 3)
    assert torch.stack(met).unique().numel() == 36


def test_a_float_rate_serves_every_run():
    family = sines()
    theta, _ = start(family, runs=(2,))
    full = init_alpha(theta, "entry", 0.05, runs=(2,))
    records = train(family, theta, 0.05, MAML)
    assert_close([r.theta for r in records], [r.theta for r in train(family, theta, full, MAML)],
                 **EXACT)


# ---- clipping and divergence


def sgd(groups, lr):
    return torch.optim.SGD(groups, lr=lr)


def test_the_meta_gradient_is_clipped_for_each_run_with_theta_and_alpha_together():
    """Of two runs one has a large gradient: it moves by exactly lr * clip, the other is untouched.

    Clipped over the stack, the wild run would have shrunk its neighbour's step.
    """
    family = sines()
    theta, alpha = start(family, runs=(2,))
    theta = {n: p * torch.tensor([0.05, 3.0], dtype=F64).reshape(2, *[1] * (p.ndim - 1))
             for n, p in theta.items()}

    def moves(**clip):
        (r,) = train(family, theta, alpha, META_SGD, iterations=1, optimizer=sgd, lr=1.0, **clip)
        return torch.cat([(r.theta[n] - theta[n]).flatten(1) for n in theta]
                         + [(r.alpha[n] - alpha[n]).flatten(1) for n in theta], dim=1)

    free = moves()
    small, large = free.norm(dim=1).tolist()
    assert small < large / 2
    clip = (small + large) / 2
    clipped = moves(clip=clip)
    assert_close(clipped[0], free[0], **EXACT)
    assert_close(clipped[1], free[1] * (clip / large), **STEP)


@pytest.mark.parametrize("optimizer", [None, sgd], ids=["Adam", "SGD"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_diverged_run_is_frozen_and_named_and_its_neighbours_do_not_notice(optimizer, clip):
    """Run 1 meets NaN in iteration 3. It keeps its numbers of iteration 2 and loses its loss.

    The neighbours equal, bit for bit, a training in which nothing went wrong, and to rounding the
    runs trained alone.
    """
    family = sines(1, 4, 3, 1)
    theta, alpha = start(family, runs=(3,))
    kwargs = {"iterations": 6, "optimizer": optimizer, "clip": clip}
    healthy = train(OneOfRuns(family, 3, slice(None)), theta, alpha, META_SGD, **kwargs)
    hurt = train(OneOfRuns(family, 3, slice(None), poison=(1, 3)), theta, alpha, META_SGD,
                 **kwargs)
    for record, well in zip(hurt, healthy):
        gone = record.iteration >= 3
        assert record.diverged.tolist() == [False, gone, False]
        assert record.loss.isnan().tolist() == [False, gone, False]
        for group in ("theta", "alpha"):
            mine, sound = getattr(record, group), getattr(well, group)
            frozen = getattr(healthy[1] if gone else well, group)
            for n in theta:
                assert torch.equal(mine[n][[0, 2]], sound[n][[0, 2]])
                assert torch.equal(mine[n][1], frozen[n][1])
    alone = train(OneOfRuns(family, 3, 2), of_task(theta, 2), of_task(alpha, 2), META_SGD,
                  **kwargs)
    assert_close(of_task(hurt[-1].theta, 2), alone[-1].theta, **TRAINING)


@pytest.mark.parametrize("optimizer", [None, sgd], ids=["Adam", "SGD"])
def test_a_run_that_skips_stays_where_it_is_for_a_step_and_goes_on(optimizer, tmp_path):
    """Run 1 meets NaN in iteration 3 alone: it keeps its numbers there, and moves again in 4."""
    family = sines()
    theta, alpha = start(family, runs=(2,))
    kwargs = {"iterations": 5, "optimizer": optimizer, "clip": 0.5}
    healthy = train(OneOfRuns(family, 2, slice(None)), theta, alpha, META_SGD, **kwargs)
    hurt = train(OneOfRuns(family, 2, slice(None), poison=(1, 3)), theta, alpha, META_SGD,
                 skip=True, checkpoint=tmp_path / "a", **kwargs)
    assert not any(record.diverged.any() for record in hurt)
    assert [record.loss.isnan().tolist() for record in hurt] == [
        [False, record.iteration == 3] for record in hurt]
    for n in theta:
        assert torch.equal(hurt[-1].theta[n][0], healthy[-1].theta[n][0])
        assert torch.equal(hurt[2].alpha[n][1], healthy[1].alpha[n][1])
    moved = torch.cat([(hurt[3].theta[n] - hurt[2].theta[n])[1].flatten() for n in theta])
    assert moved.isfinite().all()
    assert moved.abs().max() > 1e-6
    with pytest.raises(ValueError, match=r"another training \(skip: True there, False here\)"):
        train(OneOfRuns(family, 2, slice(None), poison=(1, 3)), theta, alpha, META_SGD,
              checkpoint=tmp_path / "a", **kwargs)


def test_a_mean_loss_does_not_swallow_the_iteration_that_diverged():
    """Recorded every 4 iterations, a run lost in the third has no number for the whole stretch."""
    family = sines()
    theta, alpha = start(family, runs=(2,))
    first, second = train(OneOfRuns(family, 2, slice(None), poison=(0, 3)), theta, alpha, META_SGD,
                          iterations=8, record_every=4)
    assert first.loss.isnan().tolist() == second.loss.isnan().tolist() == [True, False]


def test_training_stops_when_every_run_has_diverged_and_its_last_record_is_kept():
    family = sines()
    theta, alpha = start(family, runs=(2,))
    records = meta_train(family, theta, alpha, MAML, iterations=50, meta_batch=3, shots=5,
                         query_shots=6, generator=gen(3), lr=1e200, record_every=10, optimizer=sgd)
    last = next(records)
    assert last.iteration == 2
    assert last.diverged.tolist() == [True, True]
    assert all(p.isfinite().all() for p in last.theta.values())
    with pytest.raises(FloatingPointError, match="MAML: every run had diverged by meta-iteration "
                                                 r"2 .*try a smaller lr \(it is 1e\+200\)"):
        next(records)


def test_a_lost_training_stays_lost_when_it_is_started_again(tmp_path):
    """It says so at once, and trains no further."""
    family = sines()
    theta, alpha = start(family, runs=(2,))
    said = []
    for _ in range(2):
        records = meta_train(family, theta, alpha, MAML, iterations=50, meta_batch=3, shots=5,
                             query_shots=6, generator=gen(3), lr=1e200, record_every=10,
                             optimizer=sgd, checkpoint=tmp_path / "lost")
        last = next(records)
        with pytest.raises(FloatingPointError) as error:
            next(records)
        said.append((last.iteration, last.theta, str(error.value)))
    assert_close(said[1][1], said[0][1], **EXACT)
    assert (said[0][0], said[0][2]) == (said[1][0], said[1][2])


def test_a_gradient_that_is_nan_below_a_finite_loss_counts_as_divergence():
    """sqrt(0) is 0, but its derivative is not a number: the loss alone looks healthy."""
    family = sines()
    theta, _ = start(family)

    class Rooted(OneOfRuns):
        def loss(self, phi, data):
            root = (0 * phi["layers.1.bias"]).square().sum(dim=-1).sqrt()
            return super().loss(phi, data) + root

    records = meta_train(Rooted(family, 2, 0), theta, 0.1, JOINT, iterations=5, meta_batch=3,
                         shots=5, query_shots=6, generator=gen())
    last = next(records)
    assert (last.iteration, bool(last.diverged)) == (1, True)
    assert_close(last.theta, theta, **EXACT)
    with pytest.raises(FloatingPointError, match="joint: every run had diverged"):
        next(records)


# ---- the forms of a learned alpha


def test_alpha_in_the_log_changes_by_factors_and_stays_positive():
    """Adam's first step adds ±lr to log alpha: a factor e^lr or e^-lr, however small alpha is."""
    family = sines()
    theta, _ = start(family)
    alpha = {n: a.abs() + 1e-6 for n, a in signed_alpha(theta).items()}
    method = replace(META_SGD, alpha_form="log")
    (record,) = train(family, theta, alpha, method, iterations=1, lr=0.5)
    factors = torch.cat([(record.alpha[n] / alpha[n]).log().abs().flatten() for n in theta])
    moved = factors > 1e-12  # a dead ReLU's rate has no gradient and stays
    assert moved.double().mean() > 0.5
    assert_close(factors[moved], torch.full_like(factors[moved], 0.5), rtol=1e-2, atol=0)
    far = train(family, theta, alpha, method, iterations=30, lr=0.5, record_every=30)[-1]
    assert all((a > 0).all() for a in far.alpha.values())


def test_a_nonnegative_alpha_is_the_raw_one_set_back_to_zero():
    family = sines()
    theta, alpha = start(family, rate=0.005)
    (raw,) = train(family, theta, alpha, META_SGD, iterations=1)
    (kept,) = train(family, theta, alpha, replace(META_SGD, alpha_form="nonnegative"),
                    iterations=1)
    assert any((a < 0).any() for a in raw.alpha.values())
    assert_close(kept.alpha, {n: a.clamp(min=0) for n, a in raw.alpha.items()}, **EXACT)
    assert_close(kept.theta, raw.theta, **EXACT)


def test_a_fixed_alpha_stays_where_it_is():
    family = sines()
    theta, alpha = start(family)
    assert_close(train(family, theta, alpha, MAML)[-1].alpha, alpha, **EXACT)


# ---- what is refused


@pytest.mark.parametrize("count", ["iterations", "meta_batch", "shots", "query_shots",
                                   "record_every"])
@pytest.mark.parametrize("value", [0, -2])
def test_zero_or_negative_counts_are_refused(count, value):
    family = sines()
    with pytest.raises(ValueError, match=f"^{count} must be a whole number of at least 1, got "
                                         f"{value}$"):
        train(family, *start(family), META_SGD, **{count: value})


def test_a_rate_that_is_nan_is_refused_before_anything_is_trained():
    family = sines()
    theta, alpha = start(family)
    alpha["layers.1.bias"][0] = torch.nan
    with pytest.raises(ValueError, match=r"alpha\['layers.1.bias'\] holds 1 of 4 entries that are "
                                         "NaN or infinite"):
        train(family, theta, alpha, META_SGD)


def test_parameters_in_float64_with_data_in_float32_are_refused():
    family = sines(dtype=torch.float32)
    theta = {n: p.double() for n, p in start(family)[0].items()}
    with pytest.raises(ValueError, match=r"x is torch\.float32 but the parameters are "
                                         r"torch\.float64"):
        train(family, theta, 0.01, MAML)


def test_parameters_on_another_device_than_the_data_are_refused():
    family = sines()
    theta = {n: p.to("meta") for n, p in start(family)[0].items()}
    tasks = family.sample_tasks(3, generator=gen())
    with pytest.raises(ValueError, match="x is on cpu but the parameters are on meta"):
        meta_loss(family, theta, 0.01, tasks, MAML, shots=5, query_shots=5, generator=gen())


@pytest.mark.parametrize(
    "make",
    [
        lambda theta: 0.05,
        lambda theta: init_alpha(theta, "scalar", 0.05),
        lambda theta: init_alpha(theta, "tensor", 0.05),
    ],
    ids=["float", "scalar", "tensor"],
)
def test_meta_sgd_refuses_an_alpha_that_is_not_theta_shaped(make):
    """One learned scalar under the name Meta-SGD is the mistake that the book warns of."""
    family = sines()
    theta, _ = start(family)
    with pytest.raises(ValueError, match="Meta-SGD learns alpha with the shape 'entry'.*"
                                         r"init_alpha\(theta, 'entry', 0.01, runs=\(\)\)"):
        train(family, theta, make(theta), META_SGD)


def test_a_learned_scalar_in_six_copies_is_refused():
    """Six tensors would be six rates: the per-tensor method under another name."""
    family = sines()
    theta, _ = start(family)
    copies = {n: torch.tensor(0.05, dtype=F64) for n in theta}
    with pytest.raises(ValueError, match="learned scalar learns alpha with the shape 'scalar'"):
        train(family, theta, copies, SCALAR)


def test_runs_that_share_a_learned_rate_are_refused():
    family = sines()
    theta, _ = start(family, runs=(2,))
    with pytest.raises(ValueError, match=r"runs=\(2,\)"):
        train(family, theta, init_alpha(theta, "scalar", 0.05), SCALAR)


@pytest.mark.parametrize(
    ("form", "first", "sentence"),
    [("log", 0.0, r"not positive \(least: 0\) and have no logarithm"),
     ("log", -0.5, r"not positive \(least: -0.5\)"),
     ("nonnegative", -0.5, r"holds negative entries \(least: -0.5\)")],
)
def test_a_first_alpha_outside_its_form_is_refused(form, first, sentence):
    family = sines()
    theta, alpha = start(family)
    alpha["layers.0.bias"][1] = first
    with pytest.raises(ValueError, match=sentence):
        train(family, theta, alpha, replace(META_SGD, alpha_form=form))


# ---- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def some_records():
    nothing = torch.zeros(())
    return [Record(k, nothing, {}, {}, nothing) for k in (2, 4, 5)]


def test_progress_is_silent_where_nobody_looks(monkeypatch):
    """Output to a file, a pipe or a continuous-integration log stays clean."""
    nobody = io.StringIO()
    monkeypatch.setattr("sys.stderr", nobody)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    records = some_records()
    assert list(progress(iter(records), iterations=5, label="MAML")) == records
    assert nobody.getvalue() == ""


@pytest.mark.parametrize("disabled", [False, True])
def test_progress_shows_a_bar_in_a_terminal_unless_told_not_to(monkeypatch, disabled):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if disabled:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    records = some_records()
    assert list(progress(iter(records), iterations=5, label="MAML")) == records
    assert ("MAML" in terminal.getvalue()) == (not disabled)
    # The bar wipes itself: after the last carriage return there is nothing left to read.
    assert terminal.getvalue().split("\r")[-1].strip() == ""


# ---- said at once, and in our words


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": 0}, "iterations must be a whole number"),
        ({"clip": -1.0}, "clip must be a finite number above 0, got -1.0"),
        ({"clip": 0.0}, "clip must be a finite number above 0, got 0.0"),
        ({"final_lr": -1.0}, "final_lr must be a finite number of at least 0, got -1.0"),
        ({"lr": -0.1}, "lr must be a finite number of at least 0, got -0.1"),
        ({"lr": float("nan")}, "lr must be a finite number of at least 0, got nan"),
        ({"alpha_lr": -0.1}, "alpha_lr must be a finite number of at least 0, got -0.1"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if type(value) is dict else "",
)
def test_settings_are_refused_at_the_call_and_not_at_the_first_record(changes, sentence):
    """A negative clip climbed, 0 froze, and a training never asked for a record said nothing."""
    family = sines()
    settings = {"iterations": 4, "meta_batch": 3, "shots": 5, "query_shots": 6}
    with pytest.raises(ValueError, match=sentence):
        meta_train(family, *start(family), META_SGD, generator=gen(3), **(settings | changes))


def test_a_training_that_nobody_asked_for_a_record_says_that_it_trained_nothing():
    family = sines()
    with pytest.warns(RuntimeWarning, match="meta_train trained nothing: it returns an iterator"):
        meta_train(family, *start(family), META_SGD, iterations=4, meta_batch=3, shots=5,
                   query_shots=6, generator=gen(3))


@pytest.mark.parametrize("method", [JOINT, MAML, FOMAML, REPTILE, META_SGD], ids=lambda m: m.name)
def test_it_trains_where_the_caller_has_switched_gradients_off(method):
    family = sines()
    expected = train(family, *start(family, method.alpha_shape), method)
    with torch.no_grad():
        assert_close(train(family, *start(family, method.alpha_shape), method), expected, **EXACT)


def test_reptile_learns_with_its_own_default_rate():
    """Its epsilon is 1 where nothing is said. With Adam's 0.001 it stood still: 5.43 to 5.40."""
    family = sines(1, 20, 20, 1)
    theta, alpha = start(family, "scalar", 0.02)
    settings = {"iterations": 100, "record_every": 100, "shots": 10}
    record = train(family, theta, alpha, REPTILE, lr=None, **settings)[-1]
    before, after = (
        evaluate(family, p, 0.02, shots=10, steps=10, n_tasks=100, generator=gen(9)).mean[-1]
        for p in (theta, record.theta)
    )
    assert after < 0.9 * before


def test_whole_numbers_from_numpy_are_whole_numbers():
    family = sines()
    theta, alpha = start(family)
    mine = train(family, theta, alpha, META_SGD, shots=np.int64(5), iterations=np.int64(2))
    assert_close(mine, train(family, theta, alpha, META_SGD, iterations=2), **EXACT)
