"""Attention as a step, the figure of chapter 10, from Python: traits, numbers, picture."""

import io

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from traitlets import TraitError

from metasgd_core import Sinusoid, adapt, per_task, predict
from metasgd_core.studies import load
from metasgd_core.studies.memory import LINEAR, last_layer
from metasgd_core.widgets import AttentionStep
from metasgd_core.widgets.attentionstep import RATES, TRAINED, _packed, networks

BAD = {
    "amplitude": 0.0, "phase": 4.0, "chosen": 20, "points": [], "query": 5.1, "rates": "two rates",
}
BAD_POINTS = [("points", [5.1]), ("points", [0.0] * 21)]
X = torch.linspace(-5, 5, 61, dtype=torch.float64)
each = pytest.mark.parametrize("rates", RATES)


@pytest.mark.parametrize(("name", "value"), [*BAD.items(), *BAD_POINTS])
def test_a_bad_state_is_refused_and_named(name, value):
    figure = AttentionStep()
    kept = getattr(figure, name)
    with pytest.raises(TraitError, match=name):
        AttentionStep(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(AttentionStep()._state)


def test_the_rates_are_the_studys():
    """Else the figure would show other trainings than the chapter counts."""
    assert {f"last layer, {rates}" for rates in RATES} | {TRAINED} == set(LINEAR)


@each
def test_attention_by_hand_is_the_step(rates):
    figure = AttentionStep(rates=rates)
    found = figure.predictions(X)
    assert_close(found["attention"], found["step"], rtol=0, atol=1e-12)
    assert (found["step"] - found["before"]).abs().max() > 0.5
    assert (found["trained"] - found["step"]).abs().max() > 0.01


@each
def test_a_weight_is_how_far_the_prediction_follows_its_point(rates):
    """The step is linear in each y: its weights are the slopes, found here by autograd."""
    figure = AttentionStep(rates=rates, points=[-3.0, 0.4, 0.5, 2.0])
    theta, alpha = networks()[rates]
    support, family, at = figure.support(), Sinusoid(), torch.tensor([[[figure.query]]]).double()
    support.y.requires_grad_()
    phi = adapt(family.loss, per_task(theta, (1,)), per_task(alpha, (1,)), support,
                rule=last_layer(rates))
    after = predict(family.model, phi, at)
    (slopes,) = torch.autograd.grad(after.sum(), support.y)
    weights = figure.weights(support.x[0, :, 0])
    assert_close(weights, slopes[0, :, 0])
    before = predict(family.model, theta, at[0])
    assert_close(before[0, 0] + weights @ figure.residuals(), after[0, 0, 0])


def test_with_one_rate_no_weight_is_negative():
    """What the first goal asks about: features after a ReLU, and the bias's 1, are not."""
    figure = AttentionStep(rates="one rate")
    for figure.query in X.tolist():
        assert (figure.weights(X) > 0).all()


def test_the_page_gets_the_studys_numbers():
    """Half precision as they are stored, and no more: three networks, three A, and attention."""
    numbers = 4 * 1761 + 1 + 41 + 41**2 + 2 * 41 * 42 + 42
    assert len(_packed()) == 2 * numbers
    first = load("memory").tensors["last layer, one rate/theta.layers.0.weight"]
    assert first.dtype == torch.float16
    assert _packed().startswith(first.numpy().astype("<f2").tobytes())


def test_the_picture_shows_the_state():
    states = ({}, {"chosen": 0}, {"points": [1.0], "query": -2.0}, {"rates": "a matrix"})
    pictures = [Image.open(io.BytesIO(AttentionStep(**state).picture())) for state in states]
    assert all(picture.size == (600, 700) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(states)
