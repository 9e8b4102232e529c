# %% [markdown]
# # A policy gradient to trust
#
# *Rewards have no derivative, and the parameters make the data. You write the parts of a policy
# gradient, hold them to a case in which the true gradient is known, and let a policy adapt to a
# CartPole by one step.*
#
# You need chapter 14 of the book, and for question 5 the beginning of chapter 15. Plan two and a
# half hours.

# %%
from typing import NamedTuple

import torch

from metasgd_core import CartPole, adapt, per_task, studies, t_interval

torch.set_num_threads(1)


def seeded(n):
    """A source of randomness of its own for every purpose."""
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## Question 1: the return-to-go
#
# An action is judged by what comes after it: $G_t = \sum_{k\ge t}\gamma^{k-t}\, r_k$. `reward` has
# the steps on its last axis, and any axes before.


# %% answer
def returns_to_go(reward, discount):
    """The discounted sum of the rewards from each step on: the shape of reward."""
    # BEGIN SOLUTION
    total, backwards = torch.zeros_like(reward[..., 0]), []
    for r in reversed(reward.unbind(-1)):
        total = r + discount * total
        backwards.append(total)
    return torch.stack(backwards[::-1], -1)
    # END SOLUTION


# %% check q1
def test_an_action_is_judged_by_what_follows(returns_to_go):
    """Without a discount it is the sum of this reward and all later ones."""
    reward = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0]])
    yours = returns_to_go(reward, 1.0)
    assert yours.shape == (2, 3), (
        f"a number for each step, (2, 3); yours is {tuple(yours.shape)}"
    )
    assert not torch.equal(yours, reward.cumsum(-1)), (
        "these are the sums of the rewards so far: what an action earns comes after it"
    )
    assert yours.tolist() == [[7, 6, 4], [1, 1, 1]], (
        f"rewards of 1, 2, 4 have the returns-to-go 7, 6, 4; yours are {yours[0].tolist()}"
    )


# %% hidden q1
def test_the_discount_counts_from_the_step(returns_to_go):
    """The discount counts from the step that is judged, and not from the beginning."""
    yours = returns_to_go(torch.tensor([[[8.0, 4.0, 2.0]]]), 0.5)
    assert torch.allclose(yours, torch.tensor([[[10.5, 5.0, 2.0]]])), (
        f"rewards of 8, 4, 2 with a discount of 0.5 have the returns 10.5, 5, 2; yours are "
        f"{yours.flatten().tolist()}"
    )


# %% [markdown]
# ## Question 2: what was to be expected
#
# The baseline of episode $i$ at step $t$ is the mean return-to-go, at the same step, of the *other*
# episodes that still play. `returns` and `mask` are `(episodes, steps)`, and `mask` is True where a
# step was taken. Where no other episode plays the baseline is 0.


# %% answer
def baseline(returns, mask):
    """The others' mean return-to-go at each step: (episodes, steps)."""
    # BEGIN SOLUTION
    returns = returns * mask
    others = mask.sum(0) - mask.to(returns.dtype)
    return (returns.sum(0) - returns) / others.clamp(min=1)
    # END SOLUTION


# %% check q2
def test_an_episode_is_not_in_its_own_baseline(baseline):
    """The baseline of an episode does not depend on what the episode itself earned."""
    returns = torch.tensor([[5.0, 3.0], [1.0, 1.0], [3.0, 2.0]])
    mask = torch.ones(3, 2, dtype=torch.bool)
    changed = returns.clone()
    changed[0] += 100
    before, after = baseline(returns, mask)[0], baseline(changed, mask)[0]
    assert torch.equal(before, after), (
        "an episode that earns more raises its own baseline: leave it out of its mean, else the "
        "gradient shrinks"
    )
    assert torch.allclose(before, torch.tensor([2.0, 1.5])), (
        f"the others' mean is (2, 1.5), you say {tuple(before.tolist())}"
    )


