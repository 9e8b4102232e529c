"""One step's kernel, the figure of chapter 7, from Python: its traits, its curves, its picture."""

import io

import pytest
import torch
from PIL import Image
from traitlets import TraitError

from metasgd_core import Data, Sinusoid, adapt, per_task, predict
from metasgd_core.floor import mean_curve
from metasgd_core.widgets import StepKernel
from metasgd_core.widgets.sine import starts
from metasgd_core.widgets.stepkernel import kernel

BAD = {
    "amplitude": 0.0, "phase": 4.0, "chosen": 20, "points": [],
}
X = torch.linspace(-5, 5, 61, dtype=torch.float64)


BAD_POINTS = [("points", [5.1]), ("points", [0.0] * 21)]


@pytest.mark.parametrize(("name", "value"), [*BAD.items(), *BAD_POINTS])
def test_a_bad_state_is_refused_and_named(name, value):
    figure = StepKernel()
    kept = getattr(figure, name)
    with pytest.raises(TraitError, match=name):
        StepKernel(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(StepKernel()._state)


def test_the_shares_add_up_to_the_best_step_and_not_to_a_networks():
    """A network is not linear in its parameters: that is what the chapter measures."""
    figure = StepKernel()
    shares = {"best": 0.0, "Meta-SGD": 0.0}
    for chosen in range(5):
        figure.chosen = chosen
        for name, (_, alone) in figure.predictions(X).items():
            shares[name] = shares.get(name, 0.0) + alone
    figures = figure.predictions(X)
    torch.testing.assert_close(mean_curve(X) + shares["best"], figures["best"][0])
    change = figures["Meta-SGD"][0] - before("Meta-SGD")
    assert (shares["Meta-SGD"] - change).abs().max() > 0.1


def before(name):
    theta = {n: p.double() for n, p in starts()[name][0].items()}
    return predict(Sinusoid().model, theta, X[:, None])[:, 0]


def test_the_kernel_is_what_a_small_step_does():
    """To first order: a hundredth of the rates moves the curve by a hundredth of the kernel."""
    for name in ("MAML", "Meta-SGD"):
        theta, alpha = ({n: p.double() for n, p in part.items()} for part in starts()[name][:2])
        at = torch.tensor([[[0.7]]], dtype=torch.float64)
        family, start = Sinusoid(), per_task(theta, (1,))
        y = predict(family.model, start, at).detach() + 1  # a residual of 1
        phi = adapt(family.loss, start, per_task({n: 1e-5 * a for n, a in alpha.items()}, (1,)),
                    Data(at, y), first_order=True)
        after = predict(family.model, phi, X[None, :, None])[0, :, 0].detach()
        moved = 1e5 * (after - before(name))
        torch.testing.assert_close(moved, kernel(theta, alpha, X, 0.7), rtol=1e-3, atol=1e-3)


def test_the_picture_shows_the_state():
    pictures = [Image.open(io.BytesIO(StepKernel(**state).picture()))
                for state in ({}, {"chosen": 0}, {"amplitude": 1.0}, {"points": [1.0]})]
    assert all(picture.size == (600, 640) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 4
