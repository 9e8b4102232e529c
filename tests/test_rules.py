"""Inner rules and readers: each is what its equation says, and plain descent where it should be."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from cases import EXACT, STEP, TRAINING, gen, gradients, signed_alpha, sines, start, wanted
from torch import nn
from torch.testing import assert_close

from metasgd_core import (
    MAML,
    META_SGD,
    CartPole,
    GaussianMLP,
    Method,
    NeuralProcess,
    Rule,
    Sinusoid,
    adapt,
    evaluate,
    init_rule,
    init_theta,
    meta_loss,
    meta_train,
    per_task,
)
from metasgd_core.readers import read
from metasgd_core.rules import curvature, momentum, rate_a_step

READS = Method("neural process", "query", reads=True)


@pytest.fixture
def task():
    """Return a family, a theta for two tasks, and their support set."""
    family = sines()
    theta, _ = start(family)
    tasks = family.sample_tasks(2, generator=gen(2))
    return family, per_task(theta, (2,)), family.sample_data(tasks, None, 5, generator=gen(3))


def numbers(rule, family):
    """Return the rule's first numbers, with the axis of the tasks."""
    theta = init_theta(family.model, generator=gen(1))
    return {name: a.unsqueeze(0) for name, a in init_rule(rule, theta).items()}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "rule", [momentum(0.05, 0.0), rate_a_step(2, 0.05), curvature(0.05)], ids=lambda r: r.name
)
def test_every_rule_begins_as_plain_descent(task, rule, steps):
    """Momentum of 0, the same rate at every step, multiples of the identity: MAML with 0.05."""
    family, theta, data = task
    mine = adapt(family.loss, theta, numbers(rule, family), data, steps=steps, rule=rule)
    assert_close(mine, adapt(family.loss, theta, 0.05, data, steps=steps), **STEP)


def test_momentum_remembers_the_steps_before(task):
    """v_1 = g_0, v_2 = mu g_0 + g_1: two steps by hand."""
    family, theta, data = task
    rule, mu, rate = momentum(0.05, 0.7), 0.7, 0.05
    mine = adapt(family.loss, theta, numbers(rule, family), data, steps=2, rule=rule)
    first = wanted(theta)
    (g0,) = gradients(family.loss(first, data).sum(), first)
    second = wanted({n: p - rate * g0[n] for n, p in theta.items()})
    (g1,) = gradients(family.loss(second, data).sum(), second)
    by_hand = {n: p.detach() - rate * (mu * g0[n] + g1[n]) for n, p in second.items()}
    assert_close(mine, by_hand, **STEP)


def test_each_step_has_its_own_rate_and_later_ones_the_last(task):
    family, theta, data = task
    rule = rate_a_step(2)
    alpha = {n: a * 0 + (0.1 if n.startswith("0.") else 0.02)
             for n, a in numbers(rule, family).items()}
    mine = adapt(family.loss, theta, alpha, data, steps=3, rule=rule)
    once = adapt(family.loss, theta, 0.1, data)
    assert_close(mine, adapt(family.loss, once, 0.02, data, steps=2), **STEP)


def test_curvature_multiplies_a_layers_gradient_from_both_sides(task):
    """W and b of a layer are one matrix; every entry of the step by an explicit double sum."""
    family, theta, data = task
    rule = curvature()
    alpha = signed_alpha({n: a[0] for n, a in numbers(rule, family).items()})
    mine = adapt(family.loss, theta, {n: a.unsqueeze(0) for n, a in alpha.items()}, data, rule=rule)
    asked = wanted(theta)
    (grads,) = gradients(family.loss(asked, data).sum(), asked)
    for layer in ("layers.0", "layers.1", "layers.2"):
        for k in range(2):
            g = torch.cat([grads[f"{layer}.weight"][k], grads[f"{layer}.bias"][k][:, None]], 1)
            out, inside = alpha[f"{layer}.out"], alpha[f"{layer}.in"]
            moved = torch.stack([
                torch.stack([sum(out[i, a] * g[a, b] * inside[b, j] for a in range(g.shape[0])
                                 for b in range(g.shape[1])) for j in range(g.shape[1])])
                for i in range(g.shape[0])
            ])
            assert_close(mine[f"{layer}.weight"][k].detach(),
                         theta[f"{layer}.weight"][k] - moved[:, :-1], rtol=1e-10, atol=1e-12)
            assert_close(mine[f"{layer}.bias"][k].detach(),
                         theta[f"{layer}.bias"][k] - moved[:, -1], rtol=1e-10, atol=1e-12)


