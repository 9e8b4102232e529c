"""The trust region (chapter 16): its direction, its bound, and the training around it."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from cases import gen
from torch.testing import assert_close

from metasgd_core import GaussianMLP, PolicyGradient, adapt, init_theta, per_task, predict
from metasgd_core.policy_gradient import fitted_to_states, returns_to_go
from metasgd_core.studies import trpo as study
from metasgd_core.studies.jobs import Job, do, read
from metasgd_core.tasks.navigation import Navigation
from metasgd_core.training.learned import pack, views
from metasgd_core.trpo import conjugate_gradient, trust_region_step

SMALL = Navigation(
    GaussianMLP((2, 3, 2), log_std=-1.0).double(), horizon=4,
    objective=PolicyGradient("naive", baseline="states"),
)  # fmt: skip


def episodes(shots=5):
    """Two tasks that a tiny policy has adapted to, and the functions whose step is taken."""
    g = gen()
    theta = {n: p.detach() for n, p in init_theta(SMALL.model, generator=g).items()}
    x, _ = pack(theta, ())
    tasks = SMALL.sample_tasks(2, generator=g)
    support = SMALL.sample_data(tasks, per_task(theta, (2,)), shots, generator=g)

    def adapted(x):
        return adapt(SMALL.loss, per_task(views(x, theta), (2,)), 0.1, support)

    phi = {n: p.detach() for n, p in adapted(x).items()}
    query = SMALL.sample_data(tasks, phi, shots, generator=g)
    played, gain = SMALL.log_prob(phi, query).detach(), SMALL.objective.advantages(query)

    def loss(x):
        return -((SMALL.log_prob(adapted(x), query) - played).exp() * gain).mean()

    def divergence(x):
        return SMALL.divergence(phi, adapted(x), query).mean()

    return x, loss, divergence


def test_the_direction_is_that_of_a_dense_solve():
    """Through the inner step, whose derivative is in both the gradient and the Hessian."""
    x, loss, divergence = episodes()
    gradient = torch.autograd.functional.jacobian(loss, x)
    hessian = torch.autograd.functional.hessian(divergence, x) + 1e-5 * torch.eye(len(x)).double()
    dense = torch.linalg.solve(hessian, gradient)
    ours = conjugate_gradient(lambda v: hessian @ v, gradient, 10 * len(x))
    assert_close(ours, dense, rtol=1e-6, atol=1e-9)
    step = trust_region_step(loss, divergence, x, iterations=10 * len(x), shrink=0.5)
    moved = x - step.x
    assert_close(moved / moved.norm(), dense / dense.norm(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bound", [1e-4, 1e-2])
def test_a_step_stays_within_its_bound_and_lowers_the_loss(bound):
    x, loss, divergence = episodes()
    step = trust_region_step(loss, divergence, x, bound=bound)
    assert not torch.equal(step.x, x)
    assert 0.3 * bound < step.divergence <= bound
    with torch.no_grad():
        assert step.loss < float(loss(x))
        assert_close(step.loss, float(loss(step.x)))
        assert_close(step.divergence, float(divergence(step.x)))


def test_where_no_length_helps_nothing_is_changed():
    x = torch.zeros(3)
    step = trust_region_step(lambda x: x.sum() + 1e9 * x.square().sum(),
                             lambda x: x.square().sum(), x, tries=4)  # fmt: skip
    assert (step.tries, step.divergence) == (5, 0)
    assert torch.equal(step.x, x)


@pytest.mark.parametrize(("loss", "word"), [
    (lambda x: (0 * x).sum(), "zero"), (lambda x: (x / 0).sum(), "not finite"),
])  # fmt: skip
def test_a_gradient_without_a_direction_is_refused(loss, word):
    with pytest.raises(FloatingPointError, match=rf"the meta-gradient is {word}, .* look at"):
        trust_region_step(loss, lambda x: x.square().sum(), torch.ones(2))


def test_the_divergence_is_that_of_two_normal_distributions():
    """Against torch.distributions, masked steps left out."""
    g = gen()
    before, after = (
        per_task({n: p + 0.3 * k for n, p in init_theta(SMALL.model, generator=g).items()}, (2,))
        for k in (0, 1)
    )
    tasks = SMALL.sample_tasks(2, generator=g)
    data = SMALL.sample_data(tasks, before, 3, generator=g)
    data.mask[0, 1, 2:] = False
    states = data.observation.flatten(1, 2)

    def policy(phi):
        mean = 0.1 * predict(SMALL.model, phi, states)
        return torch.distributions.Normal(mean, phi["log_std"].exp().unsqueeze(1))

    apart = torch.distributions.kl_divergence(policy(before), policy(after)).sum(-1)
    mask = data.mask.flatten(1)
    expected = torch.stack([a[m].mean() for a, m in zip(apart, mask)])
    assert_close(SMALL.divergence(before, after, data), expected)
    assert_close(SMALL.divergence(before, before, data), torch.zeros(2).double())


def test_the_baseline_of_the_states_is_a_least_squares_fit():
    """And does not look at steps that were not taken."""
    g = gen()
    theta = per_task(init_theta(SMALL.model, generator=g), (2,))
    data = SMALL.sample_data(SMALL.sample_tasks(2, generator=g), theta, 6, generator=g)
    data.mask[1, 0, 1:] = False
    returns = returns_to_go(data.reward * data.mask, 0.9)
    told = fitted_to_states(returns, data)
    for k in range(2):
        s, t = data.observation[k], torch.arange(4).double().expand(6, 4) / 100
        columns = [s[..., 0], s[..., 1], s[..., 0] ** 2, s[..., 1] ** 2, *(t**p for p in range(4))]
        X, taken = torch.stack(columns, -1), data.mask[k]
        ridge = 1e-5**0.5 * torch.eye(8).double()
        rows = torch.cat([X[taken], ridge])
        y = torch.cat([returns[k][taken], torch.zeros(8).double()])
        weights = torch.linalg.lstsq(rows, y.unsqueeze(-1)).solution[:, 0]
        assert_close(told[k], X @ weights, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match='baseline must be True, False or "states"'):
        PolicyGradient(baseline="linear")


def test_the_first_network_is_the_published_one_or_the_books():
    """Xavier's bounds, biases of zero, the noise that was asked for; or a small last layer."""
    row = study.Setting()
    theta, _ = study.first(row, row.family(), 0)
    for name, p in theta.items():
        if name.endswith("weight"):
            bound = (6 / sum(p.shape)) ** 0.5
            assert 0.9 * bound < p.abs().max() <= bound
        elif name.endswith("bias"):
            assert not p.any()
    assert_close(theta["log_std"].exp(), torch.full((2,), 0.1))
    small, _ = study.first(replace(row, network="small"), row.family(), 0)
    assert small["layers.2.weight"].abs().max() <= 0.1 / 100**0.5
    assert small["layers.0.bias"].any()


