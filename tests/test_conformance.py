"""What every method and every family must do, whoever adds one.

A row that passes here can be trained, killed, resumed, swept over seeds and compared with the
others: nothing else in the package needs to know that it is there.
"""

import pytest
import torch
from cases import EXACT, TRAINING, gen
from conforming import FAMILIES, METHODS, PAIRS, QUERY_SHOTS, SHOTS, Drawings, first_alpha
from torch.testing import assert_close

from metasgd_core import evaluate, init_theta, meta_loss, meta_train
from metasgd_core.objectives import OBJECTIVES
from metasgd_core.training import draws, gradient
from metasgd_core.training.compiled import check_compilable

RUNS = (2,)


def compiles(pair):
    method, family = pair
    try:
        check_compilable(family, method)
    except ValueError:
        return False
    return True


LEARNING = {
    name: pair for name, pair in PAIRS.items() if OBJECTIVES[pair[0].objective].losses is not None
}


def each(rows):
    return pytest.mark.parametrize(("method", "family"), rows.values(), ids=rows.keys())


#: These are tried also by the formula that is compiled: rates of every form, two objectives, rules
#: with a state and without, a network of another kind, classes.
BY_FORMULA = (
    "MAML, patients", "FOMAML, measured", "Meta-SGD, sinusoid", "in the log, varying frequency",
    "nonnegative, sinusoid, context", "learned scalar, sinusoid", "learned per tensor, drawings",
    "MAML++, sinusoid", "momentum, images", "Meta-Curvature, sinusoid", "LSTM, sinusoid",
)


def each_way():
    """Every row by autograd, and some by the formula."""
    rows = {name: (*pair, False) for name, pair in PAIRS.items()}
    rows |= {f"{name}, by the formula": (*PAIRS[name], True) for name in BY_FORMULA}
    return pytest.mark.parametrize(
        ("method", "family", "compiled"), rows.values(), ids=rows.keys()
    )


