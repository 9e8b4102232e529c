"""What the page's CartPole carries: chapter 15's policies, which find the side in one step."""

from io import BytesIO

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch.testing import assert_close

from metasgd_core import CartPole, adapt, init_theta, per_task
from metasgd_core.studies import load
from metasgd_core.studies.cartpole import STUDIES
from metasgd_core.studies.jobs import Job
from metasgd_core.widgets import CartPolePlay
from metasgd_core.widgets.cartpole import STARTS, starts

ROWS = {"MAML": "maml-3", "Meta-SGD": "metasgd-3", "joint": "joint"}
FAMILY = CartPole(secret_side=True)


def leaves(flat):
    """Split one row of numbers into the policy's parameters."""
    shapes = {name: p.shape for name, p in FAMILY.model.named_parameters()}
    parts = flat.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}


def test_the_random_start_is_chapter_9s():
    """If not, run `python -m metasgd_core.studies figure-cartpole`. (The chapter asserts it.)"""
    theta, alpha = starts()["random"]
    draws = torch.Generator().manual_seed(0)
    first = init_theta(CartPole().model, generator=draws, output_scale=0.1)
    for key, value in leaves(theta).items():
        assert torch.equal(value, first[key])
    assert alpha.tolist() == [2.0]


@pytest.mark.parametrize("name", ROWS)
def test_the_numbers_are_the_chapters(name):
    """If this fails, run `python -m metasgd_core.studies figure-cartpole`."""
    tensors, notes = load("cartpole-secret")
    theta, alpha = starts()[name]
    for key, value in leaves(theta).items():
        assert torch.equal(value, tensors[f"{ROWS[name]}/theta.{key}"][0])
    if name == "Meta-SGD":
        for key, value in leaves(alpha).items():
            assert torch.equal(value, tensors[f"metasgd-3/alpha.{key}"][0])
    else:
        assert alpha.tolist() == [3.0 if name == "MAML" else notes["rows"]["joint"]["rate"]]


def test_the_study_makes_the_same_file_again(tmp_path):
    """All tensors, bit for bit, under the same names."""
    study = STUDIES["figure-cartpole"]
    parts = {name: study.work(Job(name, tmp_path)) for name in study.jobs}
    again = study.results(parts)["figure-cartpole"]
    assert_close(again.tensors, load("figure-cartpole").tensors, rtol=0, atol=0)


@pytest.mark.parametrize("name", ROWS)
def test_their_returns_are_those_of_the_file(name):
    """Before and after one step, ten episodes, 100 test tasks: as stored, within 25 of 500."""
    theta, alpha = (leaves(part.expand(450)) for part in starts()[name])
    draws = torch.Generator().manual_seed(2000)
    tasks = FAMILY.sample_tasks(100, generator=draws)
    start = per_task(theta, (100,))
    before = FAMILY.sample_data(tasks, start, 10, generator=draws)
    phi = adapt(FAMILY.loss, start, per_task(alpha, (100,)), before, first_order=True)
    after = FAMILY.sample_data(tasks, phi, 10, generator=draws)
    stored = load("cartpole-secret")[0][f"{ROWS[name]}/sampled"][0, :2].mean(-1)
    found = torch.stack([FAMILY.score(start, data).mean() for data in (before, after)])
    assert_close(found, stored, atol=25, rtol=0)
    assert (found[1] > 450) == (name != "joint")


def test_the_page_gets_them_in_order():
    """Theta, then alpha if it is one for each number, start by start, as float32 bytes."""
    figure = CartPolePlay()
    numbers = torch.frombuffer(bytearray(figure._weights), dtype=torch.float32)
    expected = []
    for name in STARTS:
        (theta, alpha), rate = starts()[name], figure._rates[name]
        expected += [theta] if rate is not None else [theta, alpha]
        assert rate is None or torch.equal(alpha, torch.tensor([rate]))
    assert torch.equal(numbers, torch.cat(expected))


def test_a_picture_for_viewers_without_javascript():
    """The shaded half moves with the side."""

    def greenish(side):
        picture = Image.open(BytesIO(CartPolePlay(side=side).picture())).convert("RGB")
        pixels = np.asarray(picture).astype(int)
        green = pixels[..., 1] > pixels[..., 0] + 10
        half = green.shape[1] // 2
        # The cart and its pole, in the middle, are left out.
        return green[:, : half - 40].sum(), green[:, half + 40 :].sum()

    left, right = greenish(1)
    assert right > 10_000 > left
    left, right = greenish(-1)
    assert left > 10_000 > right
    assert max(greenish(0)) < 1000


@pytest.mark.parametrize(
    "bad",
    [
        {"length": 0.0}, {"length": float("nan")}, {"gravity": float("inf")}, {"side": 2},
        {"updates": 4}, {"updates": 31, "start": "random"}, {"speed": 9.0},
        {"state": [0.0] * 3}, {"state": [float("nan")] * 4},
        {"history": [[1.0] * 7] * 4}, {"history": [[1.0]]}, {"start": "nobody"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(bad):
    with pytest.raises(traitlets.TraitError, match=next(iter(bad))) as refusal:
        CartPolePlay(**bad)
    assert "\n" not in str(refusal.value)


def test_a_start_takes_as_many_steps_as_it_can():
    """Thirty of training; of an adaptation three. It cannot change under the steps taken."""
    figure = CartPolePlay(start="random", side=0, updates=30)
    with pytest.raises(traitlets.TraitError, match="'MAML' takes at most 3 steps, got 30"):
        figure.start = "MAML"
    assert figure.start == "random"
    figure.updates = 3
    figure.start = "MAML"
