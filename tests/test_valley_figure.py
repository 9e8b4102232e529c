"""Valley, the figure of chapter 2, from Python: its traits, its walk, its picture."""

import io

import pytest
import torch
from PIL import Image
from traitlets import TraitError

from metasgd_core.widgets import Valley

BAD = {
    "optimizer": "magic", "rates": "both", "alpha": 0.0, "alpha_1": -1.0, "alpha_2": float("nan"),
    "steps": 0, "curvature": 0.5, "angle": 91.0, "start": [4.0, 0.0],
}


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_a_bad_state_is_refused_and_named(name, value):
    figure = Valley()
    kept = getattr(figure, name)
    with pytest.raises(TraitError, match=name):
        Valley(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(Valley.class_own_traits(sync=True)) == set(Valley()._state)


@pytest.mark.parametrize("start", [[-2.5, 1.0], [0.3, -1.7]])
def test_a_vector_ends_in_one_step_unless_the_valley_is_turned(start):
    one_step = {"rates": "each", "alpha_1": 1.0, "alpha_2": 0.1, "steps": 1, "start": start}
    assert Valley(**one_step).walk()[-1].norm() < 1e-15
    assert Valley(**one_step, angle=45.0).walk()[-1].norm() > 0.1


def test_one_rate_diverges_above_two_over_the_curvature():
    for optimizer, limit in (("gradient descent", 2.0), ("momentum", 3.8)):
        lengths = [
            Valley(optimizer=optimizer, alpha=limit / 25 * f, curvature=25, steps=100).walk()
            .norm(dim=-1) for f in (0.95, 1.05)
        ]
        assert lengths[0][-1] < lengths[0][0] < lengths[1][-1]


def test_the_matrix_has_the_curvatures_and_the_angle():
    values, axes = torch.linalg.eigh(Valley(curvature=7.0, angle=30.0).matrix())
    torch.testing.assert_close(values, torch.tensor([1.0, 7.0], dtype=torch.float64))
    assert abs(axes[1, 0] / axes[0, 0]) == pytest.approx(3**-0.5)


def test_the_picture_shows_the_state():
    first, second = (Image.open(io.BytesIO(Valley(steps=s).picture())) for s in (15, 2))
    assert first.format == "PNG"
    assert first.size == second.size == (600, 640)
    assert first.tobytes() != second.tobytes()
    assert Image.open(io.BytesIO(Valley(start=[0.0, 0.0]).picture())).size == (600, 640)
