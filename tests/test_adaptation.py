"""The inner loop: its derivatives by hand, its batching, and what it refuses."""

import pytest
import torch
from cases import (
    EXACT,
    STEP,
    Quadratic,
    gen,
    gradients,
    of_task,
    signed_alpha,
    sines,
    start,
    wanted,
)
from torch.autograd import gradcheck
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from metasgd_core import Data, LogUniform, Uniform, adapt, init_alpha, init_theta, per_task
from metasgd_core.alpha import align_alpha, check_alpha

F64 = torch.float64


@pytest.mark.parametrize(
    ("steps", "first_order", "phi", "d_theta", "d_alpha"),
    [
        (1, False, (-1, -1 / 4), (5 / 16, 1), (8, 45 / 4)),
        (1, True, (-1, -1 / 4), (-2, -5 / 4), (8, 45 / 4)),
        (3, False, (-1 / 8, -1 / 32), (33 / 1024, 9 / 128), (873 / 512, 441 / 128)),
        (3, True, (-1 / 8, -1 / 32), (-9 / 8, -33 / 32), (81 / 32, 2145 / 256)),
    ],
)
def test_the_meta_gradient_of_a_quadratic_is_the_one_derived_by_hand(
    steps, first_order, phi, d_theta, d_alpha
):
    r"""One task: L_support(w) = 1/2 w^T H w, L_query(w) = 1/2 |w - c|^2, from theta = (1, 2), with

        H = [[2, 1], [1, 4]],    alpha = (1/2, 1/4),    c = (1, 1),    A = diag(alpha).

    The support gradient at w is H w, so one step maps w to M w, with

        M = I - A H = [[0, -1/2], [-1/4, 0]].

    One step. g_0 = H theta = (4, 9); phi = theta - A g_0 = (-1, -1/4); the query gradient there is
    q = phi - c = (-2, -5/4).

        exact:        dL/dtheta = M^T q = [[0, -1/4], [-1/2, 0]] q = (5/16, 1)
        first order:  M counts as I, so dL/dtheta = q = (-2, -5/4)
        both:         dL/dalpha = -q ∘ g_0 = (8, 45/4), as no gradient comes after alpha's use

    Three steps. phi_1 = (-1, -1/4), phi_2 = M phi_1 = (1/8, 1/4), phi_3 = M phi_2 = (-1/8, -1/32),
    and q = phi_3 - c = (-9/8, -33/32). The support gradients on the way are g_0 = (4, 9),
    g_1 = H phi_1 = (-9/4, -2), g_2 = H phi_2 = (1/2, 9/8).

        exact:        l_3 = q,  l_2 = M^T l_3 = (33/128, 9/16),  l_1 = M^T l_2 = (-9/64, -33/256)
                      dL/dtheta = M^T l_1 = (33/1024, 9/128)
                      dL/dalpha = -(l_1 ∘ g_0 + l_2 ∘ g_1 + l_3 ∘ g_2) = (873/512, 441/128)
        first order:  dL/dtheta = q,  dL/dalpha = -q ∘ (g_0 + g_1 + g_2)
                                                = -q ∘ (9/4, 65/8) = (81/32, 2145/256)

    All of these are fractions over powers of two, so floating point holds them without rounding
    and the comparison is exact.
    """
    bowl = Quadratic(torch.tensor([[2.0, 1.0], [1.0, 4.0]], dtype=F64))
    theta = {"w": torch.tensor([[1.0, 2.0]], dtype=F64, requires_grad=True)}
    alpha = {"w": torch.tensor([[0.5, 0.25]], dtype=F64, requires_grad=True)}
    support, query = torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64)

    adapted = adapt(bowl.loss, theta, alpha, support, steps=steps, first_order=first_order)
    assert adapted["w"].tolist() == [list(phi)]
    loss = 0.5 * (adapted["w"] - query).square().sum()
    got_theta, got_alpha = gradients(loss, theta, alpha)
    assert got_theta["w"].tolist() == [list(d_theta)]
    assert got_alpha["w"].tolist() == [list(d_alpha)]


