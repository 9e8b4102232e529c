"""Inner rules and readers: each is what its equation says, and plain descent where it should be."""

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
from cases import (
    EXACT,
    STEP,
    TRAINING,
    gen,
    gradients,
    of_task,
    signed_alpha,
    sines,
    start,
    wanted,
)
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
from metasgd_core.models import ContextMLP
from metasgd_core.readers import read
from metasgd_core.rules import (
    adam,
    alfa,
    curvature,
    lstm,
    meta_lstm,
    momentum,
    rate_a_step,
    warp,
)

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
    "rule",
    [momentum(0.05, 0.0), rate_a_step(2, 0.05), alfa(2, 0.05, 0.0), curvature(0.05), warp(0.05)],
    ids=lambda r: r.name,
)
def test_rules_begin_as_plain_descent(task, rule, steps):
    """Momentum or decay of 0, one rate for all, multiples of the identity: MAML with 0.05."""
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


def test_a_warped_step_is_that_of_a_network_with_a_second_linear_layer_in_each(task):
    """T (W x + b): plain descent on W and b, T left alone, moves T W and T b as the rule does."""
    family, theta, data = task
    alpha = signed_alpha(of_task(numbers(warp(), family), 0), size=0.5)
    T = {n.removesuffix(".out"): a for n, a in alpha.items()}
    mine = adapt(family.loss, theta, {n: a.unsqueeze(0) for n, a in alpha.items()}, data,
                 steps=2, rule=warp())

    def product(factors):
        return {n: (T[n.rpartition(".")[0]] @ p if p.ndim == 3 else p @ T[n.rpartition(".")[0]].mT)
                for n, p in factors.items()}

    inverse = {n: torch.linalg.inv(t) for n, t in T.items()}
    factors = {n: (inverse[n.rpartition(".")[0]] @ p if p.ndim == 3
                   else p @ inverse[n.rpartition(".")[0]].mT) for n, p in theta.items()}
    moved = adapt(lambda f, points: family.loss(product(f), points), factors, 1.0, data, steps=2)
    assert_close(mine, product(moved), rtol=1e-9, atol=1e-10)


def test_alfa_makes_its_rates_of_the_means_that_it_sees(task):
    """Two steps of one task, tensor by tensor, by the equations."""
    family, theta, data = task
    rule = alfa(2, 0.05, 0.1)
    begun = {n: a[0] for n, a in numbers(rule, family).items()}
    alpha = {n: begun[n] + a for n, a in signed_alpha(begun).items()}
    mine = adapt(family.loss, theta, {n: a.unsqueeze(0) for n, a in alpha.items()}, data,
                 steps=2, rule=rule)
    names = list(theta)
    for task_of in range(2):
        phi = {n: p[task_of] for n, p in theta.items()}
        for k in range(2):
            asked = wanted({n: p.unsqueeze(0) for n, p in phi.items()})
            points = type(data)(*(leaf[task_of : task_of + 1] for leaf in data))
            (g,) = gradients(family.loss(asked, points).sum(), asked)
            seen = torch.stack([phi[n].mean() for n in names] + [g[n].mean() for n in names])
            hidden = (alpha["h.0.weight"] @ seen + alpha["h.0.bias"][0]).clamp(min=0)
            made = alpha["h.1.weight"] @ hidden + alpha["h.1.bias"][0]
            for i, n in enumerate(names):
                rate = made[i] * alpha[f"alpha.{k}"][0, i]
                decay = made[len(names) + i] * alpha[f"beta.{k}"][0, i]
                phi[n] = (1 - decay) * phi[n] - rate * g[n][0]
        assert_close({n: p[task_of].detach() for n, p in mine.items()}, phi, **STEP)


def test_adam_inside_is_adam(task):
    """Three steps beside PyTorch's, on one task; epsilon is smaller than rounding there."""
    family, theta, data = task
    one = {n: p[:1].detach().clone().requires_grad_() for n, p in theta.items()}
    points = type(data)(*(leaf[:1] for leaf in data))
    rule = adam(0.03, eps=1e-12)
    mine = adapt(family.loss, one, numbers(rule, family), points, steps=3, rule=rule)
    leaves = {n: p.detach().clone().requires_grad_() for n, p in one.items()}
    theirs = torch.optim.Adam(leaves.values(), lr=0.03, eps=1e-12)
    for _ in range(3):
        theirs.zero_grad()
        family.loss(leaves, points).sum().backward()
        theirs.step()
    assert_close(mine, {n: p.detach() for n, p in leaves.items()}, rtol=1e-7, atol=1e-9)


