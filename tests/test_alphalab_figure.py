"""The figure "The alpha lab": its stored sweep, its traits, and the panel that really trains."""

import asyncio
import json
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import traitlets

from metasgd_core import Sinusoid, t_interval
from metasgd_core.studies import lab, load, sweep
from metasgd_core.studies.sweep import SHAPES, STARTS, stored
from metasgd_core.widgets import AlphaLab, LiveLab

ARMS = {(arm.shape, arm.start): arm for arm in stored()}


def test_every_shape_from_every_start():
    assert list(ARMS) == [(shape, start) for shape in SHAPES for start in STARTS]
    leaves = {name: p.shape for name, p in Sinusoid().model.named_parameters()}
    for (shape, _), arm in ARMS.items():
        theta, alpha = arm.leaves()
        assert {n: p.shape for n, p in theta.items()} == leaves
        assert {n: a.shape for n, a in alpha.items()} == leaves
        assert len(arm.alpha) == len(arm.moved) == {"entry": 1761, "tensor": 6, "scalar": 1}[shape]
        distinct = {n: len(a.unique()) for n, a in alpha.items()}
        assert shape == "entry" or set(distinct.values()) == {1}
        assert arm.curves.shape == (sweep.SEEDS, len(arm.iterations))
        assert arm.iterations[-1] == lab.ITERATIONS


@pytest.mark.parametrize("shape", SHAPES)
def test_stored_errors_are_those_of_the_stored_weights(shape):
    """A change of the core that moves them asks for the command again; half precision costs 1 %."""
    arms = [ARMS[shape, start] for start in STARTS]
    both = zip(*(arm.leaves() for arm in arms), strict=True)
    theta, alpha = ({n: torch.stack([p[n] for p in part])[:, None] for n in part[0]}
                    for part in both)
    found = lab.held_out(theta, alpha, steps=1).mean(-1)[:, 0]
    expected = torch.stack([arm.test[0, :2] for arm in arms])
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=0)
    other = lab.held_out(theta, {n: 1.2 * a for n, a in alpha.items()}, steps=1).mean(-1)[:, 0]
    assert not other[:, 1].isclose(expected[:, 1], rtol=1e-2).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sweep_is_what_this_code_trains(shape):
    """Twenty meta-iterations again, from the same seeds: another objective or sampler shows."""
    found = sweep.error_soon(shape)
    torch.testing.assert_close(
        found, load("figure-alpha-lab").tensors[f"{shape}/soon"], rtol=2e-3, atol=0
    )
    begun = sweep.error_now(next(lab.train(
        sweep.SWEEP[shape], seeds=sweep.SEEDS, record_every=1, iterations=1
    )))
    assert not begun.isclose(found, rtol=2e-2).any(dim=0).all()


def test_the_goals_can_be_reached():
    """What the figure asks to find is there, on all five seeds or beyond the interval."""
    error = {key: arm.test[:, 1] for key, arm in ARMS.items()}

    for shape in SHAPES:
        others = torch.stack([error[shape, start] for start in STARTS if start != "1"])
        assert (error[shape, "1"] > others.amax(0)).all()  # the start that spoils
    for start in ("-0.01", "0", "0.00001", "0.1", "uniform", "log-uniform"):
        gap = error["entry", start] - error["entry", "0.01"]
        mean, half = t_interval(gap)
        assert mean.abs() + half < 0.04
    for start in STARTS:
        if start != "1":
            assert (error["scalar", start] > error["tensor", start] + 0.1).all()
            gap = error["tensor", start] - error["entry", start]
            mean, half = t_interval(gap)
            assert mean > half
    signs = [float((ARMS["entry", start].alpha < 0).float().mean()) for start in ("-0.01", "0.01")]
    assert min(signs) > 0.2