@pytest.fixture
def batch():
    """Return a small network's family, theta, signed rates, support and query points of 4 tasks."""
    family = sines(1, 5, 4, 1, activation="tanh")
    theta = init_theta(family.model, generator=gen(1))
    tasks = family.sample_tasks(4, generator=gen(2))
    support = family.sample_data(tasks, None, 5, generator=gen(3))
    query = family.sample_data(tasks, None, 7, generator=gen(4))
    return family, theta, signed_alpha(theta), support, query


@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_of_alpha_is_minus_query_gradient_times_support_gradient(batch, first_order):
    """d L/d alpha = -∇L_query(phi) ∘ ∇L_support(theta), for each task's alpha and for a shared one.

    Shared by the tasks it is the mean over tasks; one number for all entries, the sum over them.
    First-order and exact agree, because one step has no second derivative on alpha's way.
    """
    family, theta, alpha, support, query = batch
    copies = wanted(per_task(theta, (4,)))
    rates = wanted(per_task(alpha, (4,)))
    phi = adapt(family.loss, copies, rates, support, first_order=first_order)
    (d_alpha,) = gradients(family.loss(phi, query).sum(), rates)

    (g_support,) = gradients(family.loss(copies, support).sum(), copies)
    at_phi = wanted(phi)
    (g_query,) = gradients(family.loss(at_phi, query).sum(), at_phi)
    expected = {name: -g_query[name] * g_support[name] for name in theta}
    assert_close(d_alpha, expected, rtol=1e-10, atol=0)

    shared = wanted(alpha)
    phi = adapt(family.loss, copies, per_task(shared, (4,)), support, first_order=first_order)
    (d_shared,) = gradients(family.loss(phi, query).mean(), shared)
    assert_close(d_shared, {n: e.mean(dim=0) for n, e in expected.items()}, rtol=1e-10, atol=1e-16)

    one = torch.tensor(0.05, dtype=F64, requires_grad=True)
    phi = adapt(family.loss, copies, dict.fromkeys(theta, one), support, first_order=first_order)
    (d_one,) = torch.autograd.grad(family.loss(phi, query).mean(), one)
    at_phi = wanted(phi)
    (g_query,) = gradients(family.loss(at_phi, query).sum(), at_phi)
    total = sum(-(g_query[name] * g_support[name]).sum() for name in theta) / 4
    assert_close(d_one, total, rtol=1e-10, atol=0)


