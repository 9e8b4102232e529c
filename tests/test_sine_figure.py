"""The figure "Adapt to a sine": its stored weights, its traits, its picture."""

import math
import struct
from dataclasses import replace
from functools import cache

import pytest
import torch
import traitlets

from metasgd_core import META_SGD, Sinusoid, evaluate
from metasgd_core.rules import DESCENT
from metasgd_core.studies import generator, lab, load, relatives
from metasgd_core.studies import sine as study
from metasgd_core.studies.exploded import statistics
from metasgd_core.widgets import sine

SHOWN = ("MAML", "Meta-SGD")  # as the figure opens


def test_stored_starts_fit_the_network():
    """All the names, all the shapes, and float32, as the page reads them."""
    shapes = {n: p.shape for n, p in Sinusoid().model.named_parameters()}
    count = sum(shape.numel() for shape in shapes.values())
    tensors, notes = load("figure-sine")
    assert {key.split("/")[0] for key in tensors} == set(study.JOBS)
    for name in study.JOBS:
        theta, alpha, _ = sine.starts()[name]
        assert {n: p.shape for n, p in theta.items()} == shapes
        assert {n: a.shape for n, a in alpha.items()} == shapes
        assert tensors[f"{name}/errors"].shape == (lab.TEST_STEPS + 1,)
        assert len(tensors[f"{name}/alpha"]) == (count if name == "Meta-SGD" else 1)
        assert all(tensors[f"{name}/{part}"].dtype == torch.float32 for part in ("theta", "alpha"))
    assert (notes["first"], notes["training"]) == (study.FIRST, study.TRAINING)
    assert sum(value.nbytes for value in tensors.values()) < 100_000
    assert (*study.JOBS, *sine.RELATIVES) == tuple(sine.starts()) == sine.STARTS


@pytest.mark.parametrize("name", study.JOBS)
def test_stored_errors_are_those_of_the_stored_weights(name):
    theta, alpha, _ = sine.starts()[name]
    errors = load("figure-sine").tensors[f"{name}/errors"]
    found = lab.held_out(theta, alpha, steps=1).mean(-1)
    torch.testing.assert_close(found, errors[:2], rtol=1e-3, atol=0)
    assert not lab.held_out(theta, {n: 2 * a + 0.01 for n, a in alpha.items()}, steps=1).mean(
        -1).allclose(errors[:2], rtol=1e-3, atol=0)


@cache
def taken(name):
    """Return a start's errors, step by step, on the test tasks of chapter 11: (11, tasks)."""
    theta, alpha, rule = sine.starts()[name]
    return evaluate(
        Sinusoid(), theta, alpha, shots=5, steps=10, n_tasks=relatives.TEST_TASKS,
        generator=generator(relatives.TEST), method=replace(META_SGD, rule=rule),
    ).scores.nan_to_num(math.inf, math.inf)


@pytest.mark.parametrize("name", sine.RELATIVES)
def test_relatives_are_first_seeds_of_chapter_11(name):
    row, _ = sine.RELATIVES[name]
    stored = load("relatives").tensors
    lr, *_ = stored[f"{row}/trials"][stored[f"{row}/chosen"]].tolist()
    assert lr == pytest.approx(0.01)  # as the start is called
    found = statistics(taken(name)[:4])
    torch.testing.assert_close(found, stored[f"{row}/training, K = 5"][0, :4], rtol=1e-3, atol=0)


def test_a_step_that_may_be_taken_again():
    """Chapter 11: all trained for one step; after ten Meta-SGD has broken, or not, by its lr."""
    exploded = {name: int((taken(name)[10] > 100).sum()) for name in ("Meta-SGD", *sine.RELATIVES)}
    assert exploded["Meta-SGD"] > 200
    assert max(exploded[name] for name in sine.RELATIVES) < 20
    bent, plain = taken("Meta-Curvature"), taken("Meta-SGD, lr 0.01")
    assert bent[10].median() < 0.1 * bent[1].median()
    assert (bent[10] < plain[10]).float().mean() > 0.8
    figure, x = sine.AdaptSine(left="Meta-Curvature", steps=10), torch.linspace(-5, 5, 61)[:, None]
    truth = figure.curve()(x[None])[0]
    one, ten = (
        (figure.adapted("Meta-Curvature", x, k) - truth).square().mean() for k in (1, 10)
    )
    assert ten < 0.2 * one
    assert not figure.adapted("Meta-SGD", x).isfinite().all()


def test_the_story_of_the_figure():
    """What the chapter says of these starts holds for the held-out tasks."""
    stored = load("figure-sine").tensors
    errors = {name: stored[f"{name}/errors"] for name in study.JOBS}
    assert errors["Meta-SGD"][1] < 0.7 * errors["MAML"][1]
    assert not errors["Meta-SGD"][10] < 1e6
    assert (errors["MAML"].diff() < 0).all()
    assert errors["random"][10] > errors["joint"][10] > 3 * errors["MAML"][10]
    scores = {name: lab.held_out(*sine.starts()[name][:2], steps=1)[1] for name in SHOWN}
    assert 0.07 < (scores["MAML"] < scores["Meta-SGD"]).float().mean() < 0.14


@cache
def scores(name, frequency=1.0, steps=1):
    """Return a start's errors, step by step, on 500 curves: (steps + 1, curves)."""
    family = Sinusoid(frequency=(frequency, frequency))
    return evaluate(
        family, *sine.starts()[name][:2], shots=5, steps=steps, n_tasks=500,
        generator=generator(2011),
    ).scores


