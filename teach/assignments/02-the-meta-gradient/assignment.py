# %% [markdown]
# # The meta-gradient, by hand and by autograd
#
# *MAML differentiates through a step of gradient descent. You do it three times: by autograd, with
# a pencil, and for a network with the book's package. Then you leave the second derivatives out,
# and find out when that turns the gradient around.*
#
# You need chapters 4 and 5 of the book. Plan two and a half hours.

# %%
import torch

from metasgd_core import MLP, Data, Sinusoid, adapt, init_theta, per_task

torch.set_num_threads(1)


def seeded(n):
    """A source of randomness of its own for every purpose."""
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## The task
#
# The model is linear, $\hat y = x^\top\theta$, so that everything can be done with a pencil. A task
# has a support set to adapt on and a query set to be judged by. The inner step and what MAML
# minimises are
#
# $$
# \theta' = \theta - \alpha\,\nabla\mathcal L^{\text{support}}(\theta), \qquad
# \mathcal L^{\text{query}}(\theta').
# $$


# %%
def loss(theta, data):
    """The mean squared error: theta (d,), data.x (n, d), data.y (n,) -> ()."""
    return (data.x @ theta - data.y).square().mean()


def draw_task(generator, d=3, shots=6, query_shots=9):
    """The support and the query set of a random linear task."""
    w, x = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((d,), (shots + query_shots, d))
    )
    y = x @ w
    return Data(x[:shots], y[:shots]), Data(x[shots:], y[shots:])


theta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
support, query = draw_task(seeded(0))
for name, data in {"support": support, "query": query}.items():
    print(f"loss on the {name}: {loss(theta, data):.2f}")


# %% [markdown]
# ## Question 1: a step that can be differentiated
#
# One step of gradient descent on the support set, by autograd. The result must remain a
# *differentiable* function of $\theta$, in both places where $\theta$ stands: if `theta` requires a
# gradient, so does the gradient that you subtract.


# %% answer
def inner_step(theta, alpha, support):
    """theta' = theta - alpha * gradient of the support loss: (d,)."""
    # BEGIN SOLUTION
    if not theta.requires_grad:
        theta = theta.detach().requires_grad_()
    (g,) = torch.autograd.grad(loss(theta, support), theta, create_graph=True)
    return theta - alpha * g
    # END SOLUTION


# %% check q1
def test_the_step_leads_downhill(inner_step):
    """The step is alpha times the gradient of the support loss, downhill."""
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    support = Data(x, torch.tensor([1.0, 0.0], dtype=torch.float64))
    start = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    moved = inner_step(start, 0.1, support).detach() - start.detach()
    # with a pencil: the gradient of ((theta_1 - 1)^2 + (2 theta_2)^2) / 2 is (-1, 4) here
    wanted = torch.tensor([0.1, -0.4], dtype=torch.float64)
    assert not torch.allclose(moved, -wanted), "the step leads uphill: mind the sign"
    assert torch.allclose(moved, wanted), (
        f"from (0, 1) a step with alpha = 0.1 moves theta by (0.1, -0.4), yours by "
        f"{tuple(moved.tolist())}"
    )


# %% hidden q1
def test_the_step_keeps_its_graph(inner_step):
    """The step can be differentiated: its Jacobian is I - alpha H."""
    support, _ = draw_task(seeded(11))
    start = torch.randn(3, generator=seeded(12), dtype=torch.float64)
    J = torch.autograd.functional.jacobian(
        lambda theta: inner_step(theta, 0.1, support), start
    )
    H = 2 * support.x.T @ support.x / len(support.x)
    I = torch.eye(3, dtype=torch.float64)  # noqa: E741  the field's name
    assert not torch.allclose(J, 0 * I), (
        "theta' does not depend on theta: where is it detached?"
    )
    assert not torch.allclose(J, I), (
        "the gradient is detached: theta' depends on theta through the first term only, which is "
        "first-order MAML; create_graph=True keeps the second"
    )
    assert torch.allclose(J, I - 0.1 * H), (
        "the Jacobian of the step must be I - alpha H"
    )


