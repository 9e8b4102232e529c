# %% [markdown]
# # Meta-SGD: learn the step
#
# *You write Meta-SGD in plain PyTorch: rates of theta's own shape, a step that can be
# differentiated, an outer loop that learns both. Then you compare it with MAML on five seeds and
# say no more than the numbers bear.*
#
# You need chapter 6 of the book, and from chapter 3 how two methods are compared. Plan three hours.

# %%
import matplotlib.pyplot as plt
import torch
from torch.func import functional_call

from metasgd_core import (
    MAML,
    META_SGD,
    MLP,
    Sinusoid,
    compare,
    evaluate,
    init_alpha,
    init_theta,
    meta_train,
    plotting,
    t_interval,
)

torch.set_num_threads(1)


def seeded(n):
    """A source of randomness of its own for every purpose."""
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## The task
#
# Sine curves, five points to adapt on, and a small network. Its parameters are a dictionary
# `theta` from names to tensors; a loss takes such a dictionary.

# %%
family = Sinusoid(MLP((1, 20, 20, 1)).double())


def loss(params, x, y):
    """The network's mean squared error with these parameters in place of its own."""
    return (functional_call(family.model, params, (x,)) - y).square().mean()


# %% [markdown]
# ## Question 1: the first alpha
#
# Make the rates that Meta-SGD begins with: a dictionary with theta's names, every rate equal to
# `value`, ready to be learned (each tensor is a leaf that requires a gradient, with numbers of its
# own). Write it yourself, without `init_alpha`.


# %% answer
def first_alpha(theta, value):
    """Rates to begin with, one for each parameter."""
    # BEGIN SOLUTION
    return {
        name: torch.full_like(p, value, requires_grad=True) for name, p in theta.items()
    }
    # END SOLUTION


# %% check q1
def test_alpha_has_thetas_shape(first_alpha):
    """Alpha has theta's names and, under each, theta's shape."""
    theta = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    alpha = first_alpha(theta, 0.05)
    if not isinstance(alpha, dict):
        alpha = dict.fromkeys(theta, torch.as_tensor(alpha))
    assert alpha.keys() == theta.keys(), (
        f"alpha has the names {sorted(alpha)}, and must have theta's, {sorted(theta)}"
    )
    for name, p in theta.items():
        shape = torch.as_tensor(alpha[name]).shape
        assert shape != (), (
            "alpha has one number; Meta-SGD learns one per parameter: its shape must be theta's"
        )
        assert shape == p.shape, (
            f"alpha[{name!r}] has the shape {tuple(shape)}, and must have theta's, "
            f"{tuple(p.shape)}: one rate per parameter"
        )


# %% hidden q1
def test_alpha_is_ready_to_be_learned(first_alpha):
    """Every rate has the value asked for, is a leaf with a gradient, and is a number of its own."""
    theta = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    for name, a in first_alpha(theta, 0.05).items():
        assert torch.allclose(a, torch.full_like(a, 0.05)), (
            f"alpha[{name!r}] is not 0.05"
        )
        ready = a.requires_grad and a.is_leaf
        assert ready, (
            f"alpha[{name!r}] cannot be learned: it must be a leaf that requires a gradient"
        )
        assert a.numel() == 1 or 0 not in a.stride(), (
            f"the entries of alpha[{name!r}] share their memory, so they could only move together"
        )


# %% [markdown]
# ## Question 2: the inner step
#
# $\theta' = \theta - \alpha\circ\nabla\mathcal L^{\text{support}}(\theta)$. `support_loss` is a
# function of a dictionary. The result must be differentiable, with respect to $\alpha$ and with
# respect to $\theta$ in *both* places where it stands. (`theta` requires a gradient.)


# %% answer
def inner_step(support_loss, theta, alpha):
    """The adapted parameters, a new dictionary."""
    # BEGIN SOLUTION
    grads = torch.autograd.grad(
        support_loss(theta), list(theta.values()), create_graph=True
    )
    return {name: p - alpha[name] * g for (name, p), g in zip(theta.items(), grads)}
    # END SOLUTION