def test_what_never_moved_has_no_gradient():
    """Chapter 8 says why: between two hidden units, no x opens both their ReLUs."""
    x = torch.linspace(-5, 5, 2001)[:, None]
    for start in STARTS:
        arm = ARMS["entry", start]
        weights = list(arm.leaves()[0].values())
        first = x @ weights[0].T + weights[1]
        second = first.relu() @ weights[2].T + weights[3]
        both = (second > 0).double().T @ (first > 0).double()
        still = ~arm.moved[80:1680].view(40, 40)
        assert still.sum() > 300
        assert not both[still].any()


def test_the_page_gets_the_stored_numbers():
    """Half-precision bytes, arm after arm, a table with what was measured; small enough to send."""
    figure = AlphaLab()
    expected = torch.cat([part for arm in ARMS.values() for part in (arm.theta, arm.alpha)])
    assert torch.equal(torch.frombuffer(bytearray(figure._weights), dtype=torch.float16), expected)
    moved = "".join(f"{byte:08b}" for byte in figure._moved)
    assert moved.rstrip("0") == "".join(
        str(int(m)) for arm in ARMS.values() for m in arm.moved
    ).rstrip("0")
    for row, arm in zip(figure._arms, ARMS.values(), strict=True):
        assert (row["shape"], row["start"], row["rates"]) == (arm.shape, arm.start, len(arm.alpha))
        assert row["mean"] == pytest.approx(arm.curves.mean(0).tolist(), rel=1e-3)
        assert row["test"] == pytest.approx(arm.test[:, 1].tolist(), rel=1e-3)
    sent = json.dumps(figure._arms) + "".join(
        b64encode(part).decode() for part in (figure._weights, figure._moved))
    assert len(sent) < 250_000


@pytest.mark.parametrize(("trait", "value", "word"), [
    ("shape", "layer", "entry"), ("start", "0.5", "one of -0.01, 0,"), ("layer", "4", "all"),
    ("steps", 11, "0 to 10"), ("points", [], "1 to 20"),
])
def test_bad_traits_are_refused(trait, value, word):
    figure = AlphaLab()
    before = getattr(figure, trait)
    with pytest.raises(traitlets.TraitError, match=word):
        setattr(figure, trait, value)
    assert getattr(figure, trait) == before


def test_an_arm_that_is_not_there():
    with pytest.raises(ValueError, match="no arm per scalar that began at"):
        AlphaLab(arms=[ARMS["entry", "0.01"]], shape="scalar")


def test_no_keywords_make_a_readers_own_arms_again():
    """A notebook keeps their picture alone: made again, the figure would show the stored ones."""
    _, metadata = AlphaLab(arms=[ARMS["entry", "0.01"]])._repr_mimebundle_()
    assert metadata == {}


def test_only_newer_states_are_shown():
    """A page fills its lists once: another arm is another figure."""
    figure = AlphaLab(arms=[ARMS["entry", "0.01"]])
    with pytest.raises(ValueError, match=r"as before, got .*tensor"):
        figure.show(ARMS["tensor", "0.01"])
    assert figure.chosen() is ARMS["entry", "0.01"]


def test_the_picture_follows_the_traits():
    figure = AlphaLab()
    first = figure.picture()
    assert first.startswith(b"\x89PNG")
    assert figure.picture() == first
    for trait, value in (("start", "1"), ("shape", "tensor"), ("steps", 2)):
        setattr(figure, trait, value)
        second = figure.picture()
        assert second != first
        first = second
    assert b64decode(figure._repr_mimebundle_()[0]["image/png"]) == first


