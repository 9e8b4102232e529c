"""Evaluation: the numbers that the book prints, and the pairing that its comparisons rest on."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from cases import EXACT, STEP, carts, gen, recorded, signed_alpha, sines, start, walks
from torch.testing import assert_close

from metasgd_core import Evaluation, adapt, compare, evaluate, init_alpha, per_task, t_interval


def held_out(family, theta, alpha, seed=2000, **changes):
    settings = {"shots": 5, "steps": 3, "n_tasks": 7, "query_shots": 20, "generator": gen(seed)}
    return evaluate(family, theta, alpha, **(settings | changes))


def test_scores_are_the_query_losses_after_each_step_on_the_same_support_points():
    """Step k continues from step k - 1 on the same K points; the query points stay the same too."""
    family = sines()
    theta, _ = start(family)
    alpha = signed_alpha(theta)
    scores = held_out(family, theta, alpha).scores
    g = gen(2000)
    tasks = family.sample_tasks(7, generator=g)
    support = family.sample_data(tasks, None, 5, generator=g)
    query = family.sample_data(tasks, None, 20, generator=g)
    assert scores.shape == (4, 7)
    for steps in range(4):
        phi = adapt(family.loss, per_task(theta, (7,)), per_task(alpha, (7,)), support,
                    steps=steps)
        assert_close(scores[steps], family.loss(phi, query).detach(), **STEP)


def test_every_method_and_every_run_meets_the_same_tasks_and_points():
    """Before the first step nothing but the tasks decides: equal thetas score equally.

    So two runs with one theta and two rates agree at step 0, bit for bit, and a run in company
    scores as it does alone.
    """
    family = sines()
    theta, _ = start(family)
    twice = {n: p.expand(2, *p.shape) for n, p in theta.items()}
    rates = init_alpha(twice, "scalar", torch.tensor([0.01, 0.1], dtype=torch.float64), runs=(2,))
    both = held_out(family, twice, rates)
    assert both.scores.shape == (2, 4, 7)
    assert torch.equal(both.scores[0, 0], both.scores[1, 0])
    for run, rate in enumerate((0.01, 0.1)):
        alone = held_out(family, theta, rate)
        assert_close(both.run(run).scores, alone.scores, **STEP)
    assert_close(held_out(family, theta, 0.01), held_out(family, theta, 0.01), **EXACT)
    assert not torch.equal(held_out(family, theta, 0.01, seed=2001).scores, both.scores[0])


def test_mean_and_interval_are_over_tasks():
    """Scores 1, 2, 3, 6: mean 3, deviation sqrt(14 / 3), 3.18 (t) times that over sqrt(4)."""
    ev = Evaluation(torch.tensor([[1.0, 2.0, 3.0, 6.0], [2.0, 2.0, 2.0, 2.0]]).double())
    assert ev.mean.tolist() == [3.0, 2.0]
    assert ev.ci95.tolist() == pytest.approx([3.1824 * (14 / 3) ** 0.5 / 2, 0.0], rel=1e-4)


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_one_task_that_diverged_leaves_no_mean_to_print(lost):
    """Left out of the mean, the task on which a method fails would improve that method's figure."""
    ev = Evaluation(torch.tensor([[1.0, 2.0, 3.0], [1.0, lost, 3.0]]))
    assert ev.mean.isfinite().tolist() == ev.ci95.isfinite().tolist() == [True, False]


def test_paired_differences_have_the_interval_of_the_differences():
    """Both methods find task 3 hard. Paired, 1 ± 0; the two means alone hide it."""
    ours = Evaluation(torch.tensor([[1.0, 2.0, 30.0]]).double())
    theirs = Evaluation(torch.tensor([[2.0, 3.0, 31.0]]).double())
    difference = theirs.minus(ours)
    assert difference.mean.tolist() == [1.0]
    assert difference.ci95.tolist() == [0.0]
    with pytest.raises(ValueError, match=r"cannot pair scores of shapes \(1, 3\) and \(2, 3\): "
                                         "evaluate both with the same steps and n_tasks"):
        ours.minus(Evaluation(torch.zeros(2, 3)))


def test_what_diverges_is_reported_as_such_and_spoils_its_own_run_only():
    family = sines()
    theta, _ = start(family)
    twice = {n: p.expand(2, *p.shape) for n, p in theta.items()}
    rates = init_alpha(twice, "scalar", torch.tensor([0.01, 1e200], dtype=torch.float64), runs=(2,))
    ev = held_out(family, twice, rates)
    assert ev.mean[0].isfinite().all()
    assert ev.mean[1].isfinite().tolist() == [True, False, False, False]