def share(better, worse, frequency=1.0):
    """Return on how many of the curves a start is ahead after one step."""
    one, other = (scores(name, frequency)[1] for name in (better, worse))
    return float((one < other).float().mean())


def test_the_goals_can_be_reached():
    """Away from the curves of the training the other start wins, more often than not."""
    assert share("MAML", "Meta-SGD", 0.5) > 0.55  # chapter 6
    assert share("joint", "Meta-SGD") < 0.02  # the landing page
    assert share("joint", "Meta-SGD", 0.5) > 0.6
    assert share("joint", "MAML") < 0.05  # chapter 4
    assert share("joint", "MAML", 0.5) > 0.6


def test_where_the_points_lie_decides():
    """Chapter 3: ten steps of the joint start do good or harm on one and the same curve."""
    figure = sine.AdaptSine(left="random", right="joint", steps=10)
    grid = torch.linspace(-5, 5, 61)[:, None]

    def errors(*places):
        figure.points = [[place, 0.0] for place in places]
        for x in (torch.tensor(places)[:, None], grid):
            truth = figure.curve()(x[None])[0]
            yield from ((figure.adapted("joint", x, k) - truth).square().mean() for k in (0, 10))

    *_, before, after = errors(-4.0, -2.0, 0.0, 2.0, 4.0)
    assert after < 1 < 3 < before
    _, on_points, before, after = errors(1.0, 1.5, 2.0, 2.5, 3.0)
    assert on_points < 0.2
    assert before < 4 < 5 < after


def test_what_the_shortcut_costs():
    """Chapter 5: FOMAML is ahead on a few curves, Reptile gains by its later steps."""
    maml, fomaml, reptile = (scores(name, steps=10) for name in ("MAML", "FOMAML", "Reptile"))
    assert 0.15 < (fomaml[1] < maml[1]).float().mean() < 0.27
    assert abs(reptile[1].mean() / maml[1].mean() - 1) < 0.1
    assert 0.82 < reptile[10].mean() / maml[10].mean() < 0.9
    turned = (reptile[1] > maml[1]) & (reptile[10] < maml[10])
    assert 0.17 < turned.float().mean() < 0.3


def test_the_page_gets_the_stored_numbers():
    """The bytes are the float32 numbers, start after start; a rate stands alone if it is one."""
    figure = sine.AdaptSine(left="Meta-Curvature")
    assert tuple(figure._rates) == sine.STARTS
    expected = []
    for name, rate in figure._rates.items():
        theta, alpha, rule = sine.starts()[name]
        assert (rate == "matrices") == (rule != DESCENT)
        expected += [p.flatten() for p in theta.values()]
        if rate in (None, "matrices"):
            expected += [a.flatten() for a in alpha.values()]
        else:
            assert all((a == torch.tensor(rate)).all() for a in alpha.values())
    flat = torch.cat(expected)
    assert struct.unpack(f"<{len(flat)}f", figure._weights) == tuple(flat.tolist())
    assert len(figure._weights) < 250_000
    assert "Meta-Curvature" not in sine.AdaptSine()._rates  # of a page that has not met it


@pytest.mark.parametrize(("trait", "value", "word"), [
    ("steps", 11, "0 to 10"), ("steps", -1, "0 to 10"), ("amplitude", math.nan, "0.1 to 6"),
    ("frequency", math.inf, "0.2 to 3"), ("phase", 7.0, "0 to 6.28"), ("points", [], "1 to 20"),
    ("points", [[0, 1]] * 21, "1 to 20"), ("points", [[0, math.nan]], "finite"),
    ("points", [[0, 1, 2]], "pairs"),
    ("left", "none", "none"), ("right", "Adam", "Adam"),
])
def test_bad_traits_are_refused(trait, value, word):
    figure = sine.AdaptSine()
    before = getattr(figure, trait)
    with pytest.raises(traitlets.TraitError, match=word):
        setattr(figure, trait, value)
    assert getattr(figure, trait) == before


def test_a_goal_of_its_own_is_stored():
    """It is no part of the state, and the figure of another chapter all the same without it."""
    figure = sine.AdaptSine(goal="Find it.")
    assert sine.AdaptSine(**figure.arguments())._goal == "Find it."
    assert "goal" not in figure._state


def test_the_points_lie_on_the_curve():
    """As it opens; and `points` counts alone once it need not lie there."""
    figure = sine.AdaptSine()
    assert all(y == 3.48 * math.sin(x + 2.43) for x, y in figure.points)
    x = torch.linspace(-5, 5, 11)[:, None]
    on_it = figure.adapted("Meta-SGD", x)
    figure.on_curve = False
    torch.testing.assert_close(figure.adapted("Meta-SGD", x), on_it)
    figure.points = [[x, -y] for x, y in figure.points]
    assert (figure.adapted("Meta-SGD", x) - on_it).abs().max() > 1


def test_the_picture_follows_the_traits():
    figure = sine.AdaptSine()
    first = figure.picture()
    assert first.startswith(b"\x89PNG")
    assert figure.picture() == first
    for trait, value in (("steps", 2), ("left", "Reptile"), ("right", "none"), ("phase", 1.0)):
        setattr(figure, trait, value)
        second = figure.picture()
        assert second != first
        first = second