def test_adam_as_it_is_written_makes_the_meta_gradient_nan_and_ours_does_not():
    """Behind a dead ReLU a gradient is 0, and the root of its square has no derivative there."""
    family = sines()
    theta, _ = start(family)
    theta["layers.0.bias"][0] = -100.0  # dead
    data = family.sample_data(family.sample_tasks(2, generator=gen(2)), None, 5, generator=gen(3))

    def meta_gradient(rule):
        asked = wanted(theta)
        phi = adapt(family.loss, per_task(asked, (2,)), numbers(rule, family), data, rule=rule)
        return torch.cat([g.flatten() for g in gradients(family.loss(phi, data).sum(), asked)[0]
                          .values()])

    ours = adam()

    def as_written(phi, grads, state, alpha):
        m, v = ({n: 0.1 * g for n, g in grads.items()},
                {n: 0.001 * g.square() for n, g in grads.items()})
        return {n: p - alpha[n] * m[n] / 0.1 / ((v[n] / 0.001).sqrt() + 1e-8)
                for n, p in phi.items()}, state

    written = Rule("as written", ours.first, lambda theta: None, as_written)
    assert meta_gradient(written).isnan().any()
    assert meta_gradient(ours).isfinite().all()


def test_the_meta_gradient_reaches_every_number_of_a_rule():
    """Against finite differences: no number is learned from a wrong or a missing derivative."""
    family = sines(1, 3, 1, activation="tanh")
    theta, _ = start(family)
    tasks = family.sample_tasks(3, generator=gen(2))
    data = family.sample_data(tasks, None, 11, generator=gen(3))
    for rule in (momentum(), adam(), rate_a_step(2), alfa(2), curvature(), warp(), lstm(3),
                 meta_lstm(3)):
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


# ---- learned optimisers


def in_plain_loops(rule_name, theta, gradient, alpha, steps):
    """Walk by the papers' equations, number by number, in floats alone.

    `theta` is a list; ``gradient(list) -> list``. The memory of every number is a pair of lists.
    """
    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    def rows(name):
        return alpha[name].tolist()

    W, U, (b,) = rows("input.weight"), rows("hidden.weight"), rows("bias")
    width = len(U[0])
    h, c = ([[0.0] * width for _ in theta] for _ in range(2))
    f, i = [1.0] * len(theta), [0.0] * len(theta)
    for _ in range(steps):
        g, moved = gradient(theta), []
        for n, p in enumerate(theta):
            large = abs(g[n]) >= math.exp(-10)
            x = [math.log(abs(g[n])) / 10, math.copysign(1, g[n])] if large else [
                -1.0, math.exp(10) * g[n]]
            z = [sum(w * v for w, v in zip(W[j], x)) + sum(u * v for u, v in zip(U[j], h[n])) + b[j]
                 for j in range(4 * width)]
            for k in range(width):
                into, forget, new, out = (z[k + q * width] for q in range(4))
                c[n][k] = sigmoid(forget) * c[n][k] + sigmoid(into) * math.tanh(new)
                h[n][k] = sigmoid(out) * math.tanh(c[n][k])
            if rule_name == "lstm":
                (weight,), ((bias,),) = rows("out.weight"), rows("out.bias")
                moved.append(p + 0.1 * (sum(w * v for w, v in zip(weight, h[n])) + bias))
            else:
                for gate, name in ((f, "keep"), (i, "take")):
                    weight = rows(f"{name}.weight")[0]
                    sees = [*h[n], p, gate[n]]
                    gate[n] = sigmoid(sum(w * v for w, v in zip(weight, sees))
                                      + rows(f"{name}.bias")[0][0])
                moved.append(f[n] * p - i[n] * g[n])
        theta = moved
    return theta


