"""The study of chapter 10: trained, chosen, tested and counted as it says, on a small scale."""

from dataclasses import replace
from math import inf, nan

import pytest
import torch
from cases import gen
from torch.testing import assert_close

from metasgd_core import META_SGD, adapt, evaluate, per_task
from metasgd_core.floor import floor
from metasgd_core.models import LinearAttention
from metasgd_core.studies import memory
from metasgd_core.studies.exploded import statistics
from metasgd_core.studies.jobs import Job, together

#: Jobs of every kind; the others differ in a network.
KINDS = [
    "neural process, fixed", "GRU, varying", "causal transformer, fixed", "Meta-SGD, fixed",
    "Meta-Curvature, varying", "last layer, one rate", "last layer, a rate an entry",
    "last layer, a matrix", "linear attention", memory.FLOORS, memory.RANDOM,
]


@pytest.fixture(autouse=True)
def two_seeds(monkeypatch):
    monkeypatch.setattr(memory, "SEEDS", 2)
    monkeypatch.setattr(memory, "META_BATCH", 2)


def job(name, folder, quick=True):
    return Job(name, folder, quick)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_job_is_trained_and_tested(name, tmp_path):
    """All that its text promises is there, for each seed, and finite after a few iterations."""
    found = memory.work(job(name, tmp_path)).tensors
    if name == memory.FLOORS:
        assert {key: part.shape for key, part in found.items()} == {"Bayes": (), "step": (6,)}
        return
    sets = 1 + len(memory.OFF)
    if name == memory.RANDOM:
        assert found["on"].shape == (sets, 2, 4)
        return
    row = memory.JOBS[name]
    steps = 1 if row.method.reads else memory.STEPS
    assert found["errors"].shape == (len(memory.SHOTS), 2, steps + 1, 4)
    assert found["off"].shape == (len(memory.OFF), 2, steps + 1, 4)
    assert found["errors"][:, :, 1].isfinite().all()
    assert ("on" in found) is (name in memory.GO_ON)
    assert found["chosen"] == memory.RATES[int(found["trials"].argmin())]
    assert found["iteration"][-1] == 12
    assert found["way"].shape == (2, 2, len(found["iteration"]))
    assert (found["processor"] > 0).all()
    stored = {key for key in found if key.startswith("theta.")}
    assert bool(stored) is (row.family == "fixed")
    if name in memory.LINEAR:
        assert found["curves"].shape == (2, 100, 50)
        assert ("by hand" in found) is not row.method.reads


def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    """Killed after its trials, a job goes on from their files and finds the same."""
    name = "last layer, one rate"
    first = memory.work(job(name, tmp_path)).tensors
    asked = []

    def watched(*args, **kwargs):
        for record in trained(*args, **kwargs):
            asked.append(record.iteration)
            yield record

    trained = memory.trained
    monkeypatch.setattr(memory, "trained", watched)
    again = memory.work(job(name, tmp_path)).tensors
    assert asked == [4] * len(memory.RATES) + [12]  # the last records alone
    assert_close(again, first, rtol=0, atol=0, equal_nan=True)


def test_the_rate_is_the_best_of_its_trials_and_a_trial_that_diverged_is_not(tmp_path, monkeypatch):
    """The measure is the geometric mean over the numbers of shots."""
    row = memory.JOBS["MAML, fixed"]
    worst = {0.001: 3.0, 0.002: 1.0, 0.004: inf, 0.016: 4.0, 0.032: 5.0}

    def trained(row, lr, *rest):
        if lr == 0.008:
            raise FloatingPointError("every run had diverged")
        return [memory.Record(4, torch.zeros(2), {"lr": torch.tensor(lr)}, {}, torch.zeros(2))]

    def errors(row, theta, alpha, shots, **settings):
        lr = round(float(theta["lr"]), 4)
        return torch.full((2, 2, 10), worst[lr] * 2.0 ** memory.SHOTS.index(shots))

    monkeypatch.setattr(memory, "trained", trained)
    monkeypatch.setattr(memory, "errors", errors)
    monkeypatch.setattr(Job, "train", lambda self, records, n: ([*records(None)][-1], {}))
    lr, trials = memory.choose(row, job("a", tmp_path))
    assert lr == 0.002
    assert_close(trials, torch.tensor([12.0, 4.0, inf, inf, 16.0, 20.0]).double())


def test_statistics_hide_no_task_that_exploded():
    """Mean and median know of it, it is counted, and the mean of the others is without it."""
    found = statistics(torch.tensor([[1.0, 2.0, 6.0], [1.0, nan, 5000.0], [nan, inf, nan]]))
    assert_close(found, torch.tensor([
        [3.0, 2.0, 0.0, 3.0], [inf, 5000.0, 2.0, 1.0], [inf, inf, 3.0, nan]
    ]).double(), equal_nan=True)  # fmt: skip


