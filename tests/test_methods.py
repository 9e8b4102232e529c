"""The table of methods: each row is what its paper says, and rows that should agree do."""

from dataclasses import replace

import pytest
import torch
from cases import (
    EXACT,
    STEP,
    carts,
    gen,
    gradients,
    of_task,
    recorded,
    signed_alpha,
    sines,
    start,
    walks,
    wanted,
)
from torch.testing import assert_close

from metasgd_core import (
    FINE_TUNING,
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    METHODS,
    REPTILE,
    Data,
    Method,
    adapt,
    meta_loss,
    meta_train,
    objectives,
    per_task,
)

N, SHOTS, QUERY = 4, 5, 6


@pytest.fixture
def family():
    return sines(1, 5, 4, 1, activation="tanh")


def tasks_and_points(family, seed=2):
    """Return tasks and the points that meta_loss draws for them from ``gen(seed + 1)``."""
    tasks = family.sample_tasks(N, generator=gen(seed))
    points = family.sample_data(tasks, None, SHOTS + QUERY, generator=gen(seed + 1))
    return tasks, points


def value(family, theta, alpha, method, tasks, seed=3):
    return meta_loss(family, theta, alpha, tasks, method, shots=SHOTS, query_shots=QUERY,
                     generator=gen(seed))


def part(data, start, stop):
    return Data(data.x[..., start:stop, :], data.y[..., start:stop, :])


def test_the_table():
    rows = {m.name: (m.objective, m.inner_steps, m.first_order, m.alpha_shape, m.learn_alpha)
            for m in METHODS.values()}
    assert rows == {
        "fine-tuning": ("none", 0, False, "scalar", False),
        "joint": ("joint", 0, False, "scalar", False),
        "MAML": ("query", 1, False, "scalar", False),
        "FOMAML": ("query", 1, True, "scalar", False),
        "Reptile": ("reptile", 5, True, "scalar", False),
        "Meta-SGD": ("query", 1, False, "entry", True),
    }


@pytest.mark.parametrize("method", [MAML, FOMAML, META_SGD])
@pytest.mark.parametrize("steps", [1, 2])
def test_adaptation_uses_the_support_points_and_the_loss_uses_the_query_points(
    family, method, steps
):
    """The mean over tasks of the query loss at phi; no query point has been adapted to."""
    theta, _ = start(family)
    alpha = signed_alpha(theta)
    tasks, points = tasks_and_points(family)
    phi = adapt(family.loss, per_task(theta, (N,)), per_task(alpha, (N,)), part(points, 0, SHOTS),
                steps=steps)
    expected = family.loss(phi, part(points, SHOTS, SHOTS + QUERY)).mean()
    got = value(family, theta, alpha, replace(method, inner_steps=steps), tasks)
    assert_close(got, expected, **STEP)


def test_joint_training_is_no_step_on_support_and_query_together(family):
    """Else it would see fewer points than the methods that it is compared with."""
    theta, _ = start(family)
    tasks, points = tasks_and_points(family)
    expected = family.loss(per_task(theta, (N,)), points).mean()
    assert_close(value(family, theta, 0.1, JOINT, tasks), expected, **EXACT)


@pytest.mark.parametrize("steps", [1, 3])
def test_meta_sgd_with_one_constant_for_every_entry_is_maml(family, steps):
    theta, full = start(family, "entry", 0.07)
    theta = wanted(theta)
    tasks, _ = tasks_and_points(family)
    maml = value(family, theta, 0.07, replace(MAML, inner_steps=steps), tasks)
    meta_sgd = value(family, theta, full, replace(META_SGD, inner_steps=steps), tasks)
    assert_close(meta_sgd, maml, **EXACT)
    assert_close(gradients(meta_sgd, theta), gradients(maml, theta), **EXACT)


def test_with_one_step_first_order_and_exact_agree_on_alpha_and_differ_on_theta(family):
    theta, alpha = start(family)
    theta, alpha = wanted(theta), wanted(alpha)
    tasks, _ = tasks_and_points(family)
    exact = value(family, theta, alpha, META_SGD, tasks)
    first = value(family, theta, alpha, replace(META_SGD, first_order=True), tasks)
    assert torch.equal(exact, first)
    (d_theta, d_alpha), (f_theta, f_alpha) = (gradients(v, theta, alpha) for v in (exact, first))
    assert_close(f_alpha, d_alpha, **STEP)
    # The dropped term is alpha times a Hessian: here some percent of the gradient.
    gap = torch.cat([(d_theta[n] - f_theta[n]).flatten() for n in theta]).norm()
    assert gap > 1e-3 * torch.cat([g.flatten() for g in d_theta.values()]).norm()