def finished(coroutine):
    """Run to the end, in a thread of its own: the browser's tests keep a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def trained_live(**values):
    """Train in the panel as a reader would, and return it."""
    panel = LiveLab(iterations=200)
    for name, value in values.items():
        getattr(panel, name).value = value
    finished(panel.run())
    return panel


def test_the_panel_really_trains():
    """What it shows is what the lab's own training gives, bit for bit."""
    panel = trained_live(shape="tensor", low=0.1)
    arms = lab.Arms(sweep.SWEEP["tensor"].method, (0.1,))
    *_, record = lab.train(arms, seeds=sweep.SEEDS, iterations=200, record_every=5)
    assert all(torch.equal(p, panel.record.theta[n]) for n, p in record.theta.items())
    (arm,) = panel.figure.arms
    assert (arm.shape, arm.start) == ("tensor", "0.1")
    assert arm.iterations == list(range(5, 201, 5))
    assert torch.equal(arm.curves[:, -1], sweep.error_now(record)[0])
    error = lab.held_out(record.theta, record.alpha).mean(-1)[0]
    assert torch.equal(arm.test, error)
    assert f"Finished after 200 meta-iterations: error {error[:, 1].mean():.3f}" in panel.said.value
    assert panel.progress.value == panel.progress.max
    other = trained_live(shape="tensor", low=0.1, seed=1)
    assert not torch.equal(other.figure.arms[0].curves, arm.curves)


def test_a_stopped_training_leaves_its_result():
    async def stop_soon():
        panel = LiveLab(iterations=20_000)
        panel.kind.value, panel.low.value, panel.high.value = "log-uniform", 0.001, 0.1
        panel.train.click()
        while panel.record is None:
            await asyncio.sleep(0)
        assert (panel.train.disabled, panel.stop.disabled) == (True, False)
        panel.stop.click()
        await panel.task
        return panel

    panel = finished(stop_soon())
    assert panel.said.value.startswith("Stopped after 500 meta-iterations: error ")
    assert (panel.train.disabled, panel.stop.disabled) == (False, True)
    (arm,) = panel.figure.arms
    assert arm.start == "log-uniform 0.001 to 0.1"
    assert arm.test.shape == (5, 11)
    assert panel.figure.picture().startswith(b"\x89PNG")


@pytest.mark.parametrize(("values", "sentence"), [
    ({"low": float("nan")}, "from -10 to 10, got nan"), ({"low": 11.0}, "from -10 to 10, got 11"),
    ({"kind": "uniform", "low": 0.2, "high": 0.1}, "below its end, got 0.2 to 0.1"),
    ({"kind": "log-uniform", "low": -0.1, "high": 0.1}, "above 0, got -0.1"),
])
def test_a_bad_start_is_one_sentence(values, sentence):
    panel = trained_live(**values)
    assert panel.said.value.startswith("Not started: ")
    assert sentence in panel.said.value
    assert panel.record is panel.figure is None
    assert not panel.train.disabled


def test_a_lost_training_is_said(monkeypatch):
    """From a step outwards so large that no loss stays finite; the buttons are ready again."""
    monkeypatch.setattr("metasgd_core.widgets.live.LARGEST", 1e30)
    panel = trained_live(low=1e18)
    assert panel.said.value.startswith("Lost (begin at a smaller alpha) after ")
    assert "no finite error" in panel.said.value
    assert not panel.train.disabled


@pytest.mark.parametrize("low", [10.0, -10.0])
def test_the_largest_start_is_trained_and_drawn(low):
    panel = trained_live(low=low)
    assert panel.said.value.startswith("Finished after 200 meta-iterations: error ")
    assert panel.figure._arms[0]["mean"][0] is None  # beyond what is worth a number
    assert panel.figure.picture().startswith(b"\x89PNG")


def test_a_failure_is_said(monkeypatch):
    def fail(record):
        raise RuntimeError("no memory left")

    async def click():
        panel = LiveLab(iterations=200)
        panel.train.click()
        await asyncio.wait([panel.task])
        return panel

    monkeypatch.setattr("metasgd_core.widgets.live.error_now", fail)
    panel = finished(click())
    assert panel.said.value == "The training has failed: no memory left."
    assert not panel.train.disabled


def test_bad_iterations():
    with pytest.raises(ValueError, match="200 to 20000, got 0"):
        LiveLab(iterations=0)
