# %% [markdown]
# # One rate or many
#
# *A step of gradient descent has one rate or a vector of them. You write the step, find the
# best rates of a valley by hand, then let gradient descent find them, and say with an interval
# what they are worth.*
#
# You need chapter 2 of the book, and from chapter 3 how two methods are compared. Plan two hours.

# %%
import matplotlib.pyplot as plt
import torch

from metasgd_core import plotting

torch.set_num_threads(1)


def seeded(n):
    """A source of randomness of its own for every purpose."""
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## The valley
#
# A valley has a curvature for each coordinate, $h = (h_1, \dots, h_d)$, its bottom is at 0, and
#
# $$
# \mathcal L(\theta) = \tfrac12 \sum_i h_i\,\theta_i^2, \qquad
# \nabla \mathcal L(\theta) = h \circ \theta .
# $$
#
# Everything here is in double precision, so that a right answer is right to many digits.

# %%
h = torch.tensor([1.0, 10.0], dtype=torch.float64)


def valley(theta, h):
    """The loss of each row of theta: (..., d) -> (...)."""
    return 0.5 * (h * theta.square()).sum(-1)


# %% [markdown]
# ## Question 1: the walk
#
# Repeat $\theta \leftarrow \theta - \alpha \circ \nabla\mathcal L(\theta)$, and keep every point:
# the start, and one for each step. `gradient` is a function of $\theta$, and $\alpha$ is a number
# or a vector of them. The start itself must not change.


# %% answer
def gradient_descent(theta, gradient, alpha, steps):
    """Every point of the walk: (steps + 1, *shape of theta)."""
    # BEGIN SOLUTION
    path = [theta]
    for _ in range(steps):
        theta = theta - alpha * gradient(theta)
        path.append(theta)
    return torch.stack(path)
    # END SOLUTION


# %% check q1
def test_the_walk_has_all_its_points(gradient_descent):
    """The walk begins at the start and has a point for each step after it."""
    start = torch.tensor([2.0, 1.0], dtype=torch.float64)
    walk = gradient_descent(start, lambda theta: theta, 0.5, 3)
    assert walk.shape == (4, 2), (
        f"three steps from a point of two coordinates make a walk of shape (4, 2), start "
        f"included; yours is {tuple(walk.shape)}"
    )
    assert start.tolist() == [2, 1], (
        "the start was changed: write theta = theta - ..., not -="
    )
    assert walk[0].tolist() == [2, 1], (
        f"the walk begins at the start, yours at {walk[0].tolist()}"
    )


# %% hidden q1
def test_the_walk_obeys_the_formula(gradient_descent):
    """Each coordinate shrinks by its own factor 1 - alpha_i h_i, from many starts at once."""
    curvature = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)
    alpha = torch.tensor([1.5, 0.3, 0.45], dtype=torch.float64)
    starts = torch.randn(5, 3, generator=seeded(1), dtype=torch.float64)
    walk = gradient_descent(starts, lambda theta: curvature * theta, alpha, 6)
    powers = (1 - alpha * curvature) ** torch.arange(7.0, dtype=torch.float64)[
        :, None, None
    ]
    assert torch.allclose(walk, powers * starts), (
        "after t steps a coordinate is (1 - alpha_i h_i)^t times its start: does each step use "
        "the gradient at the new point, and alpha entry by entry?"
    )


# %% [markdown]
# ## Question 2: one rate
#
# With one rate $\alpha$ for all coordinates, the factor of coordinate $i$ is $1 - \alpha h_i$.
# Write down two rates, for any curvatures `h` (not only two of them):
#
# - `largest_rate(h)`: below it every coordinate shrinks, above it some coordinate grows;
# - `best_rate(h)`: with it the slowest coordinate, the one with the largest $|1 - \alpha h_i|$,
#   shrinks as fast as one rate can make it.


# %% answer
def largest_rate(h):
    """The rate beyond which the walk runs away: a number."""
    # BEGIN SOLUTION
    return 2 / h.max()
    # END SOLUTION


def best_rate(h):
    """The rate that shrinks the slowest coordinate fastest: a number."""
    # BEGIN SOLUTION
    return 2 / (h.min() + h.max())
    # END SOLUTION


# %% check q2
def test_the_largest_rate_is_the_limit(largest_rate):
    """One per cent below the largest rate the walk arrives, one per cent above it runs away."""
    h = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)
    limit = largest_rate(h)
    below, above = ((1 - part * limit * h).abs().max() for part in (0.99, 1.01))
    assert below < 1, (
        f"at 0.99 of your rate a coordinate grows, by a factor of {below:.2f} a step: the "
        "steepest coordinate sets the limit"
    )
    assert above > 1, (
        "at 1.01 of your rate all coordinates still shrink: the limit lies higher"
    )