def reptile_phi(family, theta, points, rate, steps):
    """Walk through support and query points, SHOTS at a time, beginning again at the end."""
    total = SHOTS + QUERY
    phi = per_task(theta, (N,))
    for step in range(steps):
        at = [(step * SHOTS + k) % total for k in range(SHOTS)]
        phi = adapt(family.loss, phi, rate, Data(points.x[:, at], points.y[:, at]))
    return {name: p.detach() for name, p in phi.items()}


def test_reptiles_gradient_is_theta_minus_phi_after_a_new_minibatch_each_step(family):
    """Five steps of 5 points from 11: minibatches 0-4, 5-9, 10 and 0-3, 4-8, 9-10 and 0-2.

    The same minibatch five times would be fine-tuning on 5 points: Reptile's gain comes from
    gradients of *different* minibatches that agree.
    """
    theta, _ = start(family)
    theta = wanted(theta)
    tasks, points = tasks_and_points(family)
    loss = value(family, theta, 0.05, REPTILE, tasks)
    phi = reptile_phi(family, theta, points, 0.05, 5)
    (got,) = gradients(loss, theta)
    assert_close(got, {n: (theta[n] - phi[n]).mean(dim=0) for n in theta}, **STEP)
    half_squares = sum(0.5 * (theta[n] - phi[n]).square().sum() for n in theta) / N
    assert_close(loss, half_squares, **STEP)


def test_reptiles_outer_step_moves_theta_by_epsilon_towards_the_mean_phi(family):
    """theta <- theta + epsilon (mean phi - theta), algorithm 1 of Nichol et al.; plain SGD."""
    theta, _ = start(family)
    g = gen(11)
    points_of = gen(11)
    tasks = family.sample_tasks(N, generator=points_of)
    points = family.sample_data(tasks, None, SHOTS + QUERY, generator=points_of)
    (record,) = meta_train(family, theta, 0.05, REPTILE, iterations=1, meta_batch=N, shots=SHOTS,
                           query_shots=QUERY, generator=g, lr=0.3)
    phi = reptile_phi(family, theta, points, 0.05, 5)
    assert_close(
        record.theta, {n: p + 0.3 * (phi[n].mean(dim=0) - p) for n, p in theta.items()}, **STEP
    )


@pytest.mark.parametrize("method", [JOINT, MAML, FOMAML, REPTILE, META_SGD], ids=lambda m: m.name)
def test_the_meta_loss_of_runs_is_each_runs_own(family, method):
    theta, alpha = start(family, runs=(3,))
    tasks = family.sample_tasks(3, N, generator=gen(2))
    together = value(family, theta, alpha, method, tasks)
    assert together.shape == (3,)
    points = family.sample_data(tasks, None, SHOTS + QUERY, generator=gen(3))
    for run in range(3):

        class ThisRun:
            model, on_policy, loss = family.model, False, staticmethod(family.loss)

            @staticmethod
            def sample_data(tasks, phi, shots, *, generator, run=run):
                return Data(points.x[run], points.y[run])

        mine = type(tasks)(*(t[run] for t in tasks))
        alone = value(ThisRun, of_task(theta, run), of_task(alpha, run), method, mine)
        assert_close(together[run], alone, **STEP)


def test_every_method_sees_the_same_tasks_and_draws_as_many_numbers(family):
    """Compared methods share their data: the generator ends in the same state for each."""
    theta, alpha = start(family)
    states = set()
    for method in (JOINT, MAML, FOMAML, REPTILE, META_SGD):
        g = gen(5)
        list(meta_train(family, theta, alpha, method, iterations=3, meta_batch=N, shots=SHOTS,
                        query_shots=QUERY, generator=g))
        states.add(bytes(g.get_state().numpy()))
    assert len(states) == 1