def test_inputs_are_left_as_they_were_and_no_graph_is_kept():
    family = sines()
    theta, alpha = start(family)
    old = {n: p.clone() for n, p in theta.items()}
    asked = {n: p.requires_grad_() for n, p in theta.items()}
    assert not held_out(family, asked, alpha).scores.requires_grad
    assert_close({n: p.detach() for n, p in theta.items()}, old, **EXACT)
    assert all(p.grad is None for p in theta.values())


def test_it_adapts_even_where_the_caller_has_switched_gradients_off():
    family = sines()
    theta, alpha = start(family)
    expected = held_out(family, theta, alpha)
    with torch.no_grad():
        assert_close(held_out(family, theta, alpha), expected, **EXACT)


class Bare(NamedTuple):
    leaf: torch.Tensor


class Moving:
    """On-policy: one number that is asked to be one more than it was when it collected."""

    on_policy = True
    model = torch.nn.Linear(1, 1, bias=False).double()

    def sample_tasks(self, *batch, generator):
        return Bare(torch.zeros(batch).double())

    def sample_data(self, tasks, phi, shots, *, generator):
        return Bare(phi["weight"].detach()[..., 0] + tasks.leaf[..., None] + 1)

    def loss(self, phi, data):
        return 0.5 * (phi["weight"][..., 0] - data.leaf).square().mean(dim=-1)

    def score(self, phi, data):
        return data.leaf.mean(dim=-1)


def test_on_policy_families_collect_again_at_every_step():
    """Each step adds 1/2 to the number; what the last data show is one more than that."""
    theta = {"weight": torch.zeros(3, 1, 1).double()}
    ev = evaluate(Moving(), theta, 0.5, shots=2, steps=2, n_tasks=4, generator=gen())
    assert ev.mean.tolist() == [[1.0, 1.5, 2.0]] * 3


@pytest.mark.parametrize("family", [sines(), walks()], ids=["supervised", "on-policy"])
def test_a_schedule_is_a_factor_on_alpha_for_each_step(family):
    """Factors 1, 1/2 and 1/4 are three single steps at those rates; all 1 is no schedule."""
    theta, alpha = start(family)
    scores = held_out(family, theta, alpha, schedule=[1, 0.5, 0.25]).scores
    assert not torch.equal(scores[2], held_out(family, theta, alpha).scores[2])
    assert_close(held_out(family, theta, alpha, schedule=(1.0, 1.0, 1.0)),
                 held_out(family, theta, alpha), **EXACT)
    g, phi = gen(2000), per_task(theta, (7,))
    tasks = family.sample_tasks(7, generator=g)
    support = query = None
    for step, factor in enumerate([1, 0.5, 0.25, 0]):
        if support is None or family.on_policy:
            support = family.sample_data(tasks, phi, 5, generator=g)
            query = family.sample_data(tasks, phi, 20, generator=g)
        assert_close(scores[step], family.score(phi, query).detach(), **STEP)
        rates = per_task({n: factor * a for n, a in alpha.items()}, (7,))
        phi = {n: p.detach() for n, p in adapt(family.loss, phi, rates, support).items()}


@pytest.mark.parametrize("schedule", [[], [1, 0.5], [1, 0.5, 0.25, 0.1]])
def test_a_schedule_of_another_length_than_the_steps_is_refused(schedule):
    family = sines()
    with pytest.raises(ValueError, match="schedule needs one factor for each of the 3 steps, got "
                                         f"{len(schedule)}$"):
        held_out(family, *start(family), schedule=schedule)


