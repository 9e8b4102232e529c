"""Long trainings survive: a killed one ends, bit for bit, as if nothing had happened."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from cases import EXACT, OneOfRuns, carts, gen, sines, start, used, walks
from patience import PATIENCE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from metasgd_core import (
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    Data,
    init_alpha,
    init_theta,
    meta_train,
)
from metasgd_core.tasks import Regression
from metasgd_core.training import draws, gradient

SCALAR = replace(META_SGD, name="learned scalar", alpha_shape="scalar")
LOG = replace(META_SGD, name="in the log", alpha_form="log")
CREDIT = replace(MAML, name="E-MAML", credit_sampling=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed by signal")
def test_a_training_killed_twenty_times_ends_bit_for_bit_as_the_unbroken_one(tmp_path):
    """SIGKILL at any moment, twice in the middle of writing: theta, alpha and the generator's state
    are those of a training that ran through, and no half-written file is read or left behind."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "killed_training.py", tmp_path], check=True, timeout=PATIENCE,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(here.parent)},
    )
    story = json.loads(done.stdout)
    saved = [0, *story["saved"]]
    assert len(saved) == 21
    assert saved == sorted(saved)
    assert saved[-1] < 165
    # The fifth and the twelfth died within their first write; most others got further.
    assert saved[5] == saved[4]
    assert saved[12] == saved[11]
    assert len(set(saved)) > 12
    assert story["kept"] == ["training.safetensors"]
    unbroken, resumed = (load_file(tmp_path / f"{n}.safetensors") for n in ("unbroken", "resumed"))
    assert len(unbroken) == 9
    assert_close(resumed, unbroken, **EXACT)


def training(path=None, family=None, method=META_SGD, generator=None, **changes):
    family = family or sines()
    theta, alpha = start(family, method.alpha_shape, runs=(2,))
    settings = {"iterations": 6, "meta_batch": 3, "shots": 5, "query_shots": 6, "lr": 0.01,
                "record_every": 2, "checkpoint": path, "generator": generator or gen(3)}
    settings |= changes
    return meta_train(family, settings.pop("theta", theta), settings.pop("alpha", alpha), method,
                      **settings)


def momentum(groups, lr):
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        (JOINT, {}), (MAML, {}), (META_SGD, {"final_lr": 0.1, "alpha_lr": 0.1, "clip": 0.5}),
        (SCALAR, {}), (LOG, {}), (REPTILE, {"lr": 0.5}), (META_SGD, {"optimizer": momentum}),
        (LOG, {"family": carts(secret_side=True)}), (CREDIT, {"family": walks(start="uniform")}),
    ],
    ids=lambda value: getattr(value, "name", None) or "-".join(value),
)
def test_records_after_a_resume_are_those_of_the_unbroken_training(tmp_path, method, changes):
    """Adam's moments, momentum, the schedule's place, the log of alpha, the generator: all return.

    Also a scalar alpha that stands under several names is still one tensor after the resume.
    """
    unbroken = list(training(method=method, **changes))
    whole = gen(3)
    list(training(method=method, generator=whole, **changes))
    path = tmp_path / "a.safetensors"
    before = training(path, method=method, **changes)
    first = next(before)
    before.close()
    generator = used(3)  # the checkpoint's state replaces this one's
    after = list(training(path, method=method, generator=generator, **changes))
    assert_close([first, *after], unbroken, **EXACT)
    assert torch.equal(generator.get_state(), whole.get_state())
    assert len({id(a) for a in after[-1].alpha.values()}) == len(
        {id(a) for a in unbroken[-1].alpha.values()}
    )


def test_a_diverged_run_is_still_frozen_after_a_resume(tmp_path):
    path, family = tmp_path / "a.safetensors", sines()
    poisoned = OneOfRuns(family, 2, slice(None), poison=(1, 2))
    first = next(training(path, poisoned))
    assert first.diverged.tolist() == [False, True]
    after = list(training(path, OneOfRuns(family, 2, slice(None), poison=(1, 2))))[-1]
    assert after.diverged.tolist() == [False, True]
    assert after.loss.isnan().tolist() == [False, True]
    for n in first.theta:
        assert torch.equal(after.theta[n][1], first.theta[n][1])
        assert not torch.equal(after.theta[n][0], first.theta[n][0])


def test_a_finished_training_is_read_and_not_trained_again(tmp_path):
    path = tmp_path / "a.safetensors"
    last = list(training(path))[-1]
    written = path.stat().st_mtime_ns
    (again,) = training(path)
    assert again.iteration == 6
    assert_close((again.theta, again.alpha), (last.theta, last.alpha), **EXACT)
    assert path.stat().st_mtime_ns == written