class OnPolicy:
    """A family whose data depend on the parameters that collect them: y is phi's own number."""

    on_policy = True

    def __init__(self):
        self.model = torch.nn.Linear(1, 1, bias=False).double()
        self.collected = []

    def sample_data(self, tasks, phi, shots, *, generator):
        self.collected.append((phi["weight"].detach().flatten().tolist(), shots))
        x = torch.ones(*tasks[0].shape, shots, 1, dtype=torch.float64)
        return Data(x, phi["weight"].detach().expand(*tasks[0].shape, shots, 1) + 1)

    def loss(self, phi, data):
        return 0.5 * (phi["weight"] - data.y).square().mean(dim=(-2, -1))


def test_on_policy_data_are_collected_afresh_under_the_parameters_of_the_moment():
    """The gradient is always -1, so each step at rate 1/2 adds 1/2; the query is met at phi."""
    family = OnPolicy()
    theta = {"weight": torch.zeros(1, 1, dtype=torch.float64)}
    tasks = (torch.zeros(2),)
    loss = value(family, theta, 0.5, replace(MAML, inner_steps=2), tasks)
    assert family.collected == [([0, 0], SHOTS), ([0.5, 0.5], SHOTS), ([1, 1], QUERY)]
    assert loss == 0.5


@pytest.mark.parametrize("family", [carts(), walks()], ids=["cartpole", "navigation"])
@pytest.mark.parametrize("first_order", [False, True])
def test_credit_for_sampling_adds_the_e_maml_term_and_nothing_else(family, first_order):
    r"""-(J(phi) - b) Σ_k log p(tau_k | phi_k), with the other tasks' mean score as b, J constant.

    Its value by hand from the same episodes, and its gradient: theta chooses the first episodes,
    phi (and so theta and alpha) the second ones.
    """
    theta, alpha = start(family)
    theta, alpha = wanted(theta), wanted(alpha)
    tasks = family.sample_tasks(3, generator=gen(2))
    plain = replace(MAML, inner_steps=2, first_order=first_order)
    without = value(family, theta, alpha, plain, tasks)
    watched, played = recorded(family)
    credit = value(watched, theta, alpha, replace(plain, credit_sampling=True), tasks) - without

    *supports, query = played
    phi, likely = per_task(theta, (3,)), 0.0
    for support in supports:
        mask = support.mask
        likely = likely + (family.log_prob(phi, support) * mask).sum((-2, -1))
        phi = adapt(family.loss, phi, per_task(alpha, (3,)), support, first_order=first_order)
    a, b, c = query.reward.sum(-1).mean(-1)
    gain = torch.stack([a - (b + c) / 2, b - (a + c) / 2, c - (a + b) / 2])
    assert gain.abs().min() > 0.01
    expected = -(gain * likely).mean()
    assert_close(credit, expected, rtol=1e-10, atol=1e-10)
    got, by_hand = gradients(credit, theta, alpha), gradients(expected, theta, alpha)
    assert_close(got, by_hand, rtol=1e-9, atol=1e-9)
    assert all(g.abs().max() > 0 for g in by_hand[0].values())


def test_credit_for_sampling_is_refused_where_nothing_is_sampled_by_the_parameters(family):
    theta, alpha = start(family)
    tasks, _ = tasks_and_points(family)
    with pytest.raises(ValueError, match="Sinusoid cannot credit sampling: its data do not depend "
                                         "on the parameters; use credit_sampling=False"):
        value(family, theta, alpha, replace(MAML, credit_sampling=True), tasks)


def test_joint_training_and_reptile_collect_under_theta_and_phi():
    """Also where the data depend on them: joint plays shots + query_shots episodes with theta."""
    watched, played = recorded(carts())
    theta, alpha = start(watched, "scalar")
    tasks = watched.sample_tasks(3, generator=gen(2))
    loss = value(watched, theta, alpha, JOINT, tasks)
    (data,) = played
    assert data.mask.shape[:2] == (3, SHOTS + QUERY)
    assert_close(loss, watched.loss(per_task(theta, (3,)), data).mean(), **EXACT)
    played.clear()
    value(watched, theta, alpha, replace(REPTILE, inner_steps=2), tasks)
    assert [data.mask.shape[1] for data in played] == [SHOTS, SHOTS]