def test_the_errors_are_those_of_evaluate_on_the_same_curves(monkeypatch):
    """Going on by no steps is the method itself: by its step, or by reading."""
    monkeypatch.setattr(memory, "SAFE_STEPS", 0)
    monkeypatch.setattr(memory, "SAFE_TASKS", 6)
    for name in ("Meta-SGD, fixed", "Meta-Curvature, fixed", "neural process, fixed"):
        row = memory.JOBS[name]
        theta, alpha = row.begin(2)
        sets = memory.go_on(row, theta, alpha, Job(name, None))
        for found, change in zip(sets, ({}, *memory.OFF.values()), strict=True):
            scores = evaluate(
                replace(row.tasks(), **change), theta, alpha, shots=memory.OFF_SHOTS, steps=1,
                n_tasks=6, generator=gen(memory.TEST), method=row.method,
            ).scores
            assert_close(found, statistics(scores[:, 1]), rtol=1e-4, atol=1e-5)


def test_to_go_on_helps_where_the_support_tells(monkeypatch):
    """From a random start, more steps fit the own tasks better."""
    monkeypatch.setattr(memory, "SAFE_TASKS", 5)
    row = replace(memory.JOBS["MAML, fixed"], method=memory.MAML)
    theta, _ = row.begin(2)
    found = []
    for steps in (0, 60):
        monkeypatch.setattr(memory, "SAFE_STEPS", steps)
        found.append(memory.go_on(row, theta, memory.init_alpha(theta, "scalar", 0.0),
                                  Job("random", None))[0, :, 0])
    assert (found[1] < 0.8 * found[0]).all()


def test_a_left_out_point_is_predicted_from_the_others():
    """Its own y plays no part, or a model that copies would look good."""
    row = memory.JOBS["neural process, fixed"]
    family = row.tasks()
    theta = per_task(row.begin(1)[0], (1, 3))
    tasks = family.sample_tasks(1, 3, generator=gen(1))
    x, y = family.sample_data(tasks, None, memory.OFF_SHOTS, generator=gen(2))
    whole = memory._left_out(family, theta, memory.Data(x, y))
    by_hand = []
    for k in range(memory.OFF_SHOTS):
        others = [i for i in range(memory.OFF_SHOTS) if i != k]
        known = theta | family.model.read(theta, memory.Data(x[..., others, :], y[..., others, :]))
        by_hand.append(family.loss(known, memory.Data(x[..., [k], :], y[..., [k], :])))
    assert_close(whole, torch.stack(by_hand).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rates", ["one rate", "a rate an entry", "a matrix"])
def test_the_last_layers_step_is_adapts_and_the_hand_written_attention(rates):
    """Other numbers than the first ones: each rate on its own place."""
    row = memory.LINEAR[f"last layer, {rates}"]
    theta, alpha = row.begin(2)
    alpha = {"A": alpha["A"] + 0.02 * torch.randn(alpha["A"].shape, generator=gen(3))}
    assert float(memory.curves(row, theta, alpha, n_tasks=4)["by hand"]) < 2e-5
    if rates == "a matrix":
        return
    family = row.tasks()
    data = family.sample_data(family.sample_tasks(2, 3, generator=gen(1)), None, 10,
                              generator=gen(2))
    theta, A = per_task(theta, (2, 3)), alpha["A"].unsqueeze(1)
    plain = {n: torch.zeros_like(p) for n, p in theta.items()}
    plain["layers.2.weight"] = A[..., : 1 if rates == "one rate" else -1].expand(2, 3, 1, 40)
    plain["layers.2.bias"] = A[..., -1].expand(2, 3, 1)
    mine = adapt(family.loss, theta, {"A": A}, data, rule=row.method.rule)
    assert_close(mine, adapt(family.loss, theta, plain, data), rtol=1e-5, atol=1e-6)


def test_the_floors_are_those_of_the_formula():
    found = memory.floors(4000)
    assert 1.2 < found["Bayes"] < found["step"][0] - 0.03
    for shots, error in zip(memory.SHOTS, found["step"], strict=True):
        assert float(error) == pytest.approx(floor(shots), rel=0.08)


def test_the_rows_have_the_numbers_that_their_names_say():
    """The small process has as many as Meta-SGD learns, to one in twenty; each row its family."""
    def size(name):
        theta, alpha = memory.JOBS[name].begin(1)
        learns = memory.JOBS[name].method.learn_alpha
        return sum(p.numel() for part in (theta, alpha)[: 1 + learns] for p in part.values())

    assert abs(size("small neural process, fixed") / size("Meta-SGD, fixed") - 1) < 0.05
    for name, row in memory.JOBS.items():
        assert row.tasks().frequency == ((0.8, 1.2) if "varying" in name else (1.0, 1.0))
    assert isinstance(memory.JOBS["linear attention"].tasks().model, LinearAttention)
    assert memory.JOBS["Meta-SGD, fixed"].method == replace(META_SGD, objective="shots")


def test_the_summary_has_a_line_for_every_row(tmp_path, monkeypatch):
    rows = {name: memory.JOBS[name] for name in ("last layer, one rate", "linear attention")}
    monkeypatch.setattr(memory, "JOBS", rows)
    parts = {name: memory.work(job(name, tmp_path)) for name in (*rows, memory.FLOORS)}
    lines = memory.summary(together(parts)).splitlines()
    assert len(lines) == 1 + len(rows) + 2
    assert lines[2].startswith("linear attention")
    assert "   24, " in lines[2]  # 12 meta-iterations of 2 tasks
