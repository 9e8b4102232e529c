"""The context vector on the secret side (chapter 15): what moves, what is chosen, what is kept."""

from dataclasses import replace

import torch
from cases import EXACT, STEP, gen
from torch.testing import assert_close

from metasgd_core import MAML, CartPole, adapt, meta_train
from metasgd_core.models import ContextMLP
from metasgd_core.studies import cartpole, context
from metasgd_core.studies.jobs import Job


def trained(theta, alpha):
    """Return theta after two meta-iterations on short episodes."""
    *_, record = meta_train(
        replace(context.family(2), horizon=20), theta, alpha, MAML, iterations=2, meta_batch=3,
        shots=4, query_shots=4, generator=gen(1), lr=0.02,
    )
    return record.theta


def test_the_context_begins_at_0_and_is_all_that_a_step_moves():
    theta, alpha = context.begin(2, 3.0, 5, 0)
    assert theta["context"].shape == (5, 2)
    assert not theta["context"].any()
    assert {n for n, a in alpha.items() if a.any()} == {"context"}
    assert (alpha["context"] == 3).all()


def test_context_and_weights_that_both_began_at_0_would_wait_for_each_other():
    """The trap of a context: neither has a gradient before the other is there."""
    theta, alpha = context.begin(2, 3.0, 1, 0)
    first = "net.layers.0.weight"
    assert trained(theta, alpha)[first].sub(theta[first])[..., 4:].abs().min() > 0
    theta[first][..., 4:] = 0
    after = trained(theta, alpha)
    assert not after["context"].any()
    assert not after[first][..., 4:].any()
    assert not torch.equal(after[first][..., :4], theta[first][..., :4])


def test_a_step_of_the_context_is_one_of_the_first_biases_through_its_weights():
    """b <- b - alpha W W^T g: what the chapter says of it."""
    family = CartPole(ContextMLP((4, 5, 2), "tanh", 2).double(), secret_side=True, horizon=15)
    theta = {n: torch.randn(3, *p.shape, generator=gen(i), dtype=p.dtype)
             for i, (n, p) in enumerate(family.model.named_parameters())}  # fmt: skip
    data = family.sample_data(family.sample_tasks(3, generator=gen(8)), theta, 6, generator=gen(9))
    alpha = {n: torch.tensor(0.7 if n == "context" else 0.0, dtype=p.dtype)
             for n, p in theta.items()}  # fmt: skip
    phi = adapt(family.loss, theta, alpha, data)
    bias, weights = "net.layers.0.bias", theta["net.layers.0.weight"][..., 4:]
    gradient = theta[bias] - adapt(family.loss, theta, 1.0, data)[bias]
    shift = 0.7 * weights @ (weights.mT @ gradient[..., None])
    moved = theta | {bias: theta[bias] - shift.squeeze(-1)}
    assert_close(family.logits(phi, data.observation[:, 0]),
                 family.logits(moved, data.observation[:, 0]), **STEP)


def test_it_has_as_many_settings_to_choose_from_as_fine_tuning():
    assert len(set(context.TRIALS)) == len(cartpole.FINE_TUNING_RATES)


def test_fewer_numbers_are_taken_where_more_are_not_better():
    """And the best is not what came first, if that is worse by more than noise."""
    for returns, best in (([250, 484, 483, 485], 1), ([400, 401, 484, 490], 3), ([480.0], 0)):
        assert context.first_of_the_best(torch.tensor(returns)) == best
    assert [numbers for numbers, _ in context.TRIALS] == sorted(n for n, _ in context.TRIALS)


def test_each_side_counts_half_however_often_it_was_drawn():
    right = context.family(1).sample_tasks(20, generator=gen(1000)).side > 0
    assert 0 < right.sum() < 20
    assert right.sum() != 10
    returns = torch.where(right, 480.0, 20.0).expand(3, 20)
    assert_close(context.on_both_sides(returns, 1000), torch.full((3,), 250.0))


def test_the_row_is_chosen_trained_and_tested(tmp_path, monkeypatch):
    """In seconds; and again from what the first left, with the same numbers."""
    monkeypatch.setattr(context, "TRIALS", ((1, 3.0), (2, 30.0)))
    monkeypatch.setattr(context, "SEEDS", 2)
    monkeypatch.setattr(cartpole, "EPISODES", 2)
    job = Job("context", tmp_path, quick=True)
    found, again = (context.work(job) for _ in range(2))
    assert_close(found.tensors, again.tensors, **EXACT)
    best = int(found.tensors["chosen"])
    assert best == context.first_of_the_best(found.tensors["validation"])
    assert found.tensors["theta.context"].shape == (2, context.TRIALS[best][0])
    assert found.tensors["sampled"].shape == found.tensors["greedy"].shape == (2, 4, 4)
    assert found.tensors["steps"] > 100
    text = context.summary(found._replace(
        tensors={f"context/{key}": t for key, t in found.tensors.items()}))
    assert "numbers 2, rate 30:" in text
    assert len(text.splitlines()) == 5