def test_the_row_that_learns_nothing_has_no_meta_loss_and_yields_theta_once(family):
    theta, alpha = start(family)
    tasks, _ = tasks_and_points(family)
    with pytest.raises(ValueError, match="fine-tuning learns nothing across tasks"):
        value(family, theta, alpha, FINE_TUNING, tasks)
    (record,) = meta_train(family, theta, alpha, FINE_TUNING, iterations=5, meta_batch=N,
                           shots=SHOTS, query_shots=QUERY, generator=gen())
    assert record.iteration == 0
    assert_close(record.theta, theta, **EXACT)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"alpha_shape": "row"}, "alpha_shape must be one of"),
        ({"alpha_form": "exp"}, "alpha_form must be one of"),
        ({"inner_steps": -1, "objective": "joint"}, "of at least 0, got -1"),
        ({"objective": "joint", "inner_steps": 0, "credit_sampling": True},
         "mine cannot credit its sampling: the objective 'joint' has no term for it"),
        ({"objective": "reptile", "credit_sampling": True}, "mine cannot credit its sampling"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(fields, sentence):
    settings = {"name": "mine", "objective": "query"} | fields
    row = object.__new__(Method)  # past the check of the annotations, to the check of the values
    defaults = {"inner_steps": 1, "first_order": False, "alpha_shape": "scalar",
                "learn_alpha": False, "alpha_form": "raw"}
    for name, setting in (defaults | settings).items():
        object.__setattr__(row, name, setting)
    with pytest.raises(ValueError, match=sentence):
        row.__post_init__()


def trained(family, method, **settings):
    theta, alpha = start(family)
    *_, record = meta_train(family, theta, alpha, method, iterations=2, meta_batch=N, shots=SHOTS,
                            query_shots=QUERY, generator=gen(7), **settings)
    return record


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"objective": "support"}, r"^objective must be one of \('query', .*, got 'support'$"),
        ({"inner_steps": 0}, "inner_steps of mine must be a whole number of at least 1, got 0"),
        ({"objective": "reptile", "alpha_shape": "entry", "learn_alpha": True},
         "mine cannot learn alpha: the objective 'reptile' has no gradient through phi"),
        ({"objective": "joint", "reads": True}, "mine cannot learn to read: the objective 'joint'"),
    ],
)
def test_a_row_that_contradicts_its_objective_is_refused_before_any_training(
    family, fields, sentence
):
    """In one sentence, by both that minimise it."""
    method = Method(**{"name": "mine", "objective": "query"} | fields)
    theta, alpha = start(family)
    tasks, _ = tasks_and_points(family)
    for minimise in (lambda: trained(family, method),
                     lambda: value(family, theta, alpha, method, tasks)):
        with pytest.raises(ValueError, match=sentence) as refused:
            minimise()
        assert "\n" not in str(refused.value)


def test_an_objective_of_ones_own_is_a_function_and_an_entry(family, monkeypatch):
    """As CONTRIBUTING says: here the mean of squared query losses, with alpha learned."""

    def squares(*given):
        return objectives.query(*given).square()

    monkeypatch.setitem(objectives.OBJECTIVES, "squares", objectives.Objective(squares, lr=0.01))
    method = replace(META_SGD, name="mine", objective="squares")
    theta, alpha = start(family)
    tasks, _ = tasks_and_points(family)
    one = type(tasks)(*(part[:1] for part in tasks))
    assert_close(value(family, theta, alpha, method, one),
                 value(family, theta, alpha, META_SGD, one).square(), **EXACT)
    mine, its = trained(family, method), trained(family, method, lr=0.01)
    assert_close(mine, its, **EXACT)
    assert not torch.equal(mine.alpha["layers.0.weight"], alpha["layers.0.weight"])
    with pytest.raises(ValueError, match=r"compiled=True is for .* not for mine"):
        trained(family, method, compiled=True)

@pytest.mark.parametrize("name", ["shots", "query_shots"])
def test_no_points_no_meta_loss(family, name):
    theta, alpha = start(family)
    tasks, _ = tasks_and_points(family)
    counts = {"shots": 5, "query_shots": 5} | {name: 0}
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, got 0"):
        meta_loss(family, theta, alpha, tasks, MAML, generator=gen(), **counts)