# %% check q2
def test_each_parameter_moves_at_its_own_rate(inner_step):
    """Each parameter moves against its gradient, at its own rate."""
    theta = {"w": torch.tensor([1.0, 1.0]), "b": torch.tensor(2.0)}
    theta = {name: p.requires_grad_() for name, p in theta.items()}
    alpha = {"w": torch.tensor([0.1, -0.5]), "b": torch.tensor(0.25)}
    phi = inner_step(lambda p: p["w"].square().sum() + p["b"].square(), theta, alpha)
    assert theta["b"] == 2, "the start was changed: the step makes a new dictionary"
    for name, wanted in {"w": [0.8, 2.0], "b": 1.0}.items():
        got = phi[name].detach()
        assert torch.allclose(got, torch.tensor(wanted)), (
            f"{name} should step to {wanted}, yours is at {got.tolist()}: entry by entry it is "
            "theta - alpha * gradient, and a rate may be negative"
        )


# %% hidden q2
def test_the_step_can_be_differentiated(inner_step):
    """The step passes gradients on to alpha, and to theta through both places."""
    theta = {"w": torch.tensor([1.0, -2.0], requires_grad=True)}
    alpha = {"w": torch.tensor([0.1, 0.2], requires_grad=True)}
    phi = inner_step(lambda p: (3 * p["w"].square()).sum(), theta, alpha)["w"]
    assert phi.requires_grad, "theta' has no graph: nothing could be learned through it"
    to_theta, to_alpha = torch.autograd.grad(
        phi.sum(), [theta["w"], alpha["w"]], allow_unused=True
    )
    assert to_alpha is not None, (
        "no gradient reaches alpha: is it detached in the step?"
    )
    assert torch.allclose(to_alpha, torch.tensor([-6.0, 12.0])), (
        "the derivative of theta' with respect to alpha must be minus the support gradient"
    )
    detached = to_theta is None or torch.allclose(to_theta, torch.ones(2))
    assert not detached, (
        "the gradient is detached: theta' depends on theta through the first term only, which is "
        "first-order; create_graph=True keeps the second"
    )
    assert torch.allclose(to_theta, torch.tensor([0.4, -0.2])), (
        "the derivative of theta' with respect to theta must be 1 - alpha h, h the curvature"
    )


# %% [markdown]
# ## Question 3: what alpha's gradient looks for
#
# With a pencil first. For one task, write $g$ for the support gradient at $\theta$ and $v$ for the
# query gradient at $\theta'$. What is the gradient of the query loss after the step with respect to
# $\alpha$? Then for several tasks: `g` and `v` are `(tasks, parameters)`, and the loss is the mean.


# %% answer
def alpha_gradient(g, v):
    """The gradient of the mean query loss with respect to alpha: (parameters,)."""
    # BEGIN SOLUTION
    return -(g * v).mean(0)
    # END SOLUTION


# %% check q3
def test_alpha_grows_where_both_gradients_agree(alpha_gradient):
    """Alpha's gradient is minus v times g, averaged over the tasks."""
    g = torch.tensor([[1.0, 2.0, 1.0], [1.0, 2.0, -3.0]])
    v = torch.tensor([[2.0, -1.0, 1.0], [4.0, -1.0, 1.0]])
    yours = alpha_gradient(g, v)
    assert yours.shape == (3,), (
        f"three parameters have three rates; yours has the shape {tuple(yours.shape)}"
    )
    assert yours[0] < 0 < yours[1], (
        "where g and v agree in sign the step was too short, so alpha must grow and its gradient "
        "is negative; where they disagree it is positive"
    )
    assert torch.allclose(yours, torch.tensor([-3.0, 2.0, 1.0])), (
        f"for these two tasks it is (-3, 2, 1), you say {tuple(yours.tolist())}: average the "
        "products, and not the factors"
    )


# %% [markdown]
# ## Question 4: the outer loop
#
# In each iteration draw `meta_batch` tasks, then once `shots + query_shots` points of each:
#
# ```python
# tasks = family.sample_tasks(meta_batch, generator=generator)
# x, y = family.sample_data(tasks, None, shots + query_shots, generator=generator)
# ```
#
# (`x` and `y` are `(tasks, points, 1)`; `loss(theta, x[k], y[k])` is the loss of task `k`.) The
# first `shots` points are the support, the rest the query. Let each task take its inner step, and
# move theta **and** alpha by one step of Adam with the rate `lr`, against the gradient of the mean
# query loss. Leave the dictionaries that you are given unchanged.


