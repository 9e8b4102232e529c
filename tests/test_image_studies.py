"""The studies of few-shot images: what is trained, chosen and counted, on a tiny Omniglot."""

import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from cases import EXACT, gen
from torch.testing import assert_close

from metasgd_core import evaluate
from metasgd_core.characters import VARIABLE, Characters, Split
from metasgd_core.methods import FINE_TUNING, MAML, META_SGD
from metasgd_core.models import ConvNet, PrototypeNet, init_theta
from metasgd_core.studies import Stored, episodes, images, jobs, read
from metasgd_core.studies.jobs import Job
from metasgd_core.tasks.images import Images

#: Jobs of every kind.
KINDS = [
    *(("image-rates", f"{method}, outer rate {lrs[1]:g}")
      for method, (lrs, _) in images.TRIALS.items()),
    ("images", "Meta-SGD"), ("images", "prototypes"), ("image-methods", "joint"),
    ("image-methods", "random"), ("image-methods", "Meta-SGD, layer norm"),
    ("image-methods", "Meta-SGD, not cropped"), ("image-settings", "prototypes, glyphs"),
    ("image-settings", "Meta-SGD, 5 ways, 5 shots"), ("image-settings", "MAML, 20 ways, 5 shots"),
    ("image-long", "MAML"),
]  # fmt: skip


def drawn(seed, characters=24):
    """Return characters of five dots each, 20 drawings in which one in four has moved a little."""
    place = torch.randint(1, 7, (2, characters, 1, 5), generator=gen(seed))
    moved = torch.randint(-3, 4, (2, characters, 20, 5), generator=gen(seed + 1))
    row, column = place + (moved.abs() > 2) * moved.sign()
    ink = torch.zeros(characters, 20, 8, 8, dtype=torch.bool)
    ink[torch.arange(characters)[:, None, None], torch.arange(20)[:, None], row, column] = True
    return Characters(ink, ("Tiny",) * characters)


@pytest.fixture
def tiny(monkeypatch):
    """Let both sources be tiny, networks narrow and fine-tuning short; rates as if chosen."""
    split = Split(drawn(0), drawn(10), drawn(20))
    for source in ("omniglot", "glyphs"):
        monkeypatch.setattr(images, source, lambda: split)
    for net in (ConvNet, PrototypeNet):
        monkeypatch.setattr(images, net.__name__, partial(net, size=8))
    for settings in images.JOBS.values():
        for name, setting in settings.items():
            seeds = setting.seeds if setting.alpha else min(setting.seeds, 2)
            monkeypatch.setitem(settings, name, replace(setting, filters=2, seeds=seeds))
    monkeypatch.setattr(episodes, "FINE_RATES", (0.1, 1.0))
    monkeypatch.setattr(episodes, "FINE_STEPS", (1, 3))
    chosen = {name: {"lr": 0.01, "alpha": 0.4} for name in images.BY_NAME}
    monkeypatch.setattr(images, "load", lambda name: Stored({}, {"chosen": chosen}))
    return split


def done(study, name, folder, **changes):
    """Do a quick job, and return what it stored."""
    job = Job(name, folder, quick=True, **changes)
    jobs.do(images.STUDIES[study].work, job)
    return read(folder / f"{name}.safetensors").tensors


# ---- jobs


@pytest.mark.parametrize(("study", "name"), KINDS, ids=lambda part: part)
def test_a_job_stores_counts_of_every_seed_and_episode(study, name, tiny, tmp_path):
    """All that chapter 12 may ask of it, and none of it out of range."""
    setting, found = images.JOBS[study][name], done(study, name, tmp_path)
    counts = {n: x for n, x in found.items()
              if "step" in n or "best" in n or "nearest" in n}  # fmt: skip
    for what, part in counts.items():
        assert part.shape == (10,) if "nearest" in what else (setting.seeds, 10)
        assert part.dtype == (torch.int16 if setting.ways == 20 else torch.uint8)
        assert 0 <= part.min() <= part.max() <= 15 * setting.ways
    looks = [1] if setting.method == "prototypes" else [0, 1, 3, 5]
    if study == "image-rates":
        expected = {f"{n} steps" for n in looks} if setting.method != "joint" else set(counts)
        assert len(counts) == len(expected)
    elif setting.method in ("joint", "random"):
        expected = {"best", "best, alone"}
        if setting.method == "random":
            expected |= {f"{source}, nearest, {how}" for source in images.SOURCES
                         for how in ("raw", "cropped")}  # fmt: skip
        rate, steps = found["chosen"].tolist()
        assert round(rate, 6) in episodes.FINE_RATES
        assert steps in episodes.FINE_STEPS
    else:
        sources = images.SOURCES if (setting.ways, setting.shots) == (5, 1) else ("Omniglot",)
        expected = {f"{s}, {n} steps{a}" for s in sources for n in looks
                    for a in (("", ", alone") if n and setting.ways == 5 else ("",))}  # fmt: skip
    assert set(counts) == expected
    if setting.method != "random":
        assert found["losses"].shape == (setting.seeds, 4)
        assert found["losses"].isfinite().all()
    whole = {n.partition(".")[0] for n in found if "." in n}
    assert whole == (
        set() if study not in ("images", "image-long")
        else {"theta", "alpha"} if setting.method == "Meta-SGD" else {"theta"}
    )


