"""The sine family: what is drawn, how it is spread, and what its loss refuses to compare."""

from math import pi

import pytest
import torch
from cases import gen, sines
from torch import nn

from metasgd_core import Data, Sinusoid, init_theta, per_task


@pytest.mark.parametrize(
    ("family", "omega"), [(Sinusoid(), (1.0, 1.0)), (Sinusoid.varying_frequency(), (0.8, 1.2))]
)
def test_every_number_of_a_curve_is_uniform_in_its_papers_range(family, omega):
    """Ranges of Finn et al. 2017 (omega fixed) and Li et al. 2017 (omega in [0.8, 1.2]).

    Uniformity by Kolmogorov and Smirnov: the largest gap between the empirical distribution and
    the uniform one stays under 1.95 / sqrt(n), the 0.1 % point.
    """
    n = 4000
    tasks = family.sample_tasks(n, generator=gen(7))
    data = family.sample_data(tasks, None, 1, generator=gen(8))
    drawn = {"amplitude": (tasks.amplitude, (0.1, 5.0)), "phase": (tasks.phase, (0.0, pi)),
             "frequency": (tasks.frequency, omega), "x": (data.x.flatten(), (-5.0, 5.0))}
    for name, (values, (low, high)) in drawn.items():
        assert values.shape == (n,)
        assert low <= values.min(), name
        assert values.max() <= high, name
        if low < high:
            u = (values.double().sort().values - low) / (high - low)
            gap = (u - (torch.arange(n) + 0.5) / n).abs().max()
            assert gap < 1.95 / n**0.5, name
    numbers = torch.stack([v for v, (low, high) in drawn.values() if low < high])
    off_diagonal = torch.corrcoef(numbers) - torch.eye(len(numbers))
    assert off_diagonal.abs().max() < 4 / n**0.5  # A, b, omega and x are drawn independently


def test_points_lie_on_the_curve():
    """A = 2, omega = 1, b = pi / 2: y = 2 cos x, so y(0) = 2, y(pi) = -2, y(pi / 2) = 0."""
    family = Sinusoid(MLP64, amplitude=(2, 2), phase=(pi / 2, pi / 2))
    tasks = family.sample_tasks(1, generator=gen())
    x = torch.tensor([[[0.0], [pi], [pi / 2]]], dtype=torch.float64)
    assert tasks(x).flatten().tolist() == pytest.approx([2, -2, 0], abs=1e-15)
    data = family.sample_data(tasks, None, 6, generator=gen(1))
    assert torch.equal(data.y, tasks(data.x))
    assert data.x.dtype == torch.float64


MLP64 = sines().model


def test_runs_and_tasks_have_curves_and_points_of_their_own():
    """Seeds along the runs axis that shared their tasks would understate the spread over seeds."""
    family = sines()
    tasks = family.sample_tasks(3, 4, generator=gen(1))
    data = family.sample_data(tasks, None, 5, generator=gen(2))
    assert tasks.amplitude.shape == (3, 4)
    assert data.x.shape == data.y.shape == (3, 4, 5, 1)
    for values, count in ((tasks.amplitude, 12), (tasks.phase, 12), (data.x, 60)):
        assert values.unique().numel() == count


def test_the_same_seed_draws_the_same_and_the_global_seed_plays_no_part():
    family = sines()
    first = family.sample_tasks(4, generator=gen(3))
    torch.manual_seed(99)
    again = family.sample_tasks(4, generator=gen(3))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.amplitude, family.sample_tasks(4, generator=gen(4)).amplitude)


def test_the_loss_is_each_tasks_mean_over_its_own_points():
    """Predicting 0 (all weights zero) costs the mean of y squared, task by task."""
    family = sines()
    theta = {n: torch.zeros_like(p) for n, p in init_theta(family.model, generator=gen()).items()}
    data = family.sample_data(family.sample_tasks(3, generator=gen(1)), None, 5, generator=gen(2))
    losses = family.loss(per_task(theta, (3,)), data)
    assert losses.shape == (3,)
    assert torch.allclose(losses, data.y.square().sum(dim=(1, 2)) / 5, rtol=1e-14)
    assert torch.equal(family.score(per_task(theta, (3,)), data), losses)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (torch.zeros(3, 5), r"predictions have shape \(3, 5, 1\) but y has shape \(3, 5\)"),
        (torch.zeros(3, 1, 1), r"y has shape \(3, 1, 1\)"),  # would broadcast over the points
        (torch.zeros(1, 5, 1), r"y has shape \(1, 5, 1\)"),  # would broadcast over the tasks
        (torch.zeros(3, 5, 5), r"y has shape \(3, 5, 5\)"),  # would broadcast over the outputs
        (torch.zeros(4, 5, 1), r"y has shape \(4, 5, 1\)"),
        (torch.zeros(3, 5, 1, dtype=torch.float64), "y is torch.float64 but the parameters are"),
        (torch.zeros(3, 5, 1, device="meta"), "y is on meta but the parameters are on cpu"),
    ],
)
def test_labels_that_do_not_match_the_predictions_are_refused(y, sentence):
    """(K, 1) - (K,) is (K, K) for PyTorch: a wrong loss and no error. Here it is an error."""
    family = sines(dtype=torch.float32)
    phi = per_task(init_theta(family.model, generator=gen()), (3,))
    with pytest.raises(ValueError, match=sentence):
        family.loss(phi, Data(torch.zeros(3, 5, 1), y))


def test_points_of_other_tasks_than_the_parameters_are_refused():
    family = sines(dtype=torch.float32)
    phi = per_task(init_theta(family.model, generator=gen()), (3,))
    with pytest.raises(ValueError, match=r"x has shape \(2, 5, 1\), but the parameters carry the "
                                         r"leading axes \(3,\)"):
        family.loss(phi, Data(torch.zeros(2, 5, 1), torch.zeros(2, 5, 1)))


@pytest.mark.parametrize("n", [0, -3, True])
def test_zero_or_negative_tasks_or_shots_are_refused(n):
    family = sines()
    with pytest.raises(ValueError, match=f"the number of tasks must be a whole number of at least "
                                         f"1, got {n}"):
        family.sample_tasks(n, generator=gen())
    tasks = family.sample_tasks(2, generator=gen())
    with pytest.raises(ValueError, match=f"shots must be a whole number of at least 1, got {n}"):
        family.sample_data(tasks, None, n, generator=gen())


@pytest.mark.parametrize("ends", [(2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(ends):
    with pytest.raises(ValueError, match=r"phase must be a pair \(lowest, highest\) of finite"):
        Sinusoid(nn.Linear(1, 1), phase=ends)
