"""The alpha lab: arms differ in what their names say and in nothing else; the stored file."""

import pytest
import torch
from cases import EXACT, gen
from torch.testing import assert_close

from metasgd_core import MAML, META_SGD, LogUniform, Sinusoid, Uniform
from metasgd_core.studies import lab, load


@pytest.fixture(scope="module")
def result():
    return load("alpha-lab")


def trained(*starts, method=META_SGD, iterations=5, seeds=2, **changes):
    """Return the last record of a short training."""
    arms = lab.Arms(method, starts, **changes)
    *_, last = lab.train(arms, seeds=seeds, iterations=iterations, record_every=iterations)
    return last


# What arms share


def test_all_arms_of_all_groups_begin_from_the_same_theta():
    """Seed by seed, bit for bit; seeds differ."""
    first, _ = lab.begin(lab.LAB["start"], seeds=3)
    for name, arms in lab.LAB.items():
        theta, _ = lab.begin(arms, seeds=3)
        for key, p in theta.items():
            assert p.shape[:2] == (len(arms.starts), 3)
            assert_close(p, first[key][:1].expand_as(p), **EXACT, msg=name)
    assert not torch.equal(first["layers.0.weight"][0, 0], first["layers.0.weight"][0, 1])


def test_alpha_begins_where_the_arm_says():
    arms = lab.LAB["start"]
    _, alpha = lab.begin(arms, seeds=3)
    for a in alpha.values():
        for rates, begun in zip(a, arms.starts, strict=True):
            if isinstance(begun, Uniform):
                assert begun.low <= rates.min() < rates.max() <= begun.high
                assert rates.unique().numel() > 0.99 * rates.numel()
            else:
                assert_close(rates, torch.full_like(rates, begun), **EXACT)


@pytest.mark.parametrize("drawn", [Uniform(0.001, 0.1), LogUniform(0.001, 0.1)], ids=str)
def test_fixed_rates_that_are_drawn_are_one_an_entry(drawn):
    """Drawn in any way: "random rates held fixed" is not one random rate for a whole network."""
    theta, alpha = lab.begin(lab.Arms(MAML, (0.01, drawn)), seeds=2)
    for name, a in alpha.items():
        assert a.shape == theta[name].shape
        assert (a[0] == 0.01).all()
        assert a[1].unique().numel() > 0.99 * a[1].numel()


@pytest.mark.parametrize(("group", "distinct", "axes"),
                         [("scalar, raw", 1, 2), ("tensor, raw", 6, 2), ("entry, raw", 6, None)])
def test_alpha_has_as_many_numbers_as_the_arm_says(group, distinct, axes):
    theta, alpha = lab.begin(lab.LAB[group], seeds=2)
    assert len({id(a) for a in alpha.values()}) == distinct
    assert all(a.ndim == (axes or theta[n].ndim) for n, a in alpha.items())


@pytest.mark.parametrize("front", [(), (3,)])
def test_tasks_and_points_do_not_depend_on_the_number_of_arms(front):
    """So groups of any size meet the same tasks; (3,) is a chunk of meta-iterations."""
    family, drawn = lab.SharedSines(), {}
    for arms in (1, 2, 5):
        g = gen(3)
        tasks = family.sample_tasks(*front, arms, 2, 4, generator=g)
        data = family.sample_data(tasks, None, 7, generator=g)
        assert data.x.shape == (*front, arms, 2, 4, 7, 1)
        drawn[arms] = data, g.get_state()
        for leaf, alone in zip(data, drawn[1][0], strict=True):
            assert_close(leaf, alone.expand_as(leaf), **EXACT)
        assert_close(g.get_state(), drawn[1][1], **EXACT)
    x = drawn[5][0].x.movedim(len(front), 0)[0]
    assert not torch.equal(x[..., 0, :, :, :], x[..., 1, :, :, :])  # seeds have their own


def test_the_shared_family_is_the_sinusoid_family():
    """One arm alone draws what Sinusoid draws for its seeds."""
    tasks = lab.SharedSines().sample_tasks(1, 2, 4, generator=gen(3))
    plain = Sinusoid().sample_tasks(2, 4, generator=gen(3))
    for shared, own in zip(tasks, plain, strict=True):
        assert_close(shared[0], own, **EXACT)


def test_two_arms_with_the_same_start_stay_identical():
    """Bit for bit, whatever stands between them; the arm between them does not."""
    last = trained(0.01, 0.1, 0.01, iterations=8)
    for part in (last.theta, last.alpha):
        for p in part.values():
            assert_close(p[0], p[2], **EXACT)
            assert not torch.equal(p[0], p[1])
    assert_close(last.loss[0], last.loss[2], **EXACT)