def test_a_stored_network_gives_the_stored_counts(tiny, tmp_path):
    """It was rounded to half precision first, and tested then: a page can show what was counted."""
    found = done("images", "Meta-SGD", tmp_path)
    parts = [{n.removeprefix(f"{part}."): x.float() for n, x in found.items()
              if n.startswith(f"{part}.")} for part in ("theta", "alpha")]  # fmt: skip
    assert found["theta.head.weight"].dtype == torch.float16
    tasks = images.family(images.MAIN["Meta-SGD"], tiny.evaluation)
    again = images.right(tasks, *parts, META_SGD, shots=1, episodes=10)
    for name, part in again.items():
        assert_close(found[f"Omniglot, {name}"], part, **EXACT)


@pytest.mark.parametrize(("study", "name"), [
    ("images", "Meta-SGD"), ("images", "prototypes"), ("image-methods", "joint"),
])
def test_a_job_killed_and_resumed_ends_as_the_unbroken_one(study, name, tiny, tmp_path):
    """Bit for bit; tests/killed_study.py kills the runner that all studies share for real."""
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    for folder in (unbroken, resumed):
        folder.mkdir()
    expected = done(study, name, unbroken)
    told = []

    def killed(fraction):
        told.append(fraction)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done(study, name, resumed, tell=killed)
    assert told == [0.225, 0.45]
    found = done(study, name, resumed)
    for part in (expected, found):
        part.pop("seconds")
    assert_close(found, expected, **EXACT)