def test_the_meta_gradient_reaches_every_number_of_a_rule():
    """Against finite differences: no number is learned from a wrong or a missing derivative."""
    family = sines(1, 3, 1, activation="tanh")
    theta, _ = start(family)
    tasks = family.sample_tasks(3, generator=gen(2))
    data = family.sample_data(tasks, None, 11, generator=gen(3))
    for rule in (momentum(), rate_a_step(2), curvature()):
        method = replace(META_SGD, rule=rule, inner_steps=2)
        alpha = wanted(init_rule(rule, theta))

        def loss(alpha, method=method):
            return meta_loss(family, theta, alpha, tasks, method, shots=5, query_shots=6,
                             generator=gen(), data=data)

        (grads,) = gradients(loss(alpha), alpha)
        for name, a in alpha.items():
            step = torch.zeros_like(a)
            step.view(-1)[-1] = 1e-6
            up, down = (
                loss({n: p.detach() + (sign * step if n == name else 0) for n, p in alpha.items()})
                for sign in (1, -1)
            )
            assert_close(grads[name].view(-1)[-1], (up - down) / 2e-6, rtol=1e-5, atol=1e-8)


# ---- what is refused


def test_a_rule_needs_its_own_numbers(task):
    family, theta, data = task
    with pytest.raises(ValueError, match="the rule 'momentum' has numbers of its own, and alpha is "
                                         r"0\.1; make them with init_rule"):
        adapt(family.loss, theta, 0.1, data, rule=momentum())


def test_numbers_of_another_network_are_refused():
    family, rule = sines(), momentum()
    theta, _ = start(family)
    alpha = init_rule(rule, init_theta(sines(1, 5, 4, 1).model, generator=gen()))
    with pytest.raises(ValueError, match=r"alpha\['alpha.layers.0.weight'\] of the rule 'momentum' "
                                         r"is torch.float64 \(5, 1\) on cpu and must be"):
        evaluate(family, theta, alpha, shots=5, steps=1, n_tasks=2, generator=gen(),
                 method=replace(META_SGD, rule=rule))


def test_curvature_is_not_for_convolutions():
    theta = init_theta(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), generator=gen())
    with pytest.raises(ValueError, match=r"0.weight has the shape \(2, 1, 3, 3\)"):
        init_rule(curvature(), theta)


def test_a_rule_that_begins_at_random_gives_every_run_its_own_numbers():
    def first(theta, generator):
        return {n: torch.rand(1, generator=generator, dtype=p.dtype) for n, p in theta.items()}

    rule = Rule("random", first, lambda theta: None, lambda phi, g, s, a: (phi, s))
    theta, _ = start(sines(), runs=(2, 3))
    drawn = init_rule(rule, theta, runs=(2, 3), generator=gen(4))["layers.0.weight"]
    assert drawn.shape == (2, 3, 1)
    assert drawn.unique().numel() == 6


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copied_row_is_the_row(copied):
    """A spawned worker gets its row by a pickle; there it still is plain descent."""
    row = copied(META_SGD)
    assert row == META_SGD
    family = sines()
    theta, alpha = start(family)
    settings = {"shots": 5, "steps": 1, "n_tasks": 2}
    mine, its = (
        evaluate(family, theta, alpha, generator=gen(), method=method, **settings).scores
        for method in (row, META_SGD)
    )
    assert_close(mine, its, **EXACT)


def test_curvature_names_the_parameters_that_it_has_no_matrix_for():
    theta = init_theta(GaussianMLP((2, 4, 2)), generator=gen())
    with pytest.raises(ValueError, match=r"theta also has \['log_std'\]"):
        init_rule(curvature(), theta)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rule": momentum(), "alpha_form": "log"}, "has the rule 'momentum', whose numbers"),
        ({"reads": True}, "reads its support, once and without a rate"),
        ({"reads": True, "learn_alpha": False, "inner_steps": 2}, "reads its support, once"),
    ],
    ids=["log", "a learned rate", "two steps"],
)
def test_rows_that_contradict_themselves_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(META_SGD, **changes)


def test_a_schedule_is_for_plain_descent():
    family, rule = sines(), momentum()
    theta, _ = start(family)
    with pytest.raises(ValueError, match="schedule scales the rates of plain descent"):
        evaluate(family, theta, init_rule(rule, theta), shots=5, steps=1, n_tasks=2,
                 generator=gen(), schedule=[0.5], method=replace(META_SGD, rule=rule))