@pytest.mark.parametrize("method", [META_SGD, MAML], ids=lambda method: method.name)
def test_an_arm_is_trained_in_company_as_alone(method):
    """Pairing across groups: float32 after 8 meta-iterations, apart by rounding only."""
    company, alone = trained(0.03, 0.01, method=method), trained(0.01, method=method)
    for part in ("theta", "alpha"):
        for name, p in getattr(company, part).items():
            assert_close(p[1], getattr(alone, part)[name][0], rtol=1e-4, atol=1e-5)
    assert_close(company.loss[1], alone.loss[0], rtol=1e-5, atol=0)


def test_the_first_tasks_are_the_same_whatever_the_method_and_the_optimiser():
    """With rates of zero the first loss is that of theta itself, on the first tasks."""
    losses = [
        trained(0.0, method=method, iterations=1, optimizer=optimizer).loss
        for method, optimizer in ((META_SGD, "Adam"), (MAML, "Adam"), (META_SGD, "SGD"))
    ]
    for loss in losses[1:]:
        assert_close(loss, losses[0], rtol=1e-6, atol=0)


# What the groups are


def test_the_name_of_a_group_says_what_its_arms_are():
    for name, arms in lab.LAB.items():
        head, _, tail = name.partition(" ")
        if head in lab.OPTIMIZERS:
            assert (arms.optimizer, arms.lr) == (head, float(tail))
            assert arms.method == META_SGD
        else:
            assert (arms.optimizer, arms.lr) == ("Adam", 1e-3)
        shape, _, form = name.partition(", ")
        if shape in ("scalar", "tensor", "entry"):
            assert (arms.method.alpha_shape, arms.method.alpha_form) == (shape, form)
        elif "step" in name:
            method, steps, *rest = name.split(", ")
            form = "nonnegative" if method.startswith("nonnegative") else "raw"
            assert arms.method.name == method.removeprefix("nonnegative ")
            assert arms.method.alpha_form == form
            assert arms.method.inner_steps == int(steps.split()[0])
            assert arms.method.first_order == (rest == ["first-order"])
    assert lab.LAB["entry, raw"].method == META_SGD
    assert not lab.LAB["fixed"].method.learn_alpha


def test_what_alpha_became_leaves_out_what_never_moved():
    """Rates 1, -2, 4 and an entry that did not move: median 1, largest 4, a third negative."""
    alpha = {"a": torch.tensor([[[1.0, -2.0]]]), "b": torch.tensor([[[4.0, 9.0]]])}
    moved = {"a": torch.tensor([[[True, True]]]), "b": torch.tensor([[[True, False]]])}
    found = lab.what_alpha_became(alpha, moved)
    expected = {"median": 1.0, "largest": 4.0, "negative": 1 / 3, "moved": 0.75}
    assert {key: value.item() for key, value in found.items()} == pytest.approx(expected)
    assert all(value.shape == (1, 1) for value in found.values())


# The stored file


def test_the_file_holds_every_group_with_ten_seeds(result):
    tensors, _ = result
    assert {key.partition("/")[0] for key in tensors} == set(lab.LAB)
    for name, arms in lab.LAB.items():
        runs = (len(arms.starts), 10)
        assert tensors[f"{name}/test"].shape == (*runs, lab.TEST_STEPS + 1)
        assert tensors[f"{name}/diverged"].shape == runs
        records = tensors[f"{name}/iteration"]
        assert tensors[f"{name}/validation"].shape == (*runs, len(records))
        if arms.method.learn_alpha:
            for what in ("median", "largest", "negative", "moved"):
                assert tensors[f"{name}/alpha {what}"].shape == runs
        alive = ~tensors[f"{name}/diverged"]
        if alive.any():
            assert records.tolist() == list(range(500, lab.ITERATIONS + 1, 500))
        assert tensors[f"{name}/test"][alive][:, :2].isfinite().all(), name
    assert result.made["in_one_go"]


@pytest.mark.parametrize(("group", "steps"), [("start", 1), ("fixed", 10)])
def test_stored_figures_come_from_the_stored_parameters(result, group, steps):
    """Relative 1e-3: some hundred inner steps in float32, on whatever processor.

    Meta-SGD from 0.01 is held to its trained step only: beyond it errors grow, and rounding too.
    """
    tensors, _ = result
    seed, arm = 3, lab.LAB[group].starts.index(0.01)
    theta, alpha = (
        {key.removeprefix(f"{group}/{kind}."): value[None, seed : seed + 1]
         for key, value in tensors.items() if key.startswith(f"{group}/{kind}.")}
        for kind in ("theta", "alpha")
    )
    again = lab.held_out(theta, alpha, steps=steps).mean(-1)[0, 0]
    assert_close(again, tensors[f"{group}/test"][arm, seed, : steps + 1], rtol=1e-3, atol=0)
    recorded = tensors[f"{group}/validation"][arm, seed, -1]
    validation = lab.held_out(theta, alpha, seed=lab.VALIDATION, n_tasks=100, steps=1)
    assert_close(validation.mean(-1)[0, 0, 1], recorded, rtol=1e-3, atol=0)