def test_gradcheck_through_three_steps_over_theta_and_alpha(batch):
    """Finite differences agree with autograd (tanh: with ReLU they would step across kinks)."""
    family, theta, alpha, support, query = batch
    names = list(theta)

    def meta_loss(*leaves):
        p = dict(zip(names, leaves[: len(names)]))
        a = dict(zip(names, leaves[len(names) :]))
        phi = adapt(family.loss, per_task(p, (4,)), per_task(a, (4,)), support, steps=3)
        return family.loss(phi, query).mean()

    leaves = [*wanted(theta).values(), *wanted(alpha).values()]
    assert gradcheck(meta_loss, leaves, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_all_tasks_at_once_equal_a_plain_loop_over_tasks(batch, steps, first_order):
    """A mean instead of a sum over tasks would divide alpha by 4; a shared theta would mix them."""
    family, theta, alpha, support, query = batch
    theta, alpha = wanted(theta), wanted(alpha)

    phi = adapt(family.loss, per_task(theta, (4,)), per_task(alpha, (4,)), support, steps=steps,
                first_order=first_order)
    together = gradients(family.loss(phi, query).mean(), theta, alpha)

    losses = []
    for i in range(4):
        mine = theta
        x, y = (part[i] for part in support)
        for _ in range(steps):
            loss = (functional_call(family.model, mine, (x,)) - y).square().mean()
            grads = torch.autograd.grad(loss, list(mine.values()), create_graph=not first_order)
            mine = {n: mine[n] - alpha[n] * g for n, g in zip(mine, grads)}
        assert_close(of_task(phi, i), mine, **STEP)
        x, y = (part[i] for part in query)
        losses.append((functional_call(family.model, mine, (x,)) - y).square().mean())
    assert_close(together, gradients(sum(losses) / 4, theta, alpha), **STEP)


@pytest.mark.parametrize("steps", [1, 3])
def test_all_tasks_at_once_equal_vmap_of_grad(batch, steps):
    family, theta, alpha, support, query = batch
    theta, alpha = wanted(theta), wanted(alpha)

    def one_loss(p, x, y):
        return (functional_call(family.model, p, (x,)) - y).square().mean()

    def one_task(p, a, xs, ys, xq, yq):
        for _ in range(steps):
            g = grad(one_loss)(p, xs, ys)
            p = {n: p[n] - a[n] * g[n] for n in p}
        return one_loss(p, xq, yq)

    losses = vmap(one_task, in_dims=(None, None, 0, 0, 0, 0))(theta, alpha, *support, *query)
    phi = adapt(family.loss, per_task(theta, (4,)), per_task(alpha, (4,)), support, steps=steps)
    ours = family.loss(phi, query)
    assert_close(ours, losses, **STEP)
    assert_close(
        gradients(ours.mean(), theta, alpha), gradients(losses.mean(), theta, alpha), **STEP
    )


def test_runs_are_one_more_axis_that_tasks_never_cross(batch):
    """Runs x tasks at once equal every run on its own."""
    family, *_ = batch
    theta = init_theta(family.model, generator=gen(1), runs=(3,))
    alpha = signed_alpha(theta)
    data = family.sample_data(family.sample_tasks(3, 4, generator=gen(2)), None, 5,
                              generator=gen(3))
    phi = adapt(family.loss, per_task(theta, (3, 4)), per_task(alpha, (3, 4)), data, steps=2)
    for run in range(3):
        alone = adapt(family.loss, per_task(of_task(theta, run), (4,)),
                      per_task(of_task(alpha, run), (4,)),
                      Data(data.x[run], data.y[run]), steps=2)
        assert_close(of_task(phi, run), alone, **STEP)


def test_adapting_to_one_task_leaves_no_trace_in_another(batch):
    """Changing task 0's points changes phi of task 0 and, bit for bit, nothing else."""
    family, theta, alpha, support, _ = batch
    copies, rates = per_task(theta, (4,)), per_task(alpha, (4,))
    before = adapt(family.loss, copies, rates, support, steps=2)
    y = support.y.clone()
    y[0] += 1
    after = adapt(family.loss, copies, rates, support._replace(y=y), steps=2)
    for name in theta:
        assert not torch.equal(before[name][0], after[name][0])
        assert torch.equal(before[name][1:], after[name][1:])


def test_inputs_are_left_as_they_were(batch):
    """No in-place step, no gradient field, no switched flag: theta can be used again."""
    family, theta, alpha, support, _ = batch
    old = [{n: p.clone() for n, p in group.items()} for group in (theta, alpha)]
    adapt(family.loss, per_task(theta, (4,)), per_task(alpha, (4,)), support, steps=3)
    assert_close([theta, alpha], old, **EXACT)
    assert not any(p.requires_grad or p.grad is not None for p in [*theta.values(),
                                                                  *alpha.values()])


def test_no_step_returns_theta(batch):
    family, theta, _, support, _ = batch
    copies = per_task(theta, (4,))
    assert_close(adapt(family.loss, copies, 0.1, support, steps=0), copies, **EXACT)


def test_the_same_points_at_every_step_unless_support_is_a_function(batch):
    """Supervised: K shots stay K shots. A function is asked at every step, with the phi of then."""
    family, theta, _, support, query = batch
    copies, asked = per_task(theta, (4,)), []

    def fresh(phi, step):
        asked.append((step, phi["layers.0.bias"].detach().clone()))
        return query if step else support

    phi = adapt(family.loss, copies, 0.1, fresh, steps=2)
    once = adapt(family.loss, copies, 0.1, support)
    assert_close(phi, adapt(family.loss, once, 0.1, query), **EXACT)
    assert [step for step, _ in asked] == [0, 1]
    assert_close(asked[1][1], once["layers.0.bias"], **EXACT)


# ---- alpha: forms that broadcast, and alignment from the left


def test_a_rate_a_run_is_that_runs_rate_even_where_the_run_count_equals_a_width():
    """With 5 runs and 5 hidden units, (5,) against a bias (5, 5) would broadcast over the *units*.

    The result would be wrong with no error: the wrong axis has the right length.
    """
    family = sines(1, 5, 1)
    theta = init_theta(family.model, generator=gen(1), runs=(5,))
    rates = torch.linspace(0.01, 0.3, 5, dtype=F64)
    data = family.sample_data(family.sample_tasks(5, generator=gen(2)), None, 6, generator=gen(3))
    phi = adapt(family.loss, theta, dict.fromkeys(theta, rates), data)
    for run in range(5):
        alone = adapt(family.loss, {n: p[run : run + 1] for n, p in theta.items()},
                      float(rates[run]), Data(data.x[run : run + 1], data.y[run : run + 1]))
        assert_close({n: p[run : run + 1] for n, p in phi.items()}, alone, **STEP)


@pytest.mark.parametrize("shape", ["scalar", "tensor", "entry"])
def test_a_smaller_alpha_broadcasts_to_the_full_one_it_stands_for(batch, shape):
    family, theta, _, support, _ = batch
    values = init_alpha(theta, shape, Uniform(0.01, 0.2), each_entry=True, generator=gen(7))
    full = {n: values[n].expand(p.shape) if shape != "entry" else values[n]
            for n, p in theta.items()}
    copies = per_task(theta, (4,))
    small = adapt(family.loss, copies, values if shape != "entry" else per_task(values, (4,)),
                  support)
    assert_close(small, adapt(family.loss, copies, per_task(full, (4,)), support), **EXACT)


def test_alignment_adds_the_missing_axes_on_the_right():
    theta = {"w": torch.zeros(2, 3, 2), "b": torch.zeros(2, 2)}
    aligned = align_alpha(theta, {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, 2.0])})
    assert [tuple(a.shape) for a in aligned.values()] == [(2, 1, 1), (2, 1)]
    assert align_alpha(theta, 0.5)["b"].expand(2, 2).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [("scalar", [(3,), (3,)]), ("tensor", [(3,), (3,)]), ("entry", [(3, 4, 1), (3, 4)])],
)
def test_init_alpha_gives_the_shape_asked_for(shape, sizes):
    theta = {"w": torch.zeros(3, 4, 1, dtype=F64), "b": torch.zeros(3, 4, dtype=F64)}
    alpha = init_alpha(theta, shape, 0.25, runs=(3,))
    assert [tuple(a.shape) for a in alpha.values()] == sizes
    assert all((a == 0.25).all() and a.dtype == F64 for a in alpha.values())
    # Entries that share memory would be stepped as one (and fused Adam would corrupt the heap).
    assert all(a.is_contiguous() for a in alpha.values())
    shared = alpha["w"].data_ptr() == alpha["b"].data_ptr()
    assert shared == (shape == "scalar")