def test_a_scorer_plays_and_scores_the_query_while_the_family_adapts():
    """Greedy episodes are reported, drawn ones are learned from: both under the same phi."""
    family, collected = recorded(carts())
    scorer, scored = recorded(replace(carts(), greedy=True, horizon=30))
    theta, alpha = start(family)
    scores = held_out(family, theta, alpha, scorer=scorer).scores
    assert len(collected) == len(scored) == 4
    assert all(data.mask.shape[:2] == (7, 5) for data in collected)
    assert all(data.mask.shape[:2] == (7, 20) for data in scored)
    phi = per_task(theta, (7,))
    for step in range(4):
        greedy = (family.logits(phi, scored[step].observation.flatten(1, 2)) > 0).double()
        assert torch.equal(scored[step].action, greedy.unflatten(1, (20, -1)).detach())
        assert_close(scores[step], scored[step].reward.sum(-1).mean(-1), **EXACT)
        phi = adapt(family.loss, phi, per_task(alpha, (7,)), collected[step])
    assert not torch.equal(collected[0].action[:, 0], scored[0].action[:, 0, :12])
    # Also points of supervised tasks can be scored otherwise than they are learned from.
    sine = sines()
    other = replace(sine, model=sine.model)
    assert_close(held_out(sine, *start(sine), scorer=other), held_out(sine, *start(sine)), **EXACT)


@pytest.mark.parametrize(
    ("name", "least"), [("shots", 1), ("query_shots", 1), ("n_tasks", 1), ("steps", 0)]
)
def test_counts_below_the_least_are_refused(name, least):
    family = sines()
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least {least}, "
                                         f"got {least - 1}$"):
        held_out(family, *start(family), **{name: least - 1})


def test_an_alpha_that_is_nan_is_refused():
    family = sines()
    theta, alpha = start(family)
    alpha["layers.0.weight"][2] = torch.nan
    with pytest.raises(ValueError, match=r"alpha\['layers.0.weight'\] holds 1 of 4 entries"):
        held_out(family, theta, alpha)


def test_a_theta_that_is_not_the_models_is_refused():
    family = sines()
    theta, alpha = start(family)
    with pytest.raises(ValueError, match="theta must have the model's names"):
        held_out(family, theta | {"w": torch.zeros(1)}, alpha)


# Few units


def test_the_interval_of_a_few_units_is_students():
    """Five numbers by hand: mean 3, s² = 2.5, t = 2.776445 with four degrees of freedom."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    mean, half = t_interval(values)
    assert float(mean) == 3
    assert float(half) == pytest.approx(2.7764451 * (2.5 / 5) ** 0.5, rel=1e-7)
    both = torch.stack([values, 10 * values], dim=1)
    assert_close(torch.stack(t_interval(both, dim=0)), torch.stack([mean, half])[:, None]
                 * torch.tensor([1.0, 10.0], dtype=torch.float64))


@pytest.mark.parametrize("units", [2, 3, 10])
def test_the_interval_covers_the_mean_in_19_of_20(units):
    """Normal units; within 4 standard errors of 10 000 draws."""
    mean, half = t_interval(torch.randn(10_000, units, generator=gen(1)))
    assert abs(float((mean.abs() < half).double().mean()) - 0.95) < 4 * (0.95 * 0.05 / 1e4) ** 0.5


def test_one_unit_has_no_interval():
    with pytest.raises(ValueError, match=r"at least two independent units along dim 0, got 1 \(val"
                                         r"ues of shape \(1, 4\)\): run more seeds"):
        t_interval(torch.zeros(1, 4), dim=0)


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([-0.5, -0.4, -0.6], None, "lower"),
        ([0.5, 0.4, 0.6], None, "higher"),
        ([-0.1, 0.1, 0.02], None, "not distinguished"),
        ([-0.1, 0.1, 0.02], 0.1, "not distinguished"),  # the interval reaches 0.25
        ([-0.1, 0.1, 0.02], 0.3, "equal within 0.3"),
        ([0.02, 0.03, 0.04], 0.3, "higher"),  # small, but there
    ],
)
def test_what_is_not_told_apart_is_not_called_equal(differences, margin, verdict):
    """A tie that is only a wide interval is the commonest false sentence of such a book."""
    second = torch.tensor([1.0, 2.0, 3.0])
    found = compare(second + torch.tensor(differences), second, margin=margin)
    assert found.verdict == verdict
    assert str(found).endswith(f": {verdict}")


@pytest.mark.parametrize(
    ("first", "second", "margin", "sentence"),
    [
        (torch.zeros(3), torch.zeros(4), None, "pairs two tensors of one shape"),
        (torch.zeros(3, 2), torch.zeros(3, 2), None, "pairs two tensors of one shape"),
        (torch.zeros(1), torch.zeros(1), None, "at least two independent units"),
        (torch.zeros(3), torch.zeros(3), 0.0, "above 0, got 0.0"),
        (torch.tensor([1.0, torch.nan]), torch.zeros(2), None, "how many diverged"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(first, second, margin, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(first, second, margin=margin)