@pytest.mark.parametrize(("study", "name"), [
    ("image-rates", "MAML, outer rate 0.01"), ("images", "MAML"),
    ("image-methods", "random"), ("image-settings", "Meta-SGD, glyphs"),
])
def test_without_omniglot_a_job_says_so_at_once(study, name, tmp_path, monkeypatch):
    """Not after an hour of training on glyphs."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(images, "learned", None)
    with pytest.raises(RuntimeError, match=r"^Omniglot is not here .* or name a file in") as error:
        done(study, name, tmp_path)
    assert "\n" not in str(error.value)


# ---- what is chosen


def test_every_method_has_as_many_trials():
    assert set(images.TRIALS) == set(images.BY_NAME)
    trials = Counter()
    for setting in images.RATES.values():
        assert len(setting.alpha) == setting.seeds
        assert len(set(setting.alpha)) == setting.seeds
        trials[setting.method] += setting.seeds
    assert len(set(trials.values())) == 1, trials
    assert len({(s.method, s.lr) for s in images.RATES.values()}) == len(images.RATES)
    assert len({(s.iterations, s.source, s.meta_batch) for s in images.RATES.values()}) == 1


@pytest.mark.parametrize(("at", "index", "steps"), [(0, 0, 5), (-1, -1, 1), (1, 1, 3)])
def test_the_best_of_all_trials_is_chosen(at, index, steps):
    """Wherever it is, by the mean over episodes; what needed no step is not asked."""
    lrs, alphas = images.TRIALS["MAML"]
    lr, alpha = lrs[at], alphas[index]
    parts = {}
    for name, setting in images.RATES.items():
        parts[name] = Stored({
            "losses": torch.full((setting.seeds, 4), 99.0),
            "0 steps": torch.full((setting.seeds, 10), 75).byte(),
        } | {
            f"{n} steps": torch.randint(20, 40, (setting.seeds, 10), generator=gen(n)).byte()
            for n in (1, 3, 5)
        }, {})  # fmt: skip
    parts[f"MAML, outer rate {lr:g}"].tensors[f"{steps} steps"][index] = 60
    results = images.chosen(parts)
    best = results["image-rates"].notes["chosen"]
    assert set(best) == set(images.BY_NAME)
    assert best["MAML"] == {"lr": lr, "alpha": alpha, "steps": steps, "accuracy": 0.8}
    assert f"MAML, outer rate {lr:g}/losses" in results["image-rates"].tensors


def test_rates_are_chosen_without_the_evaluation_alphabets(tiny, tmp_path, monkeypatch):
    """What has met them once cannot be reported as new."""
    monkeypatch.setattr(images, "omniglot", lambda: tiny._replace(evaluation=None))
    for name in ("Meta-SGD, outer rate 0.01", "joint, outer rate 0.001"):
        done("image-rates", name, tmp_path)


def test_a_settings_own_rates_come_before_the_chosen_ones(tiny):
    setting = images.MAIN["MAML"]
    assert images.rates(setting) == (0.01, (0.4,))
    assert images.rates(replace(setting, lr=0.5)) == (0.5, (0.4,))
    assert images.rates(replace(setting, alpha=(0.1, 0.2))) == (0.01, (0.1, 0.2))


def test_trials_share_one_theta_and_seeds_do_not():
    setting, model = images.Setting("ANIL", seeds=3), ConvNet(5, 2)
    theta, alpha = images.first(setting, model, (0.1, 0.4, 1.0))
    weight = theta["convs.0.weight"]
    assert_close(weight, weight[:1].expand_as(weight), **EXACT)
    assert_close(alpha["head.bias"].flatten(), torch.tensor([0.1, 0.4, 1.0]), **EXACT)
    assert all((a == 0).all() for n, a in alpha.items() if not n.startswith("head"))
    weight = images.first(setting, model, (0.4,))[0]["convs.0.weight"]
    assert len(weight.flatten(1).unique(dim=0)) == 3


def test_fine_tuning_takes_the_best_pair(monkeypatch):
    """A rate and a number of steps, by the mean over seeds and episodes together."""
    def right(tasks, theta, rate, method, *, steps, **rest):
        assert method is FINE_TUNING
        return {f"{n} steps": torch.tensor([[30, 40], [30, 100 if (rate, n) == (0.3, 20) else 50]])
                for n in steps}  # fmt: skip

    monkeypatch.setattr(episodes, "right", right)
    assert episodes.best_pair(None, {}, shots=1, episodes=10) == (0.3, 20)


def test_a_new_head_prefers_no_class():
    old, new = ConvNet(40, 2), ConvNet(5, 2)
    theta = init_theta(old, generator=gen(), runs=(3,))
    fresh = episodes.new_head(theta, new)
    assert fresh["head.weight"].shape == (3, 5, 8)
    assert not fresh["head.weight"].any()
    assert not fresh["head.bias"].any()
    assert_close(fresh["convs.2.weight"], theta["convs.2.weight"], **EXACT)


def test_joint_labels_keep_their_numbers():
    """A character's number is its label in every task: one problem, not many."""
    number = torch.arange(1, 13.0).view(12, 1, 1, 1).expand(12, 4, 4, 4)
    tasks = images.Joint(ConvNet(12, 1, size=4), number, 6)
    x, y = tasks.sample_data(tasks.sample_tasks(9, generator=gen()), None, 2, generator=gen())
    assert_close(x[..., 0, 0, 0].long() - 1, y, **EXACT)
    assert len(y.unique()) == 12


def test_a_joint_training_sees_as_many_drawings_as_the_others(tiny):
    setting = images.METHODS["joint"]
    big = Characters(tiny.training.images.repeat(2, 1, 1, 1), ())
    joint, other = (images.family(replace(setting, method=name), big, training=True)
                    for name in ("joint", "MAML"))  # fmt: skip
    assert len(joint.images) == 4 * len(other.images) == 192
    assert_close(joint.images[50], joint.images[2].rot90(1, (-2, -1)), **EXACT)
    assert 2 * joint.ways == setting.meta_batch * other.ways * (setting.shots + images.QUERY_SHOTS)


# ---- what is counted


