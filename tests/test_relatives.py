"""Chapter 11's studies: what they report, the kernel of a step, the optimiser of random starts."""

import pytest
import torch
from cases import EXACT, gen, signed_alpha
from torch import nn
from torch.testing import assert_close

from metasgd_core import (
    META_SGD,
    MLP,
    Data,
    Sinusoid,
    adapt,
    init_rule,
    init_theta,
    per_task,
    predict,
    share_alpha,
)
from metasgd_core.rules import DESCENT, adam, curvature, lstm, warp
from metasgd_core.studies import optimiser, relatives
from metasgd_core.studies.jobs import Job
from metasgd_core.studies.optimiser import NETWORKS, Optimisees, walks
from metasgd_core.studies.relatives import ROWS, kernel


def test_every_row_has_as_many_trials_as_the_others():
    """And no two the same: a row tried more often than another would be favoured."""
    for row in ROWS.values():
        assert len(set(row.trials)) == 12
    assert len(set(optimiser.LSTM_TRIALS)) == 9


def test_a_trial_in_which_a_task_explodes_is_not_chosen():
    scores = torch.tensor([[1.0, 2.0, 3.0, torch.nan], [1.0, 1.0, 1.0, 5.0]])
    assert relatives.failed(scores).tolist() == [torch.inf, 2.0]


@pytest.mark.parametrize("rule", [DESCENT, curvature(), warp()], ids=lambda r: r.name)
def test_a_step_of_a_linear_model_leaves_what_its_kernel_says(rule):
    """r -> (I - H) r, exactly, by any matrices or rates."""
    family = Sinusoid(MLP((1, 1)).double())
    theta = init_theta(family.model, generator=gen(1), runs=(2,))
    alpha = signed_alpha(init_rule(rule, theta, runs=(2,)), size=0.4)
    tasks = family.sample_tasks(2, 3, generator=gen(2))
    data = family.sample_data(tasks, None, 4, generator=gen(3))
    start = per_task(theta, (2, 3))
    with torch.no_grad():
        phi = adapt(family.loss, start, share_alpha(theta, alpha, (2, 3), rule), data, rule=rule)
        before, after = (predict(family.model, p, data.x) - data.y for p in (start, phi))
    H = kernel(family.model, rule, start, alpha, data.x)
    assert_close(after, before - H @ before, rtol=1e-10, atol=1e-12)


def test_an_optimisee_begins_at_its_start_and_is_asked_for_what_it_trains_on():
    family = Optimisees(MLP((1, 3, 1)))
    x, y = family.sample_data(family.sample_tasks(2, generator=gen()), None, 8, generator=gen(1))
    assert_close(x[:, :4], x[:, 4:], **EXACT)
    assert_close(y[:, :4], y[:, 4:], **EXACT)
    start = init_theta(family.model, generator=gen(1), runs=(2,))
    # The points are drawn first.
    g = gen(1)
    Sinusoid().sample_data(family.sample_tasks(2, generator=gen()), None, 4, generator=g)
    start = init_theta(family.model, generator=g, runs=(2,))
    zeros = {n: torch.zeros_like(p) for n, p in start.items()}
    plain = Sinusoid(family.model).loss(start, Data(x[..., :1], y))
    assert_close(family.loss(zeros, Data(x, y)), plain)
    assert_close(family.loss(start, Data(x, y)),
                 Sinusoid(family.model).loss({n: 2 * p for n, p in start.items()},
                                             Data(x[..., :1], y)))


def test_adams_walk_is_that_of_pytorchs_adam():
    """Two rates, four steps from one start: what the learned optimiser is compared with."""
    model = MLP((1, 5, 1))
    theta = optimiser.still(model, 2)
    rates = {n: torch.tensor([0.01, 0.1]).view(2, *(1,) * (a.ndim - 1))
             for n, a in init_rule(adam(), theta, runs=(2,)).items()}
    found = walks(adam(), rates, model, seed=3, steps=4, n_tasks=1)
    assert found.shape == (2, 5, 1)
    family = Optimisees(model)
    g = gen(3)
    x, y = family.sample_data(family.sample_tasks(1, 1, generator=g), None, 40, generator=g)
    for k, rate in enumerate((0.01, 0.1)):
        sizes = [p.numel() for p in model.parameters()]
        leaves = {n: part.reshape(1, *p.shape).clone().requires_grad_() for (n, p), part in
                  zip(model.named_parameters(), x[0, 0, 0, 1:].split(sizes))}
        theirs, losses = torch.optim.Adam(leaves.values(), lr=rate), []
        for _ in range(5):
            loss = Sinusoid(model).loss(leaves, Data(x[0, ..., :1], y[0])).sum()
            losses.append(loss.item())
            theirs.zero_grad()
            loss.backward()
            theirs.step()
        assert_close(found[k, :, 0], torch.tensor(losses), rtol=1e-4, atol=1e-5)