# %% hidden q2
def test_no_rate_beats_the_best(best_rate):
    """No other single rate shrinks the slowest coordinate faster."""
    for curvatures in ([1.0, 10.0], [0.2, 3.0, 5.0], [2.0, 2.0]):
        h = torch.tensor(curvatures, dtype=torch.float64)
        rates = torch.linspace(0, 2 / float(h.max()), 20001, dtype=torch.float64)
        slowest = (1 - rates[:, None] * h).abs().amax(-1).min()
        yours = (1 - best_rate(h) * h).abs().max()
        assert yours < slowest + 1e-4, (
            f"for h = {curvatures} your rate leaves {yours:.3f} of the slowest coordinate after "
            f"a step, another rate {slowest:.3f}: the flat and the steep one must be equally slow"
        )


# %% [markdown]
# ## Question 3: one step, from anywhere
#
# Now you have **one** step, and the start is random: $\theta \sim \mathcal N(0, I)$. Choose the
# rates that make the *expected* loss after the step as low as possible:
#
# - `best_vector(h)`: a rate for each coordinate;
# - `best_scalar(h)`: one rate for all. (Write the expected loss as a function of $\alpha$, and
#   set its derivative to zero. It is not the rate of question 2.)


# %% answer
def best_vector(h):
    """The rates with the lowest expected loss after one step: the shape of h."""
    # BEGIN SOLUTION
    return 1 / h
    # END SOLUTION


def best_scalar(h):
    """The single rate with the lowest expected loss after one step: a number."""
    # BEGIN SOLUTION
    return h.square().sum() / h.pow(3).sum()
    # END SOLUTION


# %% check q3
def test_the_vector_serves_every_start(best_vector):
    """The vector has a rate for each coordinate and lands every start at the bottom."""
    h = torch.tensor([0.5, 1.0, 10.0], dtype=torch.float64)
    alpha = torch.as_tensor(best_vector(h))
    assert alpha.shape == h.shape, (
        "alpha has one number; a vector of rates has one for each coordinate: its shape must be h's"
        if alpha.numel() == 1
        else f"alpha has the shape {tuple(alpha.shape)}, and must have h's, {tuple(h.shape)}"
    )
    starts = torch.randn(100, 3, generator=seeded(2), dtype=torch.float64)
    far = (starts - alpha * h * starts).abs().max()
    assert far < 1e-9, (
        f"from some start your step ends {far:.2g} away from the bottom: in one dimension the "
        "perfect rate is one over the curvature"
    )


# %% hidden q3
def test_the_scalar_has_the_lowest_expected_loss(best_scalar):
    """No other single rate has a lower expected loss after one step."""
    for curvatures in ([1.0, 10.0], [0.2, 3.0, 5.0]):
        h = torch.tensor(curvatures, dtype=torch.float64)
        rates = torch.linspace(0, 2 / float(h.max()), 20001, dtype=torch.float64)
        expected = 0.5 * (h * (1 - rates[:, None] * h).square()).sum(-1)
        yours = 0.5 * (h * (1 - best_scalar(h) * h).square()).sum()
        assert yours < expected.min() * (1 + 1e-6), (
            f"for h = {curvatures} your rate has an expected loss of {yours:.4f}, another "
            f"{expected.min():.4f}: each coordinate adds h_i (1 - alpha h_i)^2 / 2"
        )


# %% [markdown]
# ## Question 4: let gradient descent find the rates
#
# You knew $h$. A network does not tell. So learn $\alpha$ from what a step leads to, here in a
# valley that may be *turned*: $\mathcal L(\theta) = \tfrac12\theta^\top H\theta$ with any symmetric
# $H$. `alpha_gradient` takes many starts, one a row, lets each take its one step
# $\theta' = \theta - \alpha\circ H\theta$, and returns the gradient of the **mean loss after the
# step** with respect to $\alpha$. Use autograd or your pencil. `learn_alpha` goes down it: fresh
# starts in each iteration, and Adam or whatever you like.


# %% answer
def alpha_gradient(alpha, H, starts):
    """The gradient of the mean loss after one step, for alpha of shape (d,): (d,)."""
    # BEGIN SOLUTION
    alpha = alpha.detach().requires_grad_()
    landed = starts - alpha * (starts @ H)
    loss = 0.5 * (landed @ H * landed).sum(-1).mean()
    return torch.autograd.grad(loss, alpha)[0]
    # END SOLUTION


def learn_alpha(H, generator, iterations=300):
    """Rates learned from fresh random starts, from 0 on: (d,)."""
    # BEGIN SOLUTION
    alpha = torch.zeros(len(H), dtype=H.dtype)
    optimizer = torch.optim.Adam([alpha], lr=0.05)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        starts = torch.randn(256, len(H), generator=generator, dtype=H.dtype)
        alpha.grad = alpha_gradient(alpha, H, starts)
        optimizer.step()
        slower.step()
    return alpha
    # END SOLUTION