def network(kind=ConvNet, seeds=3, **settings):
    """Return tasks on tiny characters, and a theta none of whose answers are a toss-up."""
    tasks = Images(kind(3, 2, size=8, **settings).double(), drawn(5, 8).images, 3)
    return tasks, init_theta(tasks.model, generator=gen(1), runs=(seeds,))


@pytest.mark.parametrize("method", [MAML, META_SGD, images.PROTOTYPES], ids=lambda m: m.name)
def test_a_seed_counts_alone_as_among_others(method):
    tasks, theta = network(PrototypeNet if method.reads else ConvNet)
    alpha = {n: 0.4 + 0.1 * torch.rand(p.shape, generator=gen(2), dtype=p.dtype)
             for n, p in theta.items()}  # fmt: skip
    together = images.right(tasks, theta, alpha, method, shots=2, episodes=20)
    for seed in range(3):
        mine = [{n: p[seed : seed + 1] for n, p in part.items()} for part in (theta, alpha)]
        alone = images.right(tasks, *mine, method, shots=2, episodes=20)
        assert_close(alone, {n: part[seed : seed + 1] for n, part in together.items()}, **EXACT)


@pytest.mark.parametrize("method", [MAML, images.PROTOTYPES], ids=lambda m: m.name)
def test_right_counts_what_evaluate_scores(method):
    """On ten episodes both draw the same, and both may ask after each of the first steps."""
    tasks, theta = network(PrototypeNet if method.reads else ConvNet)
    steps = 1 if method.reads else 3
    found = images.right(tasks, theta, 0.4, method, shots=2, steps=(0, 1, 3), episodes=10)
    scores = evaluate(tasks, theta, 0.4, shots=2, query_shots=15, steps=steps, n_tasks=10,
                      generator=gen(episodes.TEST), method=method).scores
    assert len(found) == (2 if method.reads else 5)
    for step, told in (episodes.by_steps(found) | {0: found.get("0 steps")}).items():
        if told is not None:
            assert_close(told.double(), (45 * scores[:, step]).round(), **EXACT)
    assert len(next(iter(found.values())).unique()) > 3


def test_alone_differs_with_batch_norm_only():
    for norm in ("layer", "batch"):
        tasks, theta = network(norm=norm)
        found = images.right(tasks, theta, 0.4, MAML, shots=1, steps=(1,), episodes=10)
        assert torch.equal(found["1 steps"], found["1 steps, alone"]) is (norm == "layer")


def test_the_nearest_drawing_has_the_greatest_cosine():
    """By hand: a bar, and a square that holds it, so that products without lengths would tie.

    One of the bar's sixteen drawings is the square. In the query it is told to be one; in the
    support it is as like a square as the other, the first is taken, and one class is all wrong.
    """
    bar = torch.zeros(4, 4)
    bar[1, :3] = 1
    square = torch.zeros(4, 4)
    square[:3, :3] = 1
    drawings = torch.stack([torch.stack([square] + 15 * [bar]), torch.stack(16 * [square])])
    tasks = Images(ConvNet(2, 1, size=4), drawings, 2)
    told = images.nearest(tasks, shots=1, episodes=100)
    odd = torch.cat([
        (support.x.sum((-4, -3, -2, -1)) == 18).flatten()
        for support, _ in episodes.draw(tasks, 1, 100, episodes.TEST)
    ])  # fmt: skip
    assert 0 < odd.sum() < 30
    assert_close(told.long(), torch.where(odd, 15, 29), **EXACT)


def test_more_shots_are_all_looked_at(tiny):
    tasks = images.family(images.METHODS["random"], tiny.evaluation)
    one, five = (images.nearest(tasks, shots=shots, episodes=50).double().mean()
                 for shots in (1, 5))  # fmt: skip
    assert 20 < one < five < 75


def test_the_summary_is_in_percent(tiny):
    told = torch.tensor([[15, 30], [45, 60]]).byte()
    found = Stored({"MAML/Omniglot, 1 steps": told, "MAML/losses": torch.zeros(2),
                    "Meta-SGD, 20 ways, 1 shots/Omniglot, 1 steps": torch.tensor([[30, 30]]),
                    "random/glyphs, nearest, raw": torch.tensor([15, 30])}, {})  # fmt: skip
    percent = [line[-22:].split() for line in images.summary(found).splitlines()]
    assert percent == [["50.0", "(30.0", "to", "70.0)"], ["10.0", "(10.0", "to", "10.0)"],
                       ["30.0", "(30.0", "to", "30.0)"]]  # fmt: skip