# %% [markdown]
# ## Question 2: the meta-gradient, by autograd
#
# The gradient of the query loss after the step, with respect to the **start** $\theta$. `tasks` is
# a list of pairs `(support, query)`, and what MAML minimises is the *mean* over them. `theta`
# arrives without a graph; return a tensor without one.


# %% answer
def meta_gradient(theta, alpha, tasks):
    """The gradient of the mean query loss after a step, for the start: (d,)."""
    # BEGIN SOLUTION
    theta = theta.detach().requires_grad_()
    losses = [
        loss(inner_step(theta, alpha, support), query) for support, query in tasks
    ]
    return torch.autograd.grad(torch.stack(losses).mean(), theta)[0]
    # END SOLUTION


# %% check q2
def test_the_meta_gradient_agrees_with_differences(meta_gradient):
    """For one task the meta-gradient agrees with finite differences of the query loss."""
    support, query = draw_task(seeded(21))
    start = torch.tensor([0.3, 1.0, -0.7], dtype=torch.float64)

    def slope(of, at):  # the losses are parabolas, for which differences are exact
        each = torch.eye(3, dtype=torch.float64)
        return torch.stack([(of(at + e) - of(at - e)) / 2 for e in each])

    def stepped(theta):
        return theta - 0.1 * slope(lambda theta: loss(theta, support), theta)

    yours = meta_gradient(start.clone(), 0.1, [(support, query)])
    first_order = slope(lambda theta: loss(theta, query), stepped(start))
    assert not torch.allclose(yours, first_order, atol=1e-6), (
        "this is first-order MAML's gradient: the inner gradient was detached on the way; "
        "create_graph=True keeps it"
    )
    own = slope(lambda theta: loss(stepped(theta), support), start)
    assert not torch.allclose(yours, own, atol=1e-6), (
        "the start is judged on the points that it adapted to: take the loss of the query set, "
        "else a step that memorises looks perfect"
    )
    wanted = slope(lambda theta: loss(stepped(theta), query), start)
    assert torch.allclose(yours, wanted, atol=1e-6), (
        f"finite differences of the query loss after the step say {wanted.tolist()}, you say "
        f"{yours.tolist()}"
    )


# %% hidden q2
def test_the_tasks_are_averaged(meta_gradient):
    """Over several tasks it is the mean, and each task adapts for itself."""
    tasks = [draw_task(seeded(n), d=2) for n in (22, 23, 24)]
    start = torch.tensor([1.0, -0.5], dtype=torch.float64)
    each = []
    for support, query in tasks:
        H = 2 * support.x.T @ support.x / len(support.x)
        end = start - 0.05 * 2 * support.x.T @ (support.x @ start - support.y) / len(
            support.x
        )
        v = 2 * query.x.T @ (query.x @ end - query.y) / len(query.x)
        each.append(v - 0.05 * H @ v)
    yours = meta_gradient(start.clone(), 0.05, tasks)
    assert not torch.allclose(yours, sum(each)), (
        "this is the sum over tasks, and not their mean"
    )
    assert torch.allclose(yours, torch.stack(each).mean(0)), (
        "the mean over three tasks is another: each must adapt from theta, on its own support"
    )


# %% [markdown]
# ## Question 3: the meta-gradient, with a pencil
#
# The same for one task, **without autograd**. Write down the support loss' gradient and its Hessian
# $H$ for this model, then
#
# $$
# \nabla_\theta\,\mathcal L^{\text{query}}(\theta') = (I - \alpha H)\, v,
# \qquad v = \nabla\mathcal L^{\text{query}}(\theta').
# $$


# %% answer
def meta_gradient_by_hand(theta, alpha, support, query):
    """(I - alpha H) v, from matrix products alone: (d,)."""

    # BEGIN SOLUTION
    def gradient(theta, data):
        return 2 * data.x.T @ (data.x @ theta - data.y) / len(data.x)

    H = 2 * support.x.T @ support.x / len(support.x)
    v = gradient(theta - alpha * gradient(theta, support), query)
    return v - alpha * H @ v
    # END SOLUTION


