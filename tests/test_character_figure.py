"""Draw a character from Python: what its pads may hold, what it sees, what the networks say."""

import re

import numpy as np
import pytest
import torch
import traitlets
from torch.testing import assert_close

from metasgd_core import studies
from metasgd_core.characters import glyphs
from metasgd_core.models import ConvNet
from metasgd_core.studies import draw as study
from metasgd_core.studies import jobs
from metasgd_core.studies.jobs import Job
from metasgd_core.tasks.images import crop_to_ink
from metasgd_core.widgets import DrawCharacter
from metasgd_core.widgets.character import inked, model, networks, sheet, strokes

L = "2020" + "20e0" + "a0e0"  # down, then right
CROSS = "4040c0c0 c04040c0"
BAD = {
    "mode": "paint", "seed": -1, "answers": "0125",
    "pads": ["#0", "#1", "#2", "#3", "#4", "#120"],
}
BAD_PADS = ["#", "#-1", "202", "20202", "zz20", " 2020", "2020  2020", "2020 ", "M20 20"]


@pytest.mark.parametrize(("name", "value"), [
    *BAD.items(), ("pads", ["#0"] * 5), ("answers", "0" * 201),
    *(("pads", ["#0"] * 5 + [pad]) for pad in BAD_PADS),
])
def test_a_bad_state_is_refused_and_named(name, value):
    figure = DrawCharacter()
    kept = getattr(figure, name)
    with pytest.raises(traitlets.TraitError, match=name):
        setattr(figure, name, value)
    with pytest.raises(traitlets.TraitError, match=name):
        DrawCharacter(**{name: value})
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(DrawCharacter()._state)


def test_strokes_are_drawn_where_they_are_and_fill_the_box():
    """An L: a column at the left, a row at the bottom, nothing above its foot; cropped."""
    image = inked(strokes(L))
    assert image.dtype == torch.bool
    assert image.shape == (28, 28)
    rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 24, "six sevenths of the image"
    assert abs(int(rows[0] + rows[-1]) - 27) <= 1
    assert abs(int(columns[0] + columns[-1]) - 27) <= 1
    assert image[rows[0] : rows[-1] - 2].sum(1).max() <= 3, "a pen of about two pixels"
    assert image[rows[-1] - 1].sum() >= len(columns) - 1
    assert_close(crop_to_ink(image[None])[0].double().mean(), image.double().mean(), rtol=0.1,
                 atol=0)


@pytest.mark.parametrize("scale", [0.5, 0.75])
def test_size_and_place_tell_nothing(scale):
    """A character drawn in a corner looks as one that fills the pad does."""
    large = [line * 1.0 for line in strokes(CROSS)]
    small = [scale * line + 7 for line in large]
    assert torch.equal(inked(small), inked(large))


def test_a_dot_stays_a_dot():
    image = inked(strokes("8080"))
    assert 1 <= image.sum() <= 40


def test_what_the_networks_say_needs_all_pads():
    figure = DrawCharacter(pads=["#0", "", "#8", "", "#16", L])
    with pytest.raises(ValueError, match=r"^pad 2, 4 is empty, and all must have ink: give pads$"):
        figure.chances()
    assert figure.picture() != DrawCharacter().picture()


def test_chances_are_chances_and_the_step_counts():
    found = DrawCharacter(pads=[L, CROSS, "#8", "#12", "#16", CROSS]).chances()
    assert set(found) == {"none", "MAML", "Meta-SGD", "nearest"}
    for name in ("none", "MAML", "Meta-SGD"):
        assert_close(found[name].sum(), torch.ones((), dtype=torch.float64))
    assert_close(found["nearest"][1], torch.ones((), dtype=torch.float64))
    assert found["Meta-SGD"].argmax() == found["MAML"].argmax() == 1
    assert not torch.equal(found["none"], found["Meta-SGD"])


def test_the_page_holds_at_most_60_kilobytes_and_in_torchs_order():
    figure, (theta, alpha) = DrawCharacter(), networks()["Meta-SGD"]
    assert len(figure._weights) + len(figure._sheet) <= 60_000
    numbers = torch.tensor(np.frombuffer(figure._weights, "<f2").astype(float))
    flat = [torch.cat([part[name].flatten() for name, _ in model().named_parameters()])
            for part in (theta, alpha, networks()["MAML"][0])]
    assert_close(numbers, torch.cat(flat), rtol=0, atol=0)
    assert figure._rate == float(networks()["MAML"][1]["head.bias"][0])
    assert isinstance(model(), ConvNet)


def test_the_offered_drawings_are_cropped_and_all_different():
    offered = sheet().flatten(0, 1)
    assert len(offered) == 120
    assert len(torch.unique(offered.flatten(1), dim=0)) == 120
    assert 0.05 < offered.double().mean() < 0.3
    assert (offered.any(-1).sum(-1).maximum(offered.any(-2).sum(-1)) >= 16).all()


@pytest.mark.slow
def test_the_study_makes_what_is_stored(tmp_path, monkeypatch):
    """With four iterations, tested on glyphs: the same tensors, and the same sheet."""
    monkeypatch.setattr(study, "omniglot", lambda: glyphs(16))
    parts = {}
    for name in study.JOBS:
        jobs.do(study.work, Job(name, tmp_path, quick=True))
        parts[name] = studies.read(tmp_path / f"{name}.safetensors")
    found, stored = study.results(parts)["figure-draw"], studies.load("figure-draw")
    assert {name: (part.dtype, part.shape[:-1]) for name, part in found.tensors.items()} == {
        name: (part.dtype, part.shape[:-1]) for name, part in stored.tensors.items()
    }
    assert set(found.notes) == set(stored.notes) - {"made"}
    assert torch.equal(found.tensors["pixels/offered"], stored.tensors["pixels/offered"])
    assert "Meta-SGD/1 steps, alone" in study.summary(found)


def test_the_stored_result_says_how_well_it_does_on_omniglots_drawers():
    """Each query alone with the support, 600 episodes: the numbers that chapter 12 prints."""
    tensors, notes = studies.load("figure-draw")
    share = {name: 100 * part.double().mean().item() / notes["queries"]
             for name, part in tensors.items() if re.search("steps|nearest", name)}
    assert len(tensors["Meta-SGD/1 steps, alone"]) >= 600
    assert share["Meta-SGD/1 steps, alone"] >= 92
    assert share["Meta-SGD/1 steps, alone"] > share["pixels/nearest"] + 10
    assert abs(share["Meta-SGD/0 steps, alone"] - 20) < 5