# %% hidden q2
def test_only_episodes_that_play_count(baseline):
    """Episodes that have ended do not count, and where none is left the baseline is 0."""
    returns = torch.tensor([[9.0, 6.0, 3.0], [4.0, 2.0, 7.0], [1.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    yours = baseline(returns, mask)
    plays = yours[mask].tolist()
    assert all(x == x for x in plays), (
        "0 / 0: where no other episode plays the baseline is 0"
    )
    wanted = [2.5, 2.0, 0.0, 5.0, 6.0, 6.5]
    assert torch.allclose(yours[mask], torch.tensor(wanted)), (
        f"over the steps taken the baselines are {wanted}, yours are {plays}: at each step count "
        "the others that still play"
    )


# %% [markdown]
# ## Question 3: a loss with the right gradient
#
# The gradient is the mean over episodes of $\sum_t \nabla\log\pi(a_t\mid s_t)\,A_t$. Return a
# loss whose gradient is *minus* that, for autograd. `log_prob` and `advantage` are
# `(episodes, steps)`; steps that were not taken do not count. The advantage is a constant in it,
# whatever it was computed from.


# %% answer
def surrogate(log_prob, advantage, mask):
    """A number whose gradient is minus the policy gradient."""
    # BEGIN SOLUTION
    return -(log_prob * advantage.detach() * mask).sum(-1).mean()
    # END SOLUTION


# %% check q3
def test_the_loss_goes_down_where_things_went_well(surrogate):
    """Its gradient is minus the advantage over the number of episodes, and 0 where none played."""
    log_prob = torch.zeros(2, 3, requires_grad=True)
    advantage = torch.tensor([[1.0, -2.0, 4.0], [6.0, 0.5, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    (yours,) = torch.autograd.grad(surrogate(log_prob, advantage, mask), log_prob)
    wanted = -advantage * mask / 2
    assert not torch.allclose(yours, -wanted), (
        "the sign: an optimiser goes down a loss, so its gradient is minus the policy gradient"
    )
    assert torch.allclose(yours, wanted), (
        f"the gradient must be {wanted.tolist()}, yours is {yours.tolist()}: sum over the steps "
        "that were taken, mean over the episodes"
    )


# %% hidden q3
def test_the_advantage_is_a_constant(surrogate):
    """No gradient flows through the advantage."""
    parameter = torch.tensor(2.0, requires_grad=True)
    log_prob = parameter * torch.ones(1, 2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss = surrogate(log_prob, parameter * torch.tensor([[1.0, 3.0]]), mask)
    (yours,) = torch.autograd.grad(loss, parameter)
    assert not torch.allclose(yours, torch.tensor(-16.0)), (
        "the gradient also flows through the advantage, which was measured and is a constant: "
        "detach it"
    )
    assert torch.allclose(yours, torch.tensor(-8.0)), (
        f"the gradient is -8 here, yours {yours:.3g}"
    )


# %% [markdown]
# ## Question 4: check it where the truth is known
#
# A game of four steps with no state: at step $t$ the policy says 1 with probability
# $\sigma(\theta_t)$, else 0. So there are only $2^4 = 16$ episodes, one a row of `ACTIONS`.
#
# - `objective(theta, R)`: the expected return $J$, where `R` holds each episode's return: `(16,)`.
# - `expected_estimate(theta, A)`: what the score-function estimator
#   $\sum_t \nabla\log\pi(a_t)\,A_t$ is *on average*: its 16 values, weighted by their
#   probabilities. `A` is `(16, 4)`. Autograd does it, if the weights are held constant.

# %%
ACTIONS = torch.arange(16)[:, None] >> torch.arange(4) & 1  # (16, 4)


def log_policy(theta):
    """log pi(a_t) for every episode and step: theta (4,) -> (16, 4)."""
    return torch.nn.functional.logsigmoid((2 * ACTIONS - 1) * theta)


# %% answer
def objective(theta, R):
    """The expected return of theta, differentiable: ()."""
    # BEGIN SOLUTION
    return (log_policy(theta).sum(-1).exp() * R).sum()
    # END SOLUTION


def expected_estimate(theta, A):
    """The mean of the score-function estimator over all episodes: (4,)."""
    # BEGIN SOLUTION
    theta = theta.detach().requires_grad_()
    log_prob = log_policy(theta)
    p = log_prob.sum(-1).exp().detach()
    return torch.autograd.grad((p * (log_prob * A).sum(-1)).sum(), theta)[0]
    # END SOLUTION


# %% check q4
def test_the_objective_is_an_expectation(objective):
    """The expected return weighs each episode by its probability."""
    theta = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    sure = objective(theta, torch.ones(16, dtype=torch.float64))
    assert abs(sure - 1) < 1e-9, (
        f"if every episode returns 1, so does the policy; you say {sure:.3g}: an episode's "
        "probability is the product over its steps, so its logarithm is their sum"
    )
    actions = torch.arange(16)[:, None] >> torch.arange(4) & 1
    third = objective(theta, actions[:, 2].double())
    assert abs(third - torch.sigmoid(theta[2])) < 1e-9, (
        "if the return is the third action, its expectation is that action's probability"
    )


# %% hidden q4
def test_the_estimate_is_unbiased(expected_estimate):
    """The estimator's mean is the true gradient, with and without a baseline."""
    theta = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    actions = torch.arange(16)[:, None] >> torch.arange(4) & 1
    reward = torch.rand(16, 4, generator=seeded(4), dtype=torch.float64)
    R = reward.sum(-1)

    def J(theta):
        log_p = torch.nn.functional.logsigmoid((2 * actions - 1) * theta).sum(-1)
        return (log_p.exp() * R).sum()

    true = torch.autograd.functional.jacobian(J, theta)
    for shift in (0.0, 3.0):
        yours = expected_estimate(theta.clone(), (R - shift)[:, None].expand(16, 4))
        assert torch.allclose(yours, true), (
            f"with A = R - {shift:.0f} the estimate's mean is {yours.tolist()}, and the true "
            f"gradient {true.tolist()}: weigh each episode by its probability, held constant"
        )


# %% [markdown]
# ## Question 5: one step on a CartPole, judged fairly
#
# A policy does not know which side of the track pays. It plays `shots` episodes with `theta`,
# takes one step on them, and is judged. Return each task's mean return **before** the step, on the
# episodes that it adapted to, and **after** it, on `shots` *fresh* episodes that the adapted policy
# plays. `family.sample_data(tasks, params, shots, generator=generator)` plays episodes with given
# parameters, `family.score(params, data)` is their mean return, one a task; `adapt` and `per_task`
# are as in chapter 15.


# %% answer
def one_step(family, theta, alpha, tasks, n_tasks, shots, generator):
    """The mean returns before the step and after it: two tensors (n_tasks,)."""
    # BEGIN SOLUTION
    start = per_task(theta, (n_tasks,))
    support = family.sample_data(tasks, start, shots, generator=generator)
    phi = adapt(family.loss, start, alpha, support)
    query = family.sample_data(tasks, phi, shots, generator=generator)
    return family.score(start, support), family.score(phi, query)
    # END SOLUTION


# %% check q5
def test_before_and_after_have_a_number_a_task(one_step):
    """It plays with real CartPoles, and returns one number a task."""
    family = CartPole(secret_side=True, horizon=5)
    theta = dict(family.model.named_parameters())
    theta = {name: p.detach() for name, p in theta.items()}
    tasks = family.sample_tasks(3, generator=seeded(1))
    for when, yours in zip(
        ("before", "after"), one_step(family, theta, 0.1, tasks, 3, 2, seeded(2))
    ):
        assert yours.shape == (3,), (
            f"{when} the step there is one mean return for each of 3 tasks; yours has the shape "
            f"{tuple(yours.shape)}"
        )
        assert (yours <= 5).all(), "an episode of five steps cannot return more than 5"


# %% hidden q5
def test_the_adapted_policy_plays_fresh_episodes(one_step):
    """The adapted policy is judged on episodes that it plays itself."""

    class Played(NamedTuple):
        level: torch.Tensor

    class Game:
        """Its return is the parameter that played; a step of rate 0.5 raises it by 0.5."""

        def sample_data(self, tasks, params, shots, *, generator):
            return Played(params["level"].detach().expand(2, shots))

        def loss(self, params, data):
            return -params["level"][:, 0]

        def score(self, params, data):
            return data.level.mean(-1)

    theta = {"level": torch.tensor([1.0])}
    before, after = one_step(Game(), theta, 0.5, None, 2, 3, seeded(3))
    assert before.tolist() == [1, 1], "before the step it is theta that plays"
    assert after.tolist() != [1, 1], (
        "after the step you scored the episodes that the policy adapted to, which the old policy "
        "played: let the adapted one play fresh episodes"
    )
    assert torch.allclose(after, torch.tensor(1.5)), (
        f"a step of rate 0.5 up a slope of 1 leads from 1 to 1.5; yours ends at {after.tolist()}"
    )


# %% [markdown]
# ## Look at it
#
# Nothing to write here: a policy that MAML trained on the secret side, from the book's package,
# before and after your one step, on tasks of both sides.

# %%
TASKS = 40

family = CartPole(secret_side=True)
stored = studies.load("cartpole-secret").tensors
theta = {
    key.removeprefix("maml-3/theta."): p[0]  # the first training seed
    for key, p in stored.items()
    if key.startswith("maml-3/theta.")
}
sides = torch.tensor([1.0, -1.0]).repeat(TASKS // 2)
tasks = family.sample_tasks(TASKS, generator=seeded(5))._replace(side=sides)
before, after = one_step(family, theta, 3.0, tasks, TASKS, 10, seeded(6))
for when, returns in (("before", before), ("after", after)):
    mean, half = t_interval(returns.detach())
    print(f"{when:6} the step: mean return {mean:.0f} ± {half:.0f} over {TASKS} tasks")
