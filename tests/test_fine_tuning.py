"""The study of chapter 3: fine-tuning at its best, and the stored file."""

import pytest
import torch
from torch.testing import assert_close

from metasgd_core import evaluate, init_alpha
from metasgd_core.studies import fine_tuning as study
from metasgd_core.studies import generator, load


@pytest.fixture(scope="module")
def found():
    return load("fine-tuning").tensors


def test_a_walk_is_plain_gradient_descent():
    """On the tasks and points that `evaluate` draws from the same seed."""
    theta, rate = study.start("random"), torch.full((study.SEEDS,), 0.01)
    walked = dict(study.walk(theta, rate, 5, n_tasks=7, seed=1000, steps=(0, 1, 3)))
    scores = evaluate(
        study.FAMILY, theta, init_alpha(theta, "scalar", rate, runs=(study.SEEDS,)), shots=5,
        steps=3, n_tasks=7, generator=generator(1000),
    ).scores
    for step, errors in walked.items():
        assert_close(errors, scores[:, step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", study.STARTS)
@pytest.mark.parametrize("shots", study.SHOTS)
def test_the_best_pair_was_chosen(found, name, shots):
    """Of all rates and steps that were tried; and no walk ended in its first steps."""
    errors = found[f"{name}/{shots}/validation"]
    step, which = divmod(int(errors.argmin()), len(study.RATES))
    chosen = torch.tensor([study.RATES[which], study.STEPS[step]], dtype=torch.float64)
    assert_close(found[f"{name}/{shots}/chosen"], chosen)
    last = study.STEPS[len(errors) - 1]
    assert last >= study.PATIENCE
    assert last == study.STEPS[-1] or study.STEPS[step] <= last / 2


def test_the_stored_errors_are_what_this_code_gives(found):
    """One short walk of ten; if it fails, `python -m metasgd_core.studies fine-tuning`."""
    theta = {key: found[f"joint/theta.{key}"] for key in study.start("random")}
    rate, step = found["joint/1/chosen"].tolist()
    assert step <= 3
    errors = study.held_out(theta, rate, int(step), 1)
    assert_close(errors, found["joint/1/test"], rtol=1e-3, atol=1e-4)


def test_what_diverges_is_never_chosen(monkeypatch):
    """At a rate of 0.1 large weights leave for infinity; their errors count as infinite."""
    monkeypatch.setattr(study, "PATIENCE", 10)
    theta = {key: 3 * p for key, p in study.start("random").items()}
    rate, _, errors = study.validate(theta, 5, n_tasks=2)
    assert rate < 0.1
    assert not errors.isnan().any()
    assert errors[:, -1].isinf().any()