# %% answer
def meta_sgd(
    theta, alpha, *, iterations, meta_batch, shots, query_shots, lr, generator
):
    """Meta-SGD from theta and alpha on: the learned theta and alpha."""
    # BEGIN SOLUTION
    theta, alpha = (
        {name: p.detach().clone().requires_grad_() for name, p in part.items()}
        for part in (theta, alpha)
    )
    outer = torch.optim.Adam([*theta.values(), *alpha.values()], lr=lr)
    for _ in range(iterations):
        tasks = family.sample_tasks(meta_batch, generator=generator)
        x, y = family.sample_data(tasks, None, shots + query_shots, generator=generator)
        query_loss = 0.0
        for k in range(meta_batch):
            support, query = (x[k, :shots], y[k, :shots]), (x[k, shots:], y[k, shots:])
            phi = inner_step(
                lambda params, data=support: loss(params, *data), theta, alpha
            )
            query_loss = query_loss + loss(phi, *query) / meta_batch
        outer.zero_grad()
        query_loss.backward()
        outer.step()
    return theta, alpha
    # END SOLUTION


# %% check q4
def test_theta_and_alpha_are_both_learned(meta_sgd):
    """The outer loop moves theta and alpha, and leaves what it was given unchanged."""
    family = Sinusoid(MLP((1, 20, 20, 1)).double())
    theta = init_theta(family.model, generator=seeded(1))
    alpha = init_alpha(theta, "entry", 0.01)
    before = {name: p.clone() for name, p in theta.items()}
    learned = meta_sgd(
        theta, alpha, iterations=2, meta_batch=2, shots=5, query_shots=5, lr=0.01,
        generator=seeded(2),
    )  # fmt: skip
    last = "layers.2.bias"
    assert torch.equal(theta[last], before[last]), (
        "theta itself was changed: work on a copy"
    )
    assert not torch.equal(learned[0][last], before[last]), "theta has not moved"
    assert not torch.equal(learned[1][last], alpha[last]), (
        "alpha has not moved: does the optimiser hold alpha's tensors, too?"
    )


# %% hidden q4
def test_the_outer_loop_is_meta_sgd(meta_sgd):
    """After three iterations theta and alpha are those of the book's package, to nine digits."""
    from dataclasses import replace

    class Repeated(Sinusoid):
        """Its query points are the support points once more."""

        def sample_data(self, tasks, phi, shots, *, generator):
            drawn = super().sample_data(tasks, phi, shots, generator=generator)
            return type(drawn)(*(torch.cat([part[:, :5]] * 2, 1) for part in drawn))

    network = MLP((1, 20, 20, 1)).double()
    theta = init_theta(network, generator=seeded(3))
    alpha = init_alpha(theta, "entry", 0.01)
    plan = {"iterations": 3, "meta_batch": 3, "shots": 5, "query_shots": 5, "lr": 0.01}
    learned = meta_sgd(theta, alpha, generator=seeded(4), **plan)

    def is_that_of(family, first_order=False):
        method = replace(META_SGD, first_order=first_order)
        *_, end = meta_train(family, theta, alpha, method, generator=seeded(4), **plan)
        pairs = zip(learned, (end.theta, end.alpha))
        return all(
            torch.allclose(yours[n], wanted[n], rtol=0, atol=1e-9)
            for yours, wanted in pairs
            for n in theta
        )

    assert not is_that_of(Sinusoid(network), first_order=True), (
        "this is first-order: the inner gradient is detached, so theta's gradient lacks the "
        "second derivatives"
    )
    assert not is_that_of(Repeated(network)), (
        "the step is judged on the support points themselves: take the loss of the query points"
    )
    assert is_that_of(Sinusoid(network)), (
        "theta or alpha is another: the mean query loss over the tasks, one step of Adam for "
        "both, the draws in the order of the statement"
    )


# %% [markdown]
# ## Question 5: compare honestly
#
# Two methods were trained on the same seeds and tested on the same tasks: `first` and `second` hold
# test errors, `(seeds, tasks)`. The claim is about *methods*, so what was drawn anew is the
# training seed. Return the package's `compare(one, other, margin=margin)` of the right numbers: one
# a unit, in the same order.


# %% answer
def honest(first, second, margin):
    """Compare first - second, with the training seeds as the units: a Comparison."""
    # BEGIN SOLUTION
    return compare(first.mean(1), second.mean(1), margin=margin)
    # END SOLUTION


