"""Twenty walks, the figure of chapter 16, from Python: traits, numbers, picture."""

import io

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from traitlets import TraitError

from metasgd_core.tasks.navigation import NavigationTasks
from metasgd_core.widgets import TwentyWalks
from metasgd_core.widgets.twentywalks import GOALS, WALKS, normals

BAD = {"pull": 0.0, "noise": 0.2, "reward": "speed", "advantages": "raw", "goal": [0.6, 0.0],
       "seed": -1}  # fmt: skip
SQUARE = {"reward": "squared", "advantages": "as they are"}


@pytest.mark.parametrize(("name", "value"), [*BAD.items(), ("goal", [0.1]), ("goal", [0.0] * 3)])
def test_a_bad_state_is_refused_and_named(name, value):
    figure = TwentyWalks()
    kept = getattr(figure, name)
    with pytest.raises(TraitError, match=name):
        TwentyWalks(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(TwentyWalks()._state)


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_the_chances_are_standard_normal(seed):
    drawn = normals(seed, 100_000)
    assert abs(float(drawn.mean())) < 0.015
    assert abs(float(drawn.std()) - 1) < 0.01
    assert abs(float((drawn[::2] * drawn[1::2]).mean())) < 0.02


def test_the_walks_are_the_familys(monkeypatch):
    """With the family's own noise the figure plays what `sample_data` plays."""
    figure = TwentyWalks(noise=0.05)
    goals = torch.tensor([[0.1, 0.2], [0.0, -0.05]], dtype=torch.float64)
    v = 0.3 * goals
    family = figure.family()
    ours = family.sample_data(
        NavigationTasks(*goals.T), figure.spring(v), WALKS,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    noise = torch.randn(family.horizon, 2, WALKS, 2, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(1))  # fmt: skip
    for one, other in zip(figure.walks(goals, v, noise), ours):
        assert_close(one, other, rtol=0, atol=0)
    assert not ours.mask.all(), "some walks arrive"


@pytest.mark.parametrize("seed", range(3))
def test_what_the_chapter_says_of_narrow_and_wide_clouds(seed):
    """A narrow cloud knows a direction, a wide one more; the square, as it is, the place."""
    narrow, wide = TwentyWalks(seed=seed), TwentyWalks(pull=0.02, noise=0.1, seed=seed)
    assert abs(float(narrow.told().place)) < 0.5 < 3 < float(wide.told().place)
    for state in (SQUARE, SQUARE | {"pull": 0.1, "noise": 0.05}):
        assert abs(float(TwentyWalks(seed=seed, **state).told().place) - 10) < 1.5
    assert abs(float(TwentyWalks(seed=seed, reward="squared").told().place)) < 0.5
    assert float(narrow.told().width) < 0.03 < 0.3 < float(wide.told().width)
    earned = [float(one.told().returns[:-1].mean())
              for one in (wide, narrow, TwentyWalks(seed=seed, **SQUARE))]  # fmt: skip
    assert earned == sorted(earned)


def test_alpha_brings_the_resting_places_nearest():
    told = TwentyWalks().told()
    known = told.rests[:-1]

    def off(factor):
        return (factor * known - GOALS).square().sum()

    assert off(1) < min(off(0.99), off(1.01))


def test_the_picture_shows_the_state():
    states = ({}, {"goal": [-0.3, 0.2]}, {"noise": 0.1}, {"seed": 1}, SQUARE)
    pictures = [Image.open(io.BytesIO(TwentyWalks(**state).picture())) for state in states]
    assert all(picture.size == (600, 740) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(states)