def test_a_killed_job_goes_on_from_its_last_iteration(tmp_path):
    """Its checkpoint says how far it is where the runner looks for it."""
    job = Job("a job", tmp_path)

    def train(iterations):
        def records(path):
            return study.by_trpo(study.Setting(), 7, iterations=iterations, tasks=2,
                                 trajectories=3, checkpoint=path)  # fmt: skip

        return job.train(records, 3, lambda record: {"at": torch.tensor(record.iteration)})

    train(1)
    _, noted = train(3)
    assert noted["at"].tolist() == noted["iteration"].tolist() == [1, 2, 3]


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path):
    row = study.Setting(study.META_SGD)

    def ends(folder, *parts):
        folder.mkdir()
        for iterations in parts:
            *_, last = study.by_trpo(row, 7, iterations=iterations, tasks=2, trajectories=3,
                                     checkpoint=folder / "training")  # fmt: skip
        return last

    whole, resumed = ends(tmp_path / "a", 3), ends(tmp_path / "b", 1, 3)
    assert whole.iteration == resumed.iteration == 3
    assert not whole.diverged
    for part in ("theta", "alpha"):
        for name, p in getattr(whole, part).items():
            assert torch.equal(p, getattr(resumed, part)[name])
    assert len({float(a.std()) > 0 for a in whole.alpha.values()}) == 1  # the rates have moved


@pytest.mark.parametrize("row", ["Meta-SGD, uniform", "discount 0.9"])
def test_each_kind_of_training_is_done_and_tested(row, tmp_path):
    name = f"{row}, seed {study.SEEDS[0]}"
    do(study.work, Job(name, tmp_path, quick=True))
    found = read(tmp_path / f"{name}.safetensors").tensors
    assert found["returns"].shape == (4,)
    assert found["tasks"].shape == (2, 4)
    assert found["returns"].isfinite().all()
    assert not found["diverged"]
    assert ("tries" in found) is ("alpha.log_std" in found) is (row in study.PUBLISHED)
    assert found["curve"].shape[0] == 2
    assert found["curve"].isfinite().all()


def test_each_row_of_the_bridge_changes_one_thing_more():
    """And the rate with it, where that counts in other units."""
    rows = [study.PUBLISHED["MAML, origin"], *study.BRIDGE.values()]
    for before, after in pairwise(rows):
        changed = {k for k, v in vars(after).items() if v != vars(before)[k]}
        assert len(changed - {"alpha"}) == 1, changed
        assert ("alpha" in changed) is bool({"spread", "normalize"} & changed)


def test_what_a_policy_knows_is_measured():
    """One that walks straight to any goal it has met, without training: its answers are known."""
    family = Navigation(GaussianMLP((2, 2), log_std=-3.0), reward="squared",
                        objective=PolicyGradient(normalize=False))  # fmt: skip
    theta = {name: torch.zeros_like(p) for name, p in family.model.named_parameters()}
    theta["layers.0.weight"] = -0.5 * torch.eye(2) / 0.1
    theta["log_std"] = torch.full((2,), -3.0)
    none = dict.fromkeys(theta, torch.tensor(0.0))
    stays = study.knowledge(family, theta, none, 50, gen())
    assert_close(stays["pull"], torch.tensor(0.5))
    assert_close(stays["first pull"], stays["pull"])
    assert_close(stays["along"], torch.zeros(2))
    assert_close(stays["miss"], torch.tensor([study.NEAR, study.FAR]))
    assert 0.03 < stays["walk"] < 0.07  # about exp(-3) / sqrt(1 - 0.5**2)
    assert -45 < stays["noisy"] < stays["still"] < -33  # as one that stands still

    step = none | {"layers.0.bias": torch.tensor(0.1)}
    goes = study.knowledge(family, theta, step, 50, gen())
    for part in ("velocity", "along"):
        near, far = goes[part]
        assert 2.2 < far / near < 4, "the squared distance knows the place"
    assert (goes["miss"] < torch.tensor([study.NEAR, study.FAR]) / 2).all()
    assert stays["still"] + 20 < goes["noisy"] < goes["still"]


@pytest.mark.parametrize("outer", ["TRPO", "Adam"])
def test_a_lost_training_is_reported_and_ends_no_study(outer, tmp_path):
    """An inner rate beyond all bounds: the last record says that it diverged."""
    row = study.Setting(alpha=1e30, outer=outer)
    train = study.by_trpo if outer == "TRPO" else study.by_adam
    *_, last = train(row, 7, iterations=20, tasks=2, trajectories=3, checkpoint=tmp_path / "it")
    assert last.diverged
    assert all(p.isfinite().all() for p in last.theta.values())