def test_the_file_is_tensors_and_json_and_holds_no_code(tmp_path):
    """Opening a stranger's checkpoint runs nothing; a pickle could run anything."""
    path = tmp_path / "a.safetensors"
    list(training(path))
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    assert state["format"] == 1
    assert state["done"] == 6
    assert state["settings"]["method"]["name"] == "Meta-SGD"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


# ---- what is refused


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.safetensors"
    next(training(path))
    return path


@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, -1])
def test_a_truncated_file_is_refused_wherever_it_was_cut(saved, kept):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r"a.safetensors is not a whole checkpoint \(.*\); delete "
                                         "it to train from the start"):
        next(training(saved))


def test_what_is_no_checkpoint_is_refused(saved):
    saved.write_text("theta = 3")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        next(training(saved))
    save_file({"x": torch.zeros(1)}, saved)
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        next(training(saved))
    saved.unlink()
    saved.mkdir()
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        next(training(saved))


@pytest.mark.parametrize("number", [0, 2, None])
def test_another_format_version_is_refused(saved, number):
    tensors = load_file(saved)
    with safe_open(saved, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    save_file(tensors, saved, {"state": json.dumps(state | {"format": number})})
    with pytest.raises(ValueError, match=f"has checkpoint format {number}, this version of "
                                         "metasgd_core reads format 1"):
        next(training(saved))


def other_theta(family):
    return init_theta(family.model, generator=gen(1), runs=(2,))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"family": sines(1, 5, 4, 1)}, r"family: .*out_features=4.* there, .*out_features=5"),
        ({"family": sines(activation="tanh")}, "family: .*relu.* there, .*tanh.* here"),
        ({"family": sines(dtype=torch.float32)}, r"shape or dtype of theta\.layers\.0\.weight"),
        ({"method": replace(META_SGD, inner_steps=2)}, "'inner_steps': 1.*'inner_steps': 2"),
        ({"meta_batch": 4}, "meta_batch: 3 there, 4 here"),
        ({"shots": 4}, "shots: 5 there, 4 here"),
        ({"query_shots": 7}, "query_shots: 6 there, 7 here"),
        ({"final_lr": 0.5}, "final_lr: 1.0 there, 0.5 here"),
        ({"clip": 1.0}, "clip: None there, 1.0 here"),
        ({"lr": 0.02}, "lr: 0.01.*lr: 0.02"),
        ({"alpha_lr": 0.02}, "lr: 0.02"),
        ({"optimizer": momentum}, "optimizer: .*Adam .*there.*SGD .*here"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_checkpoint_of_another_training_is_refused_and_the_difference_named(
    saved, changes, sentence
):
    with pytest.raises(ValueError, match=f"(?s)a.safetensors belongs to another training .*"
                                         f"{sentence}.*name another file"):
        next(training(saved, **changes))


def test_a_checkpoint_of_another_number_of_runs_or_another_fixed_rate_is_refused(tmp_path):
    path, family = tmp_path / "a.safetensors", sines()
    next(training(path, method=MAML, alpha=0.01))
    with pytest.raises(ValueError, match=r"first alpha: .* there, .* here"):
        next(training(path, method=MAML, alpha=0.1))
    theta = init_theta(family.model, generator=gen(1), runs=(3,))
    with pytest.raises(ValueError, match=r"shape or dtype of theta\.layers\.0\.weight"):
        next(training(path, method=MAML, theta=theta, alpha=0.01))
    alpha = init_alpha(theta, "entry", 0.01, runs=(3,))
    with pytest.raises(ValueError, match=r"'learn_alpha': False.*'learn_alpha': True"):
        next(training(path, theta=theta, alpha=alpha))


def test_a_missing_folder_is_said_before_the_training_and_not_after(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.a.safetensors needs the folder .*nowhere; make "
                                         "it first"):
        next(training(tmp_path / "nowhere" / "a.safetensors"))


# ---- whose training it is


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generator": gen(4)}, "seed: 3 there, 4 here"),
        ({"theta": other_theta(sines())}, "first theta: .* there, .* here"),
        ({"alpha": start(sines(), rate=0.02, runs=(2,))[1]}, "first alpha: .* there, .* here"),
        ({"iterations": 1}, "2 iterations done there, 1 asked for here"),
    ],
    ids=["seed", "theta", "alpha", "shorter"],
)
def test_a_sweep_that_forgets_to_change_the_file_is_told_so(saved, changes, sentence):
    """Otherwise every seed of a sweep would get seed 0's result, and nothing would say so."""
    if "theta" in changes:
        changes["theta"] = {n: p + 1 for n, p in changes["theta"].items()}
    with pytest.raises(ValueError, match=f"belongs to another training .*{sentence}"):
        training(saved, **changes)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_theta_in_another_order_of_keys_resumes_as_the_same_training(
    tmp_path, monkeypatch, compiled
):
    """Numbers and the optimiser's moments find their place by name."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    unbroken = list(training(compiled=compiled))
    path = tmp_path / "a.safetensors"
    next(training(path, compiled=compiled))
    theta, alpha = (dict(reversed(p.items())) for p in start(sines(), runs=(2,)))
    after = list(training(path, theta=theta, alpha=alpha, compiled=compiled))
    assert_close([r.theta for r in after], [r.theta for r in unbroken[1:]], **EXACT)
    assert_close([r.alpha for r in after], [r.alpha for r in unbroken[1:]], **EXACT)


@pytest.mark.parametrize("iterations", [6, 8])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_can_be_prolonged(tmp_path, monkeypatch, compiled, iterations):
    """Ended, and asked for more: bit for bit what it would have been, in a chunk's middle too."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    monkeypatch.setattr(draws, "CHUNK", 4)
    whole = list(training(iterations=12, compiled=compiled))
    path = tmp_path / "a.safetensors"
    list(training(path, iterations=iterations, compiled=compiled))
    longer = list(training(path, iterations=12, compiled=compiled))
    assert_close([r.theta for r in longer], [r.theta for r in whole[iterations // 2 :]], **EXACT)


def test_a_training_whose_rates_fall_to_its_last_iteration_cannot_be_prolonged(tmp_path):
    """The rates so far were those of a shorter training."""
    path = tmp_path / "a.safetensors"
    next(training(path, final_lr=0.1))
    with pytest.raises(ValueError, match="iterations: 6 there, 8 here"):
        training(path, final_lr=0.1, iterations=8)


class Counting(torch.optim.SGD):
    """An optimiser that remembers how many steps it took, and slows down by it."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                count = self.state[p]["count"] = self.state[p].get("count", 0) + 1
                with torch.no_grad():
                    p -= group["lr"] / count * p.grad


def test_what_an_optimiser_remembers_as_a_plain_number_returns_too(tmp_path):
    path = tmp_path / "a.safetensors"
    unbroken = list(training(optimizer=Counting))
    next(training(path, optimizer=Counting))
    after = list(training(path, optimizer=Counting))
    assert_close([r.theta for r in after], [r.theta for r in unbroken[1:]], **EXACT)


class Hoarding(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["past"] = [p.detach().clone()]


def test_an_optimiser_whose_memory_no_file_can_hold_is_named(tmp_path):
    """A resume without it would be another training."""
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="Hoarding keeps 'past' as a list, which a checkpoint"):
        next(training(path, optimizer=Hoarding))
    assert not path.exists()


class Plain(Regression):
    """A family with no words of its own: what it holds tells it from another."""

    def __init__(self, scale, curves=3):
        self.model, self.scale = sines().model, scale
        self.points = torch.full((curves, 12, 2), scale, dtype=torch.float64)

    def sample_tasks(self, *batch, generator):
        return Some(torch.randint(len(self.points), batch, generator=generator))

    def sample_data(self, tasks, phi, shots, *, generator):
        x = torch.rand(*tasks.which.shape, shots, 1, generator=generator, dtype=torch.float64)
        return Data(x, self.scale * x)


class Some(NamedTuple):
    which: torch.Tensor


def test_a_family_without_words_is_told_by_what_it_holds(tmp_path):
    """Another CSV, another split: a training would go on with other tasks from its file."""
    path = tmp_path / "a.safetensors"
    next(training(path, family=Plain(1.0)))
    assert len(list(training(path, family=Plain(1.0)))) == 2
    with pytest.raises(ValueError, match=r"(?s)belongs to another training \(family: .*scale=1.0"):
        training(path, family=Plain(2.0))


def test_numpys_numbers_are_stored_as_plain_ones(tmp_path):
    path = tmp_path / "a.safetensors"
    next(training(path, meta_batch=np.int64(3), clip=np.float64(0.5)))
    assert len(list(training(path, meta_batch=3, clip=0.5))) == 2