def test_a_learned_optimiser_walks_on_networks_that_it_has_not_met():
    alpha = init_rule(lstm(), optimiser.still(MLP(), 2), runs=(2,), generator=gen())
    for model in NETWORKS.values():
        assert walks(lstm(), alpha, model, seed=1, steps=2, n_tasks=2).isfinite().all()


def test_training_an_optimiser_moves_its_numbers_and_nothing_else():
    trial = optimiser.LSTM_TRIALS[0]
    *_, record = optimiser.learn_to_optimise(trial, seeds=1, iterations=2, record_every=2)
    assert all(not p.any() for p in record.theta.values())
    first = init_rule(lstm(scale=trial.first), record.theta, runs=(1,),
                      generator=gen(relatives.FIRST))
    assert all(not torch.equal(record.alpha[n], a) for n, a in first.items())


@pytest.mark.parametrize("name", ["Meta-Curvature, 5 steps", "CAVIA, 1 step"])
def test_a_row_is_chosen_trained_and_tested(name, tmp_path):
    """In seconds; and again from what the first left, with the same numbers."""
    first, second = (relatives.work(Job(name, tmp_path, quick=True)).tensors for _ in range(2))
    pace = first.pop("pace"), second.pop("pace")
    assert pace[0] > 0
    assert_close(first, second, **EXACT, equal_nan=True)
    assert first["tried"].shape == (12,)
    assert int(first["chosen"]) == int(first["tried"].argmin())
    for test, shots in relatives.TESTS:
        assert first[f"{test}, K = {shots}"].shape == (5, relatives.TEST_STEPS + 1, 4)
    assert ("spectra" in first) is (name in relatives.LINEAR)
    assert first["curve"].shape == (5, 4, 2)


def test_an_optimiser_is_chosen_trained_and_walks_beside_adam(tmp_path):
    """In seconds; and again from what the first left, with the same numbers."""
    job = Job(optimiser.JOB, tmp_path, quick=True)
    first, second = (optimiser.work(job).tensors for _ in range(2))
    pace = first.pop("pace"), second.pop("pace")
    assert pace[0] > 0
    assert_close(first, second, **EXACT, equal_nan=True)
    assert first["tried"].shape == (len(optimiser.LSTM_TRIALS),)
    assert int(first["chosen"]) == int(first["tried"].argmin())
    for network in NETWORKS:
        learned = first[f"{network}, learned"]
        assert learned.shape == (relatives.SEEDS, 4, 4)  # (seeds, steps + 1, statistics)
        assert learned.isfinite().all()
        validated, adams = (first[f"{network}, {kind}"] for kind in ("validated", "Adam"))
        assert validated.shape == adams.shape == (len(optimiser.RATES), 4, 4)
        # Before a step all stand at the same starts; validation has starts of its own.
        assert_close(adams[:, 0], learned[:1, 0].expand(len(optimiser.RATES), 4), **EXACT)
        assert not torch.equal(adams[:, 0], validated[:, 0])
    assert "alpha.out.weight" in first


def test_cavias_weights_have_no_rate_and_its_context_has():
    row = ROWS["CAVIA, 1 step"]
    _, alpha = relatives.begin(row, row.trials[0], 2)
    assert {n for n, a in alpha.items() if a.any()} == {"context"}
    assert isinstance(row.model, nn.Module)
    assert row.method.learn_alpha is False


def test_rows_are_what_their_names_say():
    assert ROWS["Meta-SGD, 1 step"].at(ROWS["Meta-SGD, 1 step"].trials[0]).rule == META_SGD.rule
    row = ROWS["a rate a tensor and step, 5 steps"]
    assert row.method.objective == "steps"
    assert row.at(row.trials[0]).rule.name == "rate a step, 5 steps"
    assert {name.rpartition(", ")[2] for name in ROWS} == {"1 step", "5 steps"}