def test_a_rule_may_have_no_numbers_of_its_own():
    """One that stays where it is: evaluated and trained like the others."""
    family = sines()
    theta, _ = start(family)
    still = Rule("still", lambda theta, g: {}, lambda theta: None, lambda phi, g, s, a: (phi, s))
    method = replace(MAML, rule=still)
    loss = meta_loss(family, theta, {}, family.sample_tasks(2, generator=gen()), method, shots=5,
                     query_shots=6, generator=gen())
    stays = evaluate(family, theta, {}, shots=5, steps=1, n_tasks=2, generator=gen(), method=method)
    assert loss.isfinite()
    assert_close(stays.scores[0], stays.scores[1], **EXACT)


# ---- readers


@pytest.fixture
def process():
    return Sinusoid(NeuralProcess(width=16, context=8).double())


def test_a_process_does_not_care_for_the_order_of_its_support(process):
    theta = init_theta(process.model, generator=gen())
    data = process.sample_data(process.sample_tasks(3, generator=gen(1)), None, 6, generator=gen(2))
    turned = type(data)(*(leaf.flip(-2) for leaf in data))
    theta = per_task(theta, (3,))
    mine, other = (
        read(process.loss, theta, 0.0, points, model=process.model) for points in (data, turned)
    )
    assert_close(mine["context"], other["context"], **STEP)
    assert_close({n: p for n, p in mine.items() if n != "context"},
                 {n: p for n, p in other.items() if n != "context"}, **EXACT)
    assert mine["context"].shape == (3, 8)


def test_a_process_reads_its_own_task_alone(process):
    """Its context is that of a plain loop over tasks, encoder and mean."""
    theta = init_theta(process.model, generator=gen())
    data = process.sample_data(process.sample_tasks(3, generator=gen(1)), None, 6, generator=gen(2))
    mine = read(process.loss, per_task(theta, (3,)), 0.0, data, model=process.model)["context"]
    encoder = {n.removeprefix("encoder."): p for n, p in theta.items() if n.startswith("encoder")}
    for k in range(3):
        points = torch.cat([data.x[k], data.y[k]], -1)
        alone = torch.func.functional_call(process.model.encoder, encoder, (points,)).mean(0)
        assert_close(mine[k], alone, **TRAINING)


def test_a_process_learns_to_read(process):
    """After 200 meta-iterations its five points tell it a good part of the curve."""
    theta = init_theta(process.model, generator=gen())
    *_, record = meta_train(
        process, theta, 0.0, READS, iterations=200, meta_batch=16, shots=5, query_shots=10,
        generator=gen(1), lr=5e-3, record_every=200,
    )
    before, after = evaluate(
        process, record.theta, 0.0, shots=5, steps=1, n_tasks=200, generator=gen(2), method=READS
    ).mean
    assert after < 0.75 * before


@pytest.mark.parametrize(
    ("found", "sentence"),
    [({"contxt": torch.zeros(3, 8)}, "gives 'contxt' with shape"),
     ({"context": torch.zeros(3, 2, 8)}, r"gives 'context' with shape \(3, 2, 8\)")],
    ids=["name", "axes"],
)
def test_what_is_read_must_have_a_place(process, monkeypatch, found, sentence):
    """A misspelt context would be read, and never used."""
    monkeypatch.setattr(process.model, "read", lambda theta, support: found)
    theta = per_task(init_theta(process.model, generator=gen()), (3,))
    with pytest.raises(ValueError, match=sentence):
        read(process.loss, theta, 0.0, None, model=process.model)


def test_what_cannot_read_is_told_so(process):
    family = sines()
    theta, _ = start(family)
    settings = {"shots": 5, "n_tasks": 2, "generator": gen(), "method": READS}
    with pytest.raises(ValueError, match="a MLP cannot read its support: it needs a method"):
        evaluate(family, theta, 0.0, steps=1, **settings)
    theta = init_theta(process.model, generator=gen())
    with pytest.raises(ValueError, match="a model reads its support once: steps must be 0 or 1"):
        evaluate(process, theta, 0.0, steps=2, **settings)
    assert evaluate(process, theta, 0.0, steps=0, **settings).scores.shape == (1, 2)
    with pytest.raises(ValueError, match="the policy must map 4 observations"):
        CartPole(NeuralProcess())