# %% check q3
def test_by_hand_with_nothing_to_adapt(meta_gradient_by_hand):
    """With alpha = 0 there is no step, and what is left is the gradient of the query loss."""
    support, query = draw_task(seeded(31))
    start = torch.tensor([0.3, 1.0, -0.7], dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(loss(start, query), start)
    yours = meta_gradient_by_hand(start.detach(), 0.0, support, query)
    assert torch.allclose(yours, wanted), (
        f"with alpha = 0 it is the query loss' own gradient, {wanted.tolist()}; you say "
        f"{yours.tolist()}: do not forget the 2 of the square and the mean over the points"
    )


# %% hidden q3
def test_by_hand_is_the_meta_gradient(meta_gradient_by_hand):
    """(I - alpha H) v is right to ten digits, with no autograd in it."""
    support, query = draw_task(seeded(32), d=4)
    start = torch.randn(4, generator=seeded(33), dtype=torch.float64)
    with torch.inference_mode():
        yours = meta_gradient_by_hand(start.clone(), 0.2, support, query).tolist()

    def after(theta):
        (g,) = torch.autograd.grad(loss(theta, support), theta, create_graph=True)
        return loss(theta - 0.2 * g, query)

    wanted = torch.autograd.functional.jacobian(after, start).tolist()
    close = all(
        abs(a - b) < 1e-10 * max(map(abs, wanted)) for a, b in zip(yours, wanted)
    )
    assert close, (
        "v is the query loss' gradient at theta', after the step; H is the support loss' Hessian, "
        "2 X^T X / n with the support's X; and the second term is subtracted"
    )


# %% [markdown]
# ## Question 4: what first-order MAML leaves out
#
# FOMAML takes the step and then forgets that its gradient depended on $\theta$: it uses $v$ alone.
#
# - `first_order_gradient`: $v$, for one task, in any way you like (`theta` has no graph again).
# - `opposite_rate(h)`: with one parameter and the curvature $h$ of the support loss, MAML's
#   gradient is $(1 - \alpha h)\,v$. Return a rate $\alpha$ at which FOMAML sends $\theta$ the
#   *opposite* way.


# %% answer
def first_order_gradient(theta, alpha, support, query):
    """The gradient of the query loss at theta', carried back unchanged: (d,)."""
    # BEGIN SOLUTION
    end = inner_step(theta, alpha, support).detach().requires_grad_()
    return torch.autograd.grad(loss(end, query), end)[0]
    # END SOLUTION


def opposite_rate(h):
    """A rate at which MAML's and FOMAML's gradients have opposite signs: a number."""
    # BEGIN SOLUTION
    return 1.5 / h
    # END SOLUTION


# %% check q4
def test_the_two_point_opposite_ways(opposite_rate):
    """At the rate named, MAML's gradient and FOMAML's have opposite signs."""
    for h in (0.5, 1.0, 8.0):
        factor = 1 - opposite_rate(h) * h
        assert factor < 0, (
            f"for h = {h} MAML's gradient is {factor:.2g} times FOMAML's, which is not the "
            "opposite way: how large must alpha h be?"
        )


# %% hidden q4
def test_the_first_order_gradient(first_order_gradient):
    """First-order MAML's gradient is the query gradient after the step."""
    support, query = draw_task(seeded(41))
    start = torch.randn(3, generator=seeded(42), dtype=torch.float64)
    yours = first_order_gradient(start.clone(), 0.1, support, query)
    end = start - 0.1 * 2 * support.x.T @ (support.x @ start - support.y) / len(
        support.x
    )
    v = 2 * query.x.T @ (query.x @ end - query.y) / len(query.x)
    H = 2 * support.x.T @ support.x / len(support.x)
    assert not torch.allclose(yours, v - 0.1 * H @ v), (
        "this is MAML's: nothing was left out"
    )
    at_start = 2 * query.x.T @ (query.x @ start - query.y) / len(query.x)
    assert not torch.allclose(yours, at_start), "this is the gradient before the step"
    assert torch.allclose(yours, v), (
        "v is the query loss' gradient at theta', after the step"
    )


# %% [markdown]
# ## Question 5: a network, all tasks at once
#
# Now with `metasgd_core`, as chapter 5 does it: `per_task` gives every task its copy of the start,
# `adapt` takes the step, `family.loss` has one loss a task. `support.x` is `(tasks, shots, 1)`.
# Return the gradient of the mean query loss with respect to the start, as a dictionary with theta's
# names. `first_order` says which of the two gradients.


# %% answer
def network_meta_gradient(family, theta, alpha, support, query, first_order):
    """The meta-gradient of a network, a tensor of theta's shape under each name."""
    # BEGIN SOLUTION
    theta = {name: p.detach().requires_grad_() for name, p in theta.items()}
    start = per_task(theta, support.x.shape[:1])
    phi = adapt(family.loss, start, alpha, support, first_order=first_order)
    grads = torch.autograd.grad(family.loss(phi, query).mean(), list(theta.values()))
    return dict(zip(theta, grads))
    # END SOLUTION


# %% check q5
def test_the_network_gets_a_gradient_of_its_shape(network_meta_gradient):
    """The gradient has theta's names and shapes, and no task axis."""
    family = Sinusoid(MLP((1, 4, 1), "tanh").double())
    theta = init_theta(family.model, generator=seeded(51))
    tasks = family.sample_tasks(3, generator=seeded(52))
    support, query = (
        family.sample_data(tasks, None, 5, generator=seeded(n)) for n in (53, 54)
    )
    yours = network_meta_gradient(family, theta, 0.05, support, query, False)
    for name, p in theta.items():
        assert name in yours, f"there is no gradient of {name}"
        assert yours[name].shape == p.shape, (
            f"the gradient of {name} has the shape {tuple(yours[name].shape)}, and {name} itself "
            f"{tuple(p.shape)}: differentiate with respect to the one start, not to each task's"
        )


# %% hidden q5
def test_the_network_meta_gradient(network_meta_gradient):
    """Both gradients of a network are right: with the second derivatives and without."""
    family = Sinusoid(MLP((1, 4, 1), "tanh").double())
    theta = init_theta(family.model, generator=seeded(55))
    tasks = family.sample_tasks(3, generator=seeded(56))
    support, query = (
        family.sample_data(tasks, None, 5, generator=seeded(n)) for n in (57, 58)
    )

    def wanted(first_order, judge):
        start = {n: p.clone().requires_grad_() for n, p in theta.items()}
        total = 0.0
        for k in range(3):
            mine, judged = (Data(d.x[k], d.y[k]) for d in (support, judge))
            g = torch.autograd.grad(
                family.loss(start, mine),
                list(start.values()),
                create_graph=not first_order,
            )
            phi = {n: p - 0.1 * g_n for (n, p), g_n in zip(start.items(), g)}
            total = total + family.loss(phi, judged) / 3
        return torch.autograd.grad(total, list(start.values()))

    def same(yours, grads):
        return all(torch.allclose(yours[n], g) for n, g in zip(theta, grads))

    for first_order in (False, True):
        yours = network_meta_gradient(family, theta, 0.1, support, query, first_order)
        assert not same(yours, wanted(first_order, support)), (
            "the start is judged on the points that it adapted to: take the loss of the query set"
        )
        assert not same(yours, wanted(not first_order, query)), (
            "the gradient with second derivatives and the one without are exchanged, or "
            "first_order plays no part"
        )
        assert same(yours, wanted(first_order, query)), (
            "another gradient was expected: of the mean over tasks of the query loss after a step"
        )


# %% [markdown]
# ## Look at it
#
# Nothing to write here. How far apart are your two gradients on a network, and does it matter how
# long the step is?

# %%
family = Sinusoid(MLP((1, 40, 40, 1), "tanh").double())
start = init_theta(family.model, generator=seeded(1))
tasks = family.sample_tasks(8, generator=seeded(2))
five, ten = (family.sample_data(tasks, None, n, generator=seeded(n)) for n in (5, 10))
for alpha in (0.001, 0.01, 0.1):
    maml, fomaml = (
        torch.cat([g.flatten() for g in both.values()])
        for both in (
            network_meta_gradient(family, start, alpha, five, ten, first)
            for first in (False, True)
        )
    )
    cosine = torch.cosine_similarity(maml, fomaml, dim=0)
    print(f"alpha = {alpha:5}: cosine of the two gradients {cosine:.2f}")