# %% check q5
def test_a_clear_difference_is_seen(honest):
    """A difference that every seed shows is found, with its sign and its size."""
    second = torch.rand(5, 40, generator=seeded(5), dtype=torch.float64)
    found = honest(second - 0.4, second, 0.1)
    assert abs(found.mean + 0.4) < 1e-9, (
        f"first - second is -0.4, you say {found.mean:+.2f}"
    )
    assert found.verdict == "lower", (
        f'the verdict should be "lower", yours is "{found.verdict}"'
    )


# %% hidden q5
def test_the_seeds_are_the_units(honest):
    """The units are the seeds: many tasks of a few seeds do not make a narrow interval."""
    second = torch.rand(5, 200, generator=seeded(6), dtype=torch.float64)
    shift = torch.tensor([-0.5, 0.2, -0.4, 0.3, -0.1], dtype=torch.float64)[:, None]
    found = honest(second + shift, second, 0.1)
    mean, half = t_interval(shift[:, 0])
    assert found.half_width > 0.9 * half, (
        f"your interval is ± {found.half_width:.2f} and should be ± {half:.2f}: the tasks of one "
        "seed were met by one trained network; average over them first, and let the five seeds "
        "be the units"
    )
    assert abs(found.mean - mean) < 1e-9, "the mean difference is another"
    assert found.verdict == "not distinguished", (
        f'the verdict should be "not distinguished", yours is "{found.verdict}"'
    )


# %% [markdown]
# ## The experiment
#
# Nothing to write here; it takes some seconds. MAML's rate stays at 0.01, Meta-SGD's rates begin
# there. Five seeds each, the same starts, tasks and outer optimiser.

# %%
ITERATIONS = 600
TASKS = 300


def errors_of(method):
    """Errors after one step on new tasks, of five trainings: (seeds, tasks)."""
    generator = seeded(7)
    theta = init_theta(family.model, generator=generator, runs=(5,))
    alpha = init_alpha(theta, method.alpha_shape, 0.01, runs=(5,))
    *_, end = meta_train(
        family, theta, alpha, method, iterations=ITERATIONS, meta_batch=4, shots=5,
        query_shots=10, lr=0.01, alpha_lr=0.002, final_lr=0.05, clip=10.0,
        record_every=ITERATIONS, generator=generator,
    )  # fmt: skip
    tested = evaluate(
        family,
        end.theta,
        end.alpha,
        shots=5,
        steps=1,
        n_tasks=TASKS,
        generator=seeded(2000),
    )
    return tested.scores[:, 1]


errors = {method.name: errors_of(method) for method in (MAML, META_SGD)}
for name, error in errors.items():
    mean, half = t_interval(error.mean(1))
    print(f"{name:9} one-step error {mean:.2f} ± {half:.2f} over five seeds")
fig, ax = plt.subplots(figsize=(5.2, 3.2))
for place, (name, error) in enumerate(errors.items()):
    ax.plot([place] * 5, error.mean(1), "o", color=plotting.method_style(name)["color"])
ax.set(
    xticks=[0, 1], xticklabels=list(errors), ylabel="mean squared error", ylim=(0, None)
)
plt.show()

result = honest(errors["Meta-SGD"], errors["MAML"], margin=0.1)
print("Meta-SGD - MAML:", result)

# %% [markdown]
# ## Question 6: what may you say?
#
# One of these sentences is borne by *your* numbers. Write its letter.
#
# - **A.** Meta-SGD is better than MAML.
# - **B.** On these curves, with this network, budget and rate for MAML, Meta-SGD's error after one
#   step was lower on average over training seeds.
# - **C.** On 1500 test tasks, so with 1500 units, Meta-SGD's error was lower.
# - **D.** Five seeds do not show which of the two has the lower error here.

# %% answer
claim = "B"  # SOLUTION


# %% hidden q6
def test_the_claim_is_what_the_numbers_bear(claim, result):
    """The sentence says as much as the experiment shows, and no more."""
    assert claim in ("A", "B", "C", "D"), (
        f'write a letter, as in claim = "A"; yours is {claim!r}'
    )
    assert result is not None, "there is no result: question 5 comes first"
    assert claim != "A", (
        "one family of tasks, one network, one budget and one rate of MAML's were tried: the "
        "sentence must name them"
    )
    assert claim != "C", (
        "the tasks were met by five trained networks, so there are five units and not 1500"
    )
    right = "B" if result.verdict == "lower" else "D"
    assert claim == right, (
        f"your comparison says {result}: the sentence must say the same"
    )
