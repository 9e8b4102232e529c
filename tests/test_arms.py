"""Three arms (companion of chapter 15): the family, and the curve that a start is judged by."""

import math

import pytest
import torch
from cases import gen
from torch.testing import assert_close

from metasgd_core import adapt, per_task
from metasgd_core.studies import exploration as study
from metasgd_core.studies.jobs import Job, do, read
from metasgd_core.tasks.arms import Arms, ArmsTasks

ARMS = Arms(horizon=3)


def test_what_an_arm_pays():
    tasks = ArmsTasks(torch.tensor([1.0, 2.0]))
    theta = per_task({"logits": torch.zeros(3)}, (2,))
    data = ARMS.sample_data(tasks, theta, 200, generator=gen())
    assert data.action.shape == (2, 200, 3)
    assert data.mask.all()
    pays = torch.tensor([[0.5, 1.0, -1.0], [0.5, -1.0, 1.0]])
    expected = pays.gather(1, data.action.flatten(1).long()).view_as(data.reward)
    assert_close(data.reward, expected)
    for arm in range(3):  # a third each, within four standard errors
        share = (data.action == arm).double().mean()
        assert abs(share - 1 / 3) < 4 * math.sqrt(2 / 9 / data.action.numel())


def test_the_log_probability_is_that_of_the_arm_that_was_pulled():
    theta = per_task({"logits": torch.tensor([1.0, 0.0, -1.0])}, (2,))
    data = ARMS.sample_data(ARMS.sample_tasks(2, generator=gen()), theta, 4, generator=gen())
    table = torch.tensor([1.0, 0.0, -1.0]).log_softmax(0)
    assert_close(ARMS.log_prob(theta, data), table[data.action.long()])


def test_who_pulls_the_safe_arm_alone_learns_nothing():
    """So the family asks what it is made to ask: no step without a look at the risky arms."""
    batch = (50,)
    theta = per_task(study.preferring(torch.tensor(20.0)), batch)
    tasks = ARMS.sample_tasks(*batch, generator=gen())
    support = ARMS.sample_data(tasks, theta, 5, generator=gen(1))
    phi = adapt(ARMS.loss, theta, 3.0, support)
    assert_close(phi["logits"], theta["logits"])


def test_the_curve_has_its_best_place_where_the_risky_arms_are_tried():
    """And a start that prefers the safe arm is better before the step, and worse after it."""
    before, after = study.returns(study.preferring(torch.tensor([-1.0, 4.0])), n_tasks=3000, seed=5)
    assert before[1] > before[0] + 0.2
    assert after[0] > after[1] + 0.1
    exact = torch.tensor([-1.0, 4.0]).exp()
    assert_close(before, 0.5 * exact / (exact + 2))


def test_with_credit_for_the_episodes_the_meta_gradient_is_the_slope_of_the_curve():
    """The others' is not, here: they do not know that theta chooses what is seen."""
    at = torch.full((3000,), 1.0, requires_grad=True)
    tasks = study.family("naive").sample_tasks(3000, 20, generator=gen())
    step = 0.25
    low, high = study.returns(study.preferring(torch.tensor([1 - step, 1 + step])),
                              n_tasks=200_000, seed=6)[1]  # fmt: skip
    slope = float(high - low) / (2 * step)
    found = {}
    for name in ("naive", "E-MAML"):
        loss = study.meta_loss(
            study.family(name), study.preferring(at), study.ALPHA, tasks, study.method(name),
            shots=study.EPISODES, query_shots=study.EPISODES, generator=gen(1),
        )
        (g,) = torch.autograd.grad(loss.sum(), at)
        mean, half = study.t_interval(-g.double() / study.family(name).horizon)
        found[name] = float(mean), float(half)
    mean, half = found["E-MAML"]
    assert abs(mean - slope) < half + 0.01
    mean, half = found["naive"]
    assert abs(mean - slope) > half + 0.02


@pytest.mark.parametrize("name", ["DiCE", study.CURVE])
def test_each_kind_of_job_is_done(name, tmp_path):
    do(study.work, Job(name, tmp_path, quick=True))
    found = read(tmp_path / f"{name}.safetensors").tensors
    if name == study.CURVE:
        assert found["curve"].shape == (2, len(study.PREFERRED))
        assert found["slope, E-MAML"].shape == (len(study.LOOKS), 3)
    else:
        assert found["logits"].shape == (study.SEEDS, 3)
        assert found["returns"].shape == (2, study.SEEDS)


@pytest.mark.parametrize(("wrong", "words"), [
    ({"safe": 2.0}, "safe must be from 0 to 1"), ({"horizon": 0}, "horizon"),
])  # fmt: skip
def test_bad_arms_are_refused_in_a_sentence(wrong, words):
    with pytest.raises(ValueError, match=words):
        Arms(**wrong)