def test_a_constant_a_run_fills_that_run():
    theta = {"w": torch.zeros(2, 3, dtype=F64)}
    alpha = init_alpha(theta, "entry", torch.tensor([0.1, 0.2], dtype=F64), runs=(2,))
    assert alpha["w"].tolist() == [[0.1] * 3, [0.2] * 3]


def test_a_range_gives_one_value_a_run_as_in_the_paper_unless_each_entry_is_asked_for():
    theta = {"w": torch.zeros(200, 3), "b": torch.zeros(200)}
    alpha = init_alpha(theta, "entry", Uniform(0.005, 0.1), runs=(200,), generator=gen(1))
    one = alpha["b"]
    assert torch.equal(alpha["w"], one[:, None].expand(200, 3))
    assert len(one.unique()) == 200
    assert 0.005 <= one.min() < 0.01
    assert 0.095 < one.max() <= 0.1
    assert abs(one.mean() - 0.0525) < 0.006  # 3 standard errors

    each = init_alpha(theta, "entry", Uniform(0.005, 0.1), runs=(200,), each_entry=True,
                      generator=gen(1))
    assert len(torch.cat([each["w"].flatten(), each["b"]]).unique()) > 790


def test_log_uniform_has_as_much_below_the_geometric_mean_as_above():
    theta = {"w": torch.zeros(4000)}
    alpha = init_alpha(theta, "entry", LogUniform(1e-3, 1e-1), each_entry=True, generator=gen(1))
    w = alpha["w"]
    assert 1e-3 <= w.min() < 1.1e-3
    assert 0.09 < w.max() <= 0.1
    assert abs((w < 1e-2).double().mean() - 0.5) < 0.025  # 3 standard errors