@pytest.fixture(autouse=True)
def _formula(monkeypatch):
    """Take the formula as it is where it would be compiled, and draw for two steps at a time."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    monkeypatch.setattr(draws, "CHUNK", 2)


def each_family(families):
    return pytest.mark.parametrize("family", families.values(), ids=families.keys())


def start(method, family, runs=RUNS):
    theta = init_theta(family.model, generator=gen(1), runs=runs, output_scale=0.5)
    return theta, first_alpha(method, theta, runs)


def train(method, family, begin=None, seed=3, **changes):
    theta, alpha = begin or start(method, family)
    settings = {"iterations": 2, "meta_batch": 3, "shots": SHOTS, "query_shots": QUERY_SHOTS,
                "lr": 0.01, "record_every": 1, "generator": gen(seed)}
    return meta_train(family, theta, alpha, method, **(settings | changes))


@each(PAIRS)
def test_training_moves_what_is_learned_and_nothing_else(method, family):
    """Finite losses, one a run; theta and alpha of the shapes they had; inputs left alone."""
    theta, alpha = start(method, family)
    before = [{n: p.clone() for n, p in group.items()} for group in (theta, alpha)]
    record = list(train(method, family, (theta, alpha)))[-1]
    assert_close([theta, alpha], before, **EXACT)
    learns = OBJECTIVES[method.objective].losses is not None
    assert record.loss.shape == RUNS
    assert bool(record.loss.isfinite().all()) is learns
    for mine, old, moves in ((record.theta, theta, learns), (record.alpha, alpha,
                                                            method.learn_alpha)):
        assert {n: p.shape for n, p in mine.items()} == {n: p.shape for n, p in old.items()}
        assert {p.dtype for p in mine.values()} == {torch.float64}
        assert any(not torch.equal(mine[n], old[n]) for n in old) is moves
    assert all(p.isfinite().all() for group in (record.theta, record.alpha) for p in group.values())


@each_way()
def test_a_broken_training_goes_on_bit_for_bit(method, family, compiled, tmp_path):
    unbroken = list(train(method, family, compiled=compiled))
    kept = {"compiled": compiled, "checkpoint": tmp_path / "a.safetensors"}
    broken = train(method, family, **kept)
    first = next(broken)
    broken.close()
    rest = list(train(method, family, **kept)) if len(unbroken) > 1 else []
    assert_close([first, *rest], unbroken, **EXACT, equal_nan=True)


@each_way()
def test_a_run_does_not_notice_its_neighbour(method, family, compiled):
    """Run 1 begins from other numbers; run 0 ends where it ended."""
    theta, alpha = start(method, family)
    other = {n: torch.stack([p[0], 0.9 * p[1] + 0.01]) for n, p in theta.items()}
    mine = list(train(method, family, (theta, alpha), compiled=compiled))[-1]
    beside = list(train(method, family, (other, alpha), compiled=compiled))[-1]
    for group in ("theta", "alpha"):
        for n, p in getattr(mine, group).items():
            assert_close(getattr(beside, group)[n][0], p[0], **TRAINING)


@each_family(FAMILIES)
def test_all_methods_meet_the_same_tasks(family):
    """A comparison of two methods compares no luck of the draw."""
    met = {}
    for name, method in METHODS.items():
        if (method, family) not in PAIRS.values() or method.objective == "none":
            continue
        met[name] = seen = []

        class Watched(type(family)):
            def sample_tasks(self, *batch, generator, seen=seen):
                tasks = super().sample_tasks(*batch, generator=generator)
                seen.append(tasks[0])
                return tasks

        watched = object.__new__(Watched)
        watched.__dict__.update(family.__dict__)
        list(train(method, watched, iterations=1 if family.on_policy else 3))
    first, *others = met.values()
    for other in others:
        assert_close(other, first, **EXACT)


@each(LEARNING)
def test_a_loss_needs_no_run_axes_and_takes_several(method, family):
    """One run, or two axes of them, are as good as one axis; the loss is one number a run."""
    for runs in ((), (2, 2)):
        theta, alpha = start(method, family, runs)
        tasks = family.sample_tasks(*runs, 3, generator=gen(2))
        loss = meta_loss(family, theta, alpha, tasks, method, shots=SHOTS,
                         query_shots=QUERY_SHOTS, generator=gen(4))
        assert loss.shape == runs


@each(PAIRS)
def test_evaluation_scores_every_step_and_leaves_no_graph(method, family):
    theta, alpha = start(method, family)
    steps = 1 if method.reads else 3
    scores = evaluate(family, theta, alpha, shots=SHOTS, query_shots=QUERY_SHOTS, steps=steps,
                      n_tasks=5, generator=gen(5), method=method).scores
    assert scores.shape == (*RUNS, steps + 1, 5)
    assert not scores.requires_grad
    again = evaluate(family, theta, alpha, shots=SHOTS, query_shots=QUERY_SHOTS, steps=steps,
                     n_tasks=5, generator=gen(5), method=method).scores
    assert_close(scores, again, **EXACT)


@each({name: pair for name, pair in PAIRS.items() if compiles(pair)})
def test_what_can_be_compiled_has_the_same_meta_gradient(method, family, monkeypatch):
    """By the formula that is compiled and by autograd, over the same data: the same training."""
    monkeypatch.setattr(draws, "CHUNK", 1)
    compiled = list(train(method, family, compiled=True))
    # A chunk of one is drawn with an axis of its own, which changes no number.
    assert_close(compiled, list(train(method, family)), **TRAINING)


@each_way()
def test_no_tensor_is_made_on_the_wrong_device(method, family, compiled):
    """Inside ``torch.device("meta")`` whatever does not say where it belongs has no numbers."""
    begin = start(method, family)
    settings = {"iterations": 1, "compiled": compiled}
    expected = list(train(method, family, begin, **settings))
    generator = gen(3)
    with torch.device("meta"):
        mine = list(train(method, family, begin, **settings, generator=generator))
    assert_close(mine, expected, **EXACT, equal_nan=True)


@each(PAIRS)
def test_alpha_that_is_not_the_methods_is_refused_in_one_sentence(method, family):
    theta, alpha = start(method, family)
    extra = dict(alpha) | {"nonsense": next(iter(alpha.values()))}
    with pytest.raises(ValueError, match=r"unknown \['nonsense'\].*makes one") as refused:
        train(method, family, (theta, extra))
    assert "\n" not in str(refused.value)
    broken = {n: a * torch.nan for n, a in alpha.items()}
    with pytest.raises(ValueError, match="NaN or infinite"):
        evaluate(family, theta, broken, shots=SHOTS, steps=1, n_tasks=2, generator=gen(),
                 method=method)


# ---- families


@each_family(FAMILIES)
def test_a_family_says_what_its_score_is(family):
    assert family.score_name
    assert family.higher_is_better in (True, False)


@each_family({name: f for name, f in FAMILIES.items() if f.one_draw})
def test_samples_that_run_out_never_stand_in_support_and_query(family):
    """A learner that met its query points before would only have to remember them."""
    tasks = family.sample_tasks(20, generator=gen(1))
    data = family.sample_data(tasks, None, SHOTS + QUERY_SHOTS, generator=gen(2))
    kinds = data.x if data.y.ndim == 3 and data.y.dtype == torch.long else data.x.unsqueeze(2)
    for kind in kinds.unbind(2):
        rows = kind.flatten(2)
        assert all(len(torch.unique(task, dim=0)) == SHOTS + QUERY_SHOTS for task in rows)
    met = []

    class Watched(type(family)):
        def sample_data(self, tasks, phi, shots, *, generator):
            met.append(shots)
            return super().sample_data(tasks, phi, shots, generator=generator)

    watched = object.__new__(Watched)
    watched.__dict__.update(family.__dict__)
    theta = init_theta(family.model, generator=gen())
    evaluate(watched, theta, 0.01, shots=SHOTS, query_shots=QUERY_SHOTS, steps=1, n_tasks=4,
             generator=gen())
    assert met == [SHOTS + QUERY_SHOTS]


def test_a_score_is_that_of_an_overridden_loss():
    """A subclass with another loss is scored by it."""

    class Doubled(type(FAMILIES["sinusoid"])):
        def loss(self, phi, data):
            return 2 * super().loss(phi, data)

    family = FAMILIES["sinusoid"]
    doubled = Doubled(family.model)
    theta, alpha = start(METHODS["MAML"], family)
    settings = {"shots": 5, "steps": 0, "n_tasks": 4}
    plain = evaluate(family, theta, alpha, generator=gen(), **settings).scores
    assert_close(evaluate(doubled, theta, alpha, generator=gen(), **settings).scores, 2 * plain)


def test_classification_learns_and_is_scored_by_its_accuracy():
    """Three of eight patterns from two drawings each: from chance to most of them."""
    method, family = METHODS["Meta-SGD"], FAMILIES["drawings"]
    *_, record = train(method, family, iterations=150, record_every=150, meta_batch=8)
    score = evaluate(family, record.theta, record.alpha, shots=2, query_shots=3, steps=1,
                     n_tasks=100, generator=gen(6)).mean
    assert score.shape == (2, 2)
    assert 0.2 < score[:, 0].mean() < 0.5
    assert score[:, 1].min() > 0.75


def test_too_few_samples_are_said():
    """Support and query come from one draw, so that both must be there together."""
    sentence = "there are 6 drawings of a character, and 10 are asked for"
    with pytest.raises(ValueError, match=sentence):
        list(train(METHODS["MAML"], FAMILIES["drawings"], shots=7))


def test_more_ways_than_outputs_are_said():
    family = Drawings(FAMILIES["drawings"].model, ways=4)
    with pytest.raises(ValueError, match=r"it is torch\.int64 with 4 ways, and the model has 3"):
        list(train(METHODS["MAML"], family))
