"""The floor of one additive step: its formula against sampling, and the step that stands on it."""

from itertools import pairwise

import pytest
import torch

from metasgd_core import Sinusoid
from metasgd_core.floor import (
    best_step,
    carried,
    floor,
    mean_curve,
    moments,
    one_point,
    waves,
)
from metasgd_core.models import MLP

TABLE = {1: 1.30, 5: 0.43, 10: 0.235, 20: 0.124, 100: 0.026}


@pytest.mark.parametrize(("shots", "error"), TABLE.items())
def test_the_table_of_the_chapter(shots, error):
    assert floor(shots) == pytest.approx(error, abs=0.0051 if shots < 10 else 0.00051)


def test_the_floor_falls_as_the_number_of_points_grows():
    errors = [floor(shots) for shots in range(1, 200)]
    assert all(later < earlier for earlier, later in pairwise(errors))
    assert 200 * floor(200) == pytest.approx(100 * floor(100), rel=0.02)  # as one over it


def drawn(shots, n=100_000):
    family = Sinusoid(MLP().double())
    random = torch.Generator().manual_seed(2)
    tasks = family.sample_tasks(n, generator=random)
    support = family.sample_data(tasks, None, shots, generator=random)
    query = ((torch.arange(50, dtype=torch.float64) + 0.5) / 5 - 5).expand(n, -1)
    return *(part[..., 0] for part in support), query, tasks(query[..., None])[..., 0]


@pytest.mark.parametrize("shots", [1, 5, 10])
def test_the_best_step_costs_the_floor_and_any_other_more(shots):
    """On curves of the package's own family: its ranges are those of the formula."""
    x, y, query, truth = drawn(shots)
    best = (best_step(x, y, query) - truth).square().mean(-1)
    assert float(best.mean()) == pytest.approx(floor(shots), abs=4 * float(best.std()) / 1e5**0.5)
    change = best_step(x, y, query) - mean_curve(query)
    for other in (0.8 * change, 1.2 * change, change + 0.3, change * (1 + 0.2 * query.sin())):
        worse = (mean_curve(query) + other - truth).square().mean(-1)
        assert float((worse - best).mean()) > 0.005


def test_the_moments_are_those_of_the_family():
    C, M, P = moments()
    x, _, query, truth = drawn(1)
    residual = truth - mean_curve(query)
    assert float(residual.mean()) == pytest.approx(0, abs=0.02)
    torch.testing.assert_close(
        residual.square().mean(0), ((waves(query[0]) @ C) * waves(query[0])).sum(-1),
        rtol=0.02, atol=0,
    )
    z = waves(x[:, 0])
    torch.testing.assert_close(z.T @ z / len(z), M, rtol=0.02, atol=0.005)
    # The average of what a residual carries is K P (1 + (K - 1) P)^-1.
    R = 5 * P @ torch.linalg.inv(torch.eye(2, dtype=torch.float64) + 4 * P)
    torch.testing.assert_close(carried(x[:, 0], 5).T @ z / len(z), R, rtol=0.02, atol=0.005)


def test_nobody_answers_one_point_better_than_the_posterior_mean():
    """Its error is below that of the best step; what it leaves is no function of the point."""
    x, y, query, truth = drawn(1, n=20_000)
    x, y = x[:, 0], y[:, 0]
    answer = one_point(x, y, query)
    torch.testing.assert_close(one_point(x, y, x[:, None])[:, 0], y)  # the curve meets its point
    error = (answer - truth).square().mean()
    assert 1.2 < error < (best_step(x[:, None], y[:, None], query) - truth).square().mean() - 0.03
    left = truth - answer
    for seen in (torch.ones(len(x), 1), x[:, None], y[:, None], query, answer):
        product = (left * seen).mean(-1)  # one a task
        assert product.mean().abs() < 4 * product.std() / len(x) ** 0.5


@pytest.mark.parametrize("bad", [0, -1, 2.5, True])
def test_a_number_of_points_that_cannot_be_is_named(bad):
    for function in (floor, lambda shots: carried(torch.zeros(()), shots)):
        with pytest.raises(ValueError, match=r"^shots must be a whole number of at least 1, got"):
            function(bad)