# ---- what is refused, each with its sentence


def two_leaves():
    return {"w": torch.zeros(2, 3), "b": torch.zeros(2)}


@pytest.mark.parametrize(
    ("alpha", "sentence"),
    [
        ({"w": torch.ones(2, 3)}, r"must have theta's names: missing \['b'\], unknown \[\]"),
        ({"w": torch.ones(2, 3), "b": torch.ones(2), "c": torch.ones(2)}, r"unknown \['c'\]"),
        ({"w": torch.ones(3), "b": torch.ones(2)},
         r"alpha\['w'\] has shape \(3,\), theta\['w'\] has shape \(2, 3\): from the left"),
        ({"w": torch.ones(2, 3, 1), "b": torch.ones(2)}, r"alpha\['w'\] has shape \(2, 3, 1\)"),
        ({"w": torch.ones(2, 3), "b": torch.ones(2, dtype=F64)},
         r"alpha\['b'\] is torch.float64 on cpu, theta\['b'\] is torch.float32 on cpu"),
        ({"w": torch.ones(2, 3, device="meta"), "b": torch.ones(2)},
         r"alpha\['w'\] is torch.float32 on meta, theta\['w'\] is torch.float32 on cpu"),
    ],
)
def test_an_alpha_that_does_not_fit_is_named(alpha, sentence):
    with pytest.raises(ValueError, match=sentence):
        adapt(lambda phi, data: phi["b"].square(), two_leaves(), alpha, None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rates_that_are_not_finite_are_counted(bad):
    alpha = {"w": torch.ones(2, 3), "b": torch.tensor([bad, 1.0])}
    with pytest.raises(ValueError, match=r"alpha\['b'\] holds 1 of 2 entries that are NaN or inf"):
        check_alpha(two_leaves(), alpha)
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_alpha(two_leaves(), bad)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be a whole number of at least 0, got -1"):
        adapt(lambda phi, data: phi["b"].square(), two_leaves(), 0.1, None, steps=-1)


def test_a_theta_that_all_tasks_share_is_refused(batch):
    """Its inner gradient would be the sum over tasks: every task would be adapted to all."""
    family, theta, _, support, _ = batch

    def shared_loss(phi, data):
        return family.loss(per_task(phi, (4,)), data)

    with pytest.raises(ValueError, match=r"the losses have shape \(4,\), but theta\['layers.0."
                                         r"weight'\] has shape \(5, 1\): every task needs its own"):
        adapt(shared_loss, theta, 0.1, support)


def test_per_task_copies_share_memory_and_their_backward_sums_over_tasks():
    theta = {"w": torch.ones(2, 3, requires_grad=True)}
    copies = per_task(theta, (2, 5))
    assert copies["w"].shape == (2, 5, 3)
    assert copies["w"].data_ptr() == theta["w"].data_ptr()
    weights = torch.arange(5.0).reshape(1, 5, 1)
    (g,) = torch.autograd.grad((copies["w"] * weights).sum(), theta["w"])
    assert torch.equal(g, torch.full((2, 3), 10.0))
    with pytest.raises(ValueError, match=r"'w' has shape \(2, 3\), which does not start with the "
                                         r"run axes \(4,\)"):
        per_task(theta, (4, 5))


@pytest.mark.parametrize(
    ("shape", "init", "generator", "sentence"),
    [
        ("row", 0.1, None, 'shape must be "scalar", "tensor" or "entry", got \'row\''),
        ("entry", Uniform(0.1, 0.1), gen(), "is not a range: low must be below high"),
        ("entry", LogUniform(0.0, 0.1), gen(), "positive in the log"),
        ("entry", Uniform(0.0, 0.1), None, "needs a generator"),
    ],
)
def test_a_first_alpha_that_cannot_be_made_is_explained(shape, init, generator, sentence):
    make = getattr(init_alpha, "__wrapped__", init_alpha)  # past the check of the annotation
    with pytest.raises(ValueError, match=sentence):
        make(two_leaves(), shape, init, generator=generator)


# ---- said in our words


def test_a_parameter_that_the_loss_does_not_use_is_named():
    theta = {"w": torch.ones(3, 2), "unused": torch.ones(3, 2)}
    with pytest.raises(ValueError, match="the loss does not use 'unused' of theta; leave out"):
        adapt(lambda phi, data: phi["w"].sum(-1), theta, 0.1, None)


def test_a_loss_cut_off_from_theta_is_said():
    with pytest.raises(ValueError, match="the loss does not depend on theta"):
        adapt(lambda phi, data: phi["w"].detach().sum(-1), {"w": torch.ones(3, 2)}, 0.1, None)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_adapts_where_gradients_are_switched_off_and_leaves_no_graph(steps):
    family = sines()
    theta, alpha = start(family)[0], 0.05
    tasks = family.sample_tasks(3, generator=gen(1))
    data = family.sample_data(tasks, None, 5, generator=gen(2))
    expected = adapt(family.loss, per_task(theta, (3,)), alpha, data, steps=steps)
    asked = {n: p.clone().requires_grad_() for n, p in theta.items()}
    with torch.no_grad():
        phi = adapt(family.loss, per_task(asked, (3,)), alpha, data, steps=steps)
    assert not any(p.requires_grad for p in phi.values())
    assert_close(phi, {n: p.detach() for n, p in expected.items()}, **EXACT)


def test_without_a_step_phi_is_theta_itself():
    theta = {"w": torch.ones(3, 2)}
    assert adapt(lambda phi, data: phi["w"].sum(-1), theta, 0.1, None, steps=0)["w"] is theta["w"]


def test_a_range_for_all_runs_is_not_drawn_once_by_mistake():
    """Forgetting ``runs=`` gave every seed of a sweep the same first alpha."""
    theta = init_theta(sines().model, generator=gen(), runs=(4,))
    with pytest.raises(ValueError, match=r"if these are runs, say runs=\(4,\)"):
        init_alpha(theta, "entry", Uniform(0.0, 0.1), generator=gen())
    shared = init_alpha(theta, "entry", Uniform(0.0, 0.1), runs=(), generator=gen())
    own = init_alpha(theta, "entry", Uniform(0.0, 0.1), runs=(4,), generator=gen())
    assert shared["layers.0.bias"].unique().numel() == 1
    assert own["layers.0.bias"].unique().numel() == 4