# %% check q4
def test_the_gradient_agrees_with_differences(alpha_gradient):
    """The gradient with respect to alpha agrees with finite differences."""
    H = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    starts = torch.randn(50, 2, generator=seeded(3), dtype=torch.float64)
    alpha = torch.tensor([0.1, 0.7], dtype=torch.float64)

    def after(alpha):  # the mean loss after the step, from the starts' second moments
        miss = torch.eye(2, dtype=torch.float64) - alpha[:, None] * H
        return 0.5 * torch.trace(miss.T @ H @ miss @ starts.T @ starts) / len(starts)

    tiny = 1e-6 * torch.eye(2, dtype=torch.float64)
    differences = torch.stack(
        [(after(alpha + e) - after(alpha - e)) / 2e-6 for e in tiny]
    )
    yours = alpha_gradient(alpha.clone(), H, starts)
    assert yours is not None, (
        "alpha got no gradient: the step must stay in autograd's graph"
    )
    assert torch.allclose(yours, differences, atol=1e-6), (
        f"finite differences say {differences.tolist()}, you say {yours.tolist()}: is the loss "
        "taken after the step, and is it the mean over the starts?"
    )


# %% hidden q4
def test_the_learned_rates_are_the_best(learn_alpha):
    """In a turned valley the learned vector comes within a fiftieth of the lowest loss."""
    H = torch.tensor([[3.0, 1.5], [1.5, 2.0]], dtype=torch.float64)

    def expected(alpha):
        miss = torch.eye(2, dtype=torch.float64) - alpha[:, None] * H
        return 0.5 * torch.trace(miss.T @ H @ miss)

    best = torch.linalg.solve(H * (H @ H), (H @ H).diagonal())
    found = expected(learn_alpha(H, seeded(4)).detach())
    assert found < 1.02 * expected(best), (
        f"the expected loss with your rates is {found:.3f}, and {expected(best):.3f} can be "
        "had: draw fresh starts in each iteration, and go on for longer or with another rate"
    )


# %% [markdown]
# ## Question 5: what is it worth?
#
# Two rates met the same starts, and each has left a loss for every start. What do they differ by?
# Return the mean of the differences `first - second` and half the width of its 95 % interval. Over
# $n$ starts that half width is $t_{n-1}\, s/\sqrt n$, where $s$ is the standard deviation of what
# you average and $t_{n-1}$ is given to you as `t`. Do not use `t_interval` or `compare`: here you
# write them.


# %% answer
def difference(first, second, t):
    """The mean of first - second, and half the width of its 95 % interval."""
    # BEGIN SOLUTION
    differences = first - second
    return differences.mean(), t * differences.std() / len(differences) ** 0.5
    # END SOLUTION


# %% check q5
def test_the_comparison_is_paired(difference):
    """Both rates met the same starts, so the interval is that of the paired differences."""
    first = torch.tensor([1.0, 20.0, 300.0], dtype=torch.float64)
    mean, half = difference(first, first - 0.5, 4.303)
    assert abs(mean - 0.5) < 1e-9, f"the mean difference is 0.5, you say {mean:.3g}"
    assert half < 1e-9, (
        "both met the same starts and differ by 0.5 on each of them, so nothing is left to "
        "chance: take the differences first, and then their spread"
    )


# %% hidden q5
def test_the_interval_has_the_right_width(difference):
    """The half width is t s / sqrt(n), with s as of a sample."""
    from metasgd_core import t_interval

    first, second = torch.rand(2, 12, generator=seeded(5), dtype=torch.float64)
    mean, half = t_interval(first - second)
    yours = difference(first, second, 2.200985)
    assert abs(yours[0] - mean) < 1e-9, "the mean of first - second, in this order"
    assert abs(yours[1] - half) < 1e-5, (
        f"the half width is {half:.4f}, you say {yours[1]:.4f}: the standard deviation of a "
        "sample has n - 1 below it, and a mean of n numbers varies less by the root of n"
    )


# %% [markdown]
# ## Look at it
#
# Nothing to write here: the valley, one step from twelve starts with your best single rate and
# with your best vector, and what the vector is worth.

# %%
turn = torch.arange(12, dtype=torch.float64) / 12 * 2 * torch.pi
starts = torch.stack([turn.cos(), turn.sin()], -1)
fig, ax = plt.subplots(figsize=(5.2, 4.4))
for name, alpha, colour in (
    ("one rate", best_scalar(h), "blue"),
    ("a vector", best_vector(h), "vermilion"),
):
    walk = gradient_descent(starts, lambda theta: h * theta, alpha, 1)
    ax.plot(*walk.unbind(-1), color=plotting.PALETTE[colour], alpha=0.5)
    ax.plot(*walk[1].T, "o", color=plotting.PALETTE[colour], label=name)
ax.set(aspect="equal", xlabel="flat", ylabel="steep")
ax.legend()
plt.show()

drawn = torch.randn(200, 2, generator=seeded(6), dtype=torch.float64)
left = [
    valley(gradient_descent(drawn, lambda theta: h * theta, alpha, 1)[1], h)
    for alpha in (best_scalar(h), best_vector(h))
]
mean, half = difference(*left, t=1.972)
print(
    f"loss after the step, one rate - a vector: {mean:.2f} ± {half:.2f} over 200 starts"
)