@pytest.mark.parametrize("rule", [lstm(3), meta_lstm(3)], ids=["lstm", "meta-lstm"])
def test_a_learned_optimiser_is_what_its_papers_equations_say(rule):
    """Three steps on each of two tasks; one gradient is tiny, and is seen as it is."""
    family = sines(1, 3, 1)
    theta, _ = start(family)
    theta["layers.1.weight"][0, 0] = 1e-7  # so that what feeds it has a tiny gradient
    data = family.sample_data(family.sample_tasks(2, generator=gen(2)), None, 5, generator=gen(3))
    begun = init_rule(rule, theta, generator=gen(4))
    alpha = {n: begun[n] + a for n, a in signed_alpha(begun).items()}
    with torch.no_grad():
        mine = adapt(family.loss, per_task(theta, (2,)), {n: a.unsqueeze(0) for n, a in
                     alpha.items()}, data, steps=3, rule=rule, first_order=True)
    met = []
    for k in range(2):
        points = type(data)(*(leaf[k : k + 1] for leaf in data))

        def gradient(numbers, points=points):
            parts = iter(torch.tensor(numbers, dtype=torch.float64).split(
                [p.numel() for p in theta.values()]))
            asked = wanted({n: next(parts).view(1, *p.shape) for n, p in theta.items()})
            (g,) = gradients(family.loss(asked, points).sum(), asked)
            met.extend(torch.cat([v.flatten() for v in g.values()]).tolist())
            return met[-len(numbers):]

        flat = torch.cat([p.flatten() for p in theta.values()]).tolist()
        by_hand = in_plain_loops(rule.name.partition(",")[0], flat, gradient, alpha, 3)
        own = torch.cat([p[k].flatten() for p in mine.values()])
        assert_close(own, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    assert any(0 < abs(g) < math.exp(-10) for g in met)


def test_a_learned_optimiser_fits_any_network():
    """Chapter 11 tries one on widths and activations that it has not met."""
    for rule in (lstm(), meta_lstm()):
        alpha = init_rule(rule, start(sines())[0], generator=gen())
        family = sines(1, 7, 1, activation="tanh")
        data = family.sample_data(family.sample_tasks(2, generator=gen(2)), None, 5,
                                  generator=gen(3))
        phi = adapt(family.loss, per_task(start(family)[0], (2,)),
                    {n: a.unsqueeze(0) for n, a in alpha.items()}, data, rule=rule)
        assert {n: p.shape for n, p in phi.items()} == {
            n: (2, *p.shape) for n, p in start(family)[0].items()}


# ---- MAML++ and CAVIA, which need no rule of their own


def test_the_multi_step_loss_is_the_mean_over_the_losses_after_each_step():
    family = sines()
    method = replace(META_SGD, name="MAML++", rule=rate_a_step(3), inner_steps=3,
                     objective="steps")
    theta, _ = start(family)
    alpha = init_rule(method.rule, theta)
    tasks = family.sample_tasks(4, generator=gen(2))
    data = family.sample_data(tasks, None, 11, generator=gen(3))
    settings = {"shots": 5, "query_shots": 6, "generator": gen(), "data": data}
    mine = meta_loss(family, theta, alpha, tasks, method, **settings)
    after = [
        meta_loss(family, theta, alpha, tasks,
                  replace(method, objective="query", inner_steps=steps), **settings)
        for steps in (1, 2, 3)
    ]
    assert_close(mine, torch.stack(after).mean(), **STEP)


def test_with_rates_on_a_context_alone_only_the_context_adapts():
    """CAVIA: what a task adds are a few numbers, by hand the gradient with respect to them."""
    family = Sinusoid(ContextMLP((1, 4, 1), context=2).double())
    theta = per_task(init_theta(family.model, generator=gen(1)), (3,))
    alpha = {n: torch.tensor(0.5 if n == "context" else 0.0, dtype=torch.float64) for n in theta}
    data = family.sample_data(family.sample_tasks(3, generator=gen(2)), None, 5, generator=gen(3))
    phi = adapt(family.loss, theta, alpha, data)
    asked = wanted(theta)
    (grads,) = gradients(family.loss(asked, data).sum(), asked)
    assert_close(phi["context"], -0.5 * grads["context"], **STEP)
    assert phi["context"].abs().min() > 0
    rest = {n: p for n, p in theta.items() if n != "context"}
    assert_close({n: phi[n].detach() for n in rest}, rest, **EXACT)


def test_a_context_model_alone_and_one_a_task_say_the_same():
    model = ContextMLP((1, 4, 1), context=2).double()
    theta = init_theta(model, generator=gen(1)) | {
        "context": torch.tensor([0.3, -0.2], dtype=torch.float64)}
    x = torch.linspace(-5, 5, 7, dtype=torch.float64)[:, None]
    alone = torch.func.functional_call(model, theta, (x,))
    assert_close(model.run(per_task(theta, (2,)), x.expand(2, 7, 1)), alone.expand(2, 7, 1), **STEP)


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
