"""Few-shot images (chapter 12): how well do the methods tell characters of new alphabets apart?

Omniglot needs a file or torchvision: see :mod:`metasgd_core.characters`. Every image is cropped to
its ink, and training turns characters by quarters. Rates are chosen on validation alphabets, for
each method among as many; the evaluation alphabets are met once, by what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from metasgd_core.alpha import init_alpha
from metasgd_core.characters import Characters, Split, glyphs, omniglot
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import (
    FINE_TUNING,
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    Method,
    Style,
)
from metasgd_core.models import ConvNet, PrototypeNet, init_theta
from metasgd_core.studies import Stored, generator, load
from metasgd_core.studies.episodes import (
    AT_ONCE,
    EPISODES,
    TEST_QUERIES,
    VALIDATION,
    best_pair,
    by_steps,
    nearest,
    new_head,
    right,
)
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.images import Images, ImageTasks, crop_to_ink
from metasgd_core.types import Data, Params

#: "ANIL" learns as MAML does, and adapts the last layer alone: elsewhere its rates are 0.
ANIL = replace(MAML, name="ANIL", alpha_shape="tensor", style=None)
#: Reads its support: a class is the mean of its features.
#: Its colour is that of "learned per tensor", which no figure has beside it.
PROTOTYPES = Method("prototypes", "query", reads=True, style=Style("black", "p", "-"))
BY_NAME = {m.name: m for m in (META_SGD, MAML, FOMAML, ANIL, REPTILE, PROTOTYPES, JOINT)}

META_BATCH, QUERY_SHOTS = 8, 3
CLIP, FINAL_LR = 10.0, 0.1
#: Episodes to choose rates on; and, after a joint training, its fine-tuning's rate and steps.
TRIAL_EPISODES, TUNING_EPISODES = 200, 70
#: Seeds of the generators: the first theta, the training tasks.
FIRST, TRAINING = 0, 1

Source = Literal["Omniglot", "glyphs"]
SOURCES: tuple[Source, ...] = ("Omniglot", "glyphs")


@dataclass(frozen=True)
class Setting:
    """One training, several seeds along the runs axis.

    Parameters
    ----------
    method : str
        A key of `BY_NAME`, or "random" for a network that is not trained.
    source : {"Omniglot", "glyphs"}
        The characters to train on.
    iterations, seeds : int
        Of the training.
    ways, shots : int
        Of a task, in training and in the test.
    lr : float, optional
        Of the outer optimiser: Adam, plain SGD for Reptile. None: what was chosen for the method.
    alpha : tuple of float, optional
        The fixed rate, or where the learned ones begin; several: one a seed, all from one theta.
        None: what was chosen.
    filters, meta_batch : int
        Of each convolution; tasks of a meta-iteration.
    norm : str
        As in :class:`~metasgd_core.models.ConvNet`.
    cropped : bool
        Whether images are cropped to their ink.
    """

    method: str
    source: Source = "Omniglot"
    iterations: int = 12_000
    seeds: int = 3
    ways: int = 5
    shots: int = 1
    lr: float | None = None
    alpha: tuple[float, ...] | None = None
    filters: int = 16
    meta_batch: int = META_BATCH
    norm: Literal["none", "layer", "batch"] = "batch"
    cropped: bool = True


#: Nine trials a method: outer rates times first (or fixed) inner rates, or outer rates alone.
INNER = ((1e-3, 3e-3, 1e-2), (0.03, 0.1, 0.4))
OUTER = ((2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 4e-2), (0.0,))
TRIALS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "Meta-SGD": INNER, "MAML": INNER, "FOMAML": INNER,
    "ANIL": (INNER[0], (0.1, 0.4, 1.2)),  # a last layer alone wants greater steps
    "Reptile": ((0.1, 0.3, 1.0), (0.03, 0.1, 0.3)), "prototypes": OUTER, "joint": OUTER,
}  # fmt: skip
RATES = {
    f"{name}, outer rate {lr:g}": Setting(name, iterations=2500, seeds=len(alphas), lr=lr,
                                          alpha=alphas)
    for name, (lrs, alphas) in TRIALS.items()
    for lr in lrs
}
#: What chapter 12 compares first.
MAIN = {
    name: Setting(name, iterations=30_000, seeds=5) for name in ("Meta-SGD", "MAML", "prototypes")
}
#: All methods trained alike, and one thing changed at a time.
METHODS = {name: Setting(name) for name in (*BY_NAME, "random")} | {
    "Meta-SGD, not cropped": Setting("Meta-SGD", cropped=False),
    "Meta-SGD, layer norm": Setting("Meta-SGD", norm="layer"),
}
#: From glyphs to Omniglot, and harder tasks.
SETTINGS = {f"{name}, glyphs": Setting(name, "glyphs") for name in MAIN} | {
    f"{name}, {ways} ways, {shots} shots": Setting(
        name, ways=ways, shots=shots, iterations=6000, meta_batch=META_BATCH * 5 // ways
    )
    for name in MAIN
    for ways, shots in ((5, 5), (20, 1), (20, 5))
}
#: As long as one core does in an hour and a half, with twice the filters.
LONG = {
    name: Setting(name, iterations=150_000, seeds=1, filters=32) for name in ("Meta-SGD", "MAML")
}
JOBS = {"image-rates": RATES, "images": MAIN, "image-methods": METHODS,
        "image-settings": SETTINGS, "image-long": LONG}  # fmt: skip


class Joint(Images):
    """All characters to train on are the classes of one problem, and keep their numbers.

    A task is some of them, for a minibatch. It trains an ordinary classifier; for new characters
    its features serve, under a new last layer.
    """

    def sample_data(
        self, tasks: ImageTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Draw as ever, and label every drawing with its character's own number."""
        x, y = super().sample_data(tasks, phi, shots, generator=generator)
        return Data(x, tasks.character.unsqueeze(-2).expand_as(y))


def characters(source: Source) -> Split:
    """Return the characters of a source."""
    return omniglot() if source == "Omniglot" else glyphs()


def family(setting: Setting, part: Characters, *, training: bool = False) -> Images:
    """Return the tasks of a setting on some characters."""
    images = crop_to_ink(part.images) if setting.cropped else part.images
    net = PrototypeNet if setting.method == "prototypes" else ConvNet
    if training and setting.method == "joint":
        turned = torch.cat([images.rot90(k, (-2, -1)) for k in range(4)])
        model = ConvNet(len(turned), setting.filters, norm=setting.norm)
        # Two drawings each, and so as many a meta-iteration as the others see.
        ways = setting.meta_batch * setting.ways * (setting.shots + QUERY_SHOTS) // 2
        return Joint(model, turned, ways)
    model = net(setting.ways, setting.filters, norm=setting.norm)
    return Images(model, images, setting.ways, turns=4 if training else 1)


def rates(setting: Setting) -> tuple[float, tuple[float, ...]]:
    """Return the outer rate and the first inner rates: the setting's own, or the chosen ones."""
    lr, alpha = setting.lr, setting.alpha
    if lr is None or alpha is None:
        chosen = load("image-rates").notes["chosen"][setting.method]
        lr = chosen["lr"] if lr is None else lr
        alpha = (chosen["alpha"],) if alpha is None else alpha
    return lr, alpha


def first(setting: Setting, model: nn.Module, alphas: tuple[float, ...]) -> tuple[Params, Params]:
    """Return theta and alpha from which a training begins, ``(seeds, *shape)``."""
    method, runs = BY_NAME[setting.method], (setting.seeds,)
    trials = len(alphas) > 1
    theta = init_theta(model, generator=generator(FIRST), runs=(1,) if trials else runs)
    if trials:
        theta = {name: p.repeat(setting.seeds, *[1] * (p.ndim - 1)) for name, p in theta.items()}
    each = torch.tensor(alphas).expand(runs)
    alpha = init_alpha(theta, method.alpha_shape, each, runs=runs)
    if setting.method == "ANIL":
        alpha = {n: a if n.startswith("head") else torch.zeros_like(a) for n, a in alpha.items()}
    return theta, alpha


def train(
    setting: Setting, *, checkpoint: Path | None = None, compiled: bool = False,
    record_every: int = 500,
) -> Iterator[Record]:
    """Train one setting with several seeds at once."""
    method = BY_NAME[setting.method]
    tasks = family(setting, characters(setting.source).training, training=True)
    lr, alphas = rates(setting)
    theta, alpha = first(setting, tasks.model, alphas)
    joint = setting.method == "joint"
    return meta_train(
        tasks, theta, alpha, method, iterations=setting.iterations,
        meta_batch=1 if joint else setting.meta_batch, shots=setting.shots,
        query_shots=1 if joint else QUERY_SHOTS, generator=generator(TRAINING), lr=lr,
        final_lr=FINAL_LR, clip=CLIP, record_every=record_every, checkpoint=checkpoint,
        compiled=compiled and method.objective == "query" and not method.reads,
    )


def learned(setting: Setting, job: Job) -> tuple[Params, Params, dict[str, Tensor]]:
    """Train as a job: theta, alpha, and the losses and seconds on the way."""
    if job.quick:
        setting = replace(setting, iterations=4)
    every = max(1, setting.iterations // 60)
    record, noted = job.train(
        lambda path: train(setting, checkpoint=path, compiled=not job.quick, record_every=every),
        setting.iterations, lambda record: {"losses": record.loss},
    )
    return record.theta, record.alpha, {"losses": noted["losses"], "seconds": noted["seconds"]}


def try_rates(job: Job) -> Stored:
    """Train with one outer rate and several inner ones, and test on validation alphabets."""
    setting, split = RATES[job.name], characters(RATES[job.name].source)
    theta, alpha, curve = learned(setting, job)
    tasks = family(setting, split.validation)
    told = partial(right, tasks, shots=setting.shots, seed=VALIDATION, alone=False,
                   episodes=_enough(job, TRIAL_EPISODES))  # fmt: skip
    if setting.method == "joint":
        theta = new_head(theta, tasks.model)
        rate, step = best_pair(tasks, theta, shots=setting.shots,
                               episodes=_enough(job, TUNING_EPISODES))
        return Stored(told(theta, rate, FINE_TUNING, steps=(step,)) | curve, {})
    return Stored(told(theta, alpha, BY_NAME[setting.method]) | curve, {})


def train_and_test(job: Job, study: str) -> Stored:
    """Train one setting and test it, 5-way 1-shot networks on both sources.

    Stored are how many queries of each episode were told right, at 5 ways also each alone; the loss
    on the way; and of the networks that chapters use, theta and alpha in half precision, as they
    were tested.
    """
    setting, episodes = JOBS[study][job.name], _enough(job, EPISODES)
    tested = SOURCES if (setting.ways, setting.shots) == (5, 1) else (setting.source,)
    splits = {source: characters(source) for source in tested}  # or say at once that it is not here
    if setting.method == "random":
        return untrained(setting, splits, job)
    theta, alpha, tensors = learned(setting, job)
    if setting.method == "joint":
        return Stored(tensors | fine_tuned(theta, setting, splits[setting.source], job), {})
    if study in ("images", "image-long"):
        theta, alpha = ({n: p.half() for n, p in part.items()} for part in (theta, alpha))
        tensors |= {f"theta.{n}": p for n, p in theta.items()}
        if setting.method == "Meta-SGD":
            tensors |= {f"alpha.{n}": a for n, a in alpha.items()}
        theta, alpha = ({n: p.float() for n, p in part.items()} for part in (theta, alpha))
    for source, split in splits.items():
        # 300 queries, each beside up to 100 drawings, would take an hour and 20 GB.
        found = right(family(setting, split.evaluation), theta, alpha, BY_NAME[setting.method],
                      shots=setting.shots, episodes=episodes, alone=setting.ways == 5)
        tensors |= {f"{source}, {name}": part for name, part in found.items()}
    return Stored(tensors, {})


def untrained(setting: Setting, splits: dict[Source, Split], job: Job) -> Stored:
    """Test what learns nothing beforehand: a random network, fine-tuned, and the nearest drawing.

    The latter on the images as they are, ``"Omniglot, nearest, raw"``, and cropped to their ink.
    """
    near = {
        f"{source}, nearest, {name}": nearest(
            family(replace(setting, cropped=name == "cropped"), split.evaluation),
            shots=setting.shots, episodes=_enough(job, EPISODES),
        )
        for source, split in splits.items() for name in ("raw", "cropped")
    }
    split = splits[setting.source]
    model = family(setting, split.evaluation).model
    theta = init_theta(model, generator=generator(FIRST), runs=(setting.seeds,))
    return Stored(near | fine_tuned(theta, setting, split, job), {})


def fine_tuned(theta: Params, setting: Setting, split: Split, job: Job) -> dict[str, Tensor]:
    """Choose rate and steps on validation alphabets, and test a new head with them."""
    tasks = family(setting, split.validation)
    theta = new_head(theta, tasks.model)
    rate, steps = best_pair(tasks, theta, shots=setting.shots,
                            episodes=_enough(job, TRIAL_EPISODES))
    found = right(family(setting, split.evaluation), theta, rate, FINE_TUNING,
                  shots=setting.shots, steps=(steps,), episodes=_enough(job, EPISODES))
    return {
        "chosen": torch.tensor([rate, steps], dtype=torch.float64),
        "best": found[f"{steps} steps"], "best, alone": found[f"{steps} steps, alone"],
    }


def chosen(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the one file, which notes for each method the rates that told most right."""
    best: dict[str, dict[str, float]] = {}
    for name, (lrs, alphas) in TRIALS.items():
        trials = {
            (lr, alpha, steps): told[index].double().mean().item() / (TEST_QUERIES * Setting.ways)
            for lr in lrs
            for steps, told in by_steps(parts[f"{name}, outer rate {lr:g}"].tensors).items()
            for index, alpha in enumerate(alphas)
        }
        lr, alpha, steps = max(trials, key=lambda trial: trials[trial])
        best[name] = {"lr": lr, "alpha": alpha, "steps": steps,
                      "accuracy": trials[lr, alpha, steps]}  # fmt: skip
    return {"image-rates": together(parts, chosen=best)}


def _enough(job: Job, episodes: int) -> int:
    return AT_ONCE if job.quick else episodes


def summary(found: Stored) -> str:
    """Return the accuracies in percent, the mean over seeds and episodes; lowest, highest seed."""
    lines = []
    for name, part in found.tensors.items():
        job, _, what = name.rpartition("/")
        if "steps" in what or "best" in what or "nearest" in what:
            ways = 20 if "20 ways" in job else 5
            seeds = 100 * part.double().mean(-1) / (TEST_QUERIES * ways)
            lines.append(f"{job:32} {what:30} {seeds.mean():5.1f} "
                         f"({seeds.min():.1f} to {seeds.max():.1f})")  # fmt: skip
    return "\n".join(lines)


_ABOUT = {
    "image-rates": ("the methods' rates, nine trials each", "80 minutes"),
    "images": ("Meta-SGD, MAML and prototypes on Omniglot, five seeds", "180 minutes"),
    "image-methods": ("all methods alike, three seeds", "140 minutes"),
    "image-settings": ("from glyphs to Omniglot; 5 and 20 ways, 1 and 5 shots", "110 minutes"),
    "image-long": ("Meta-SGD and MAML, twice the filters, as long as it takes", "95 minutes"),
}
STUDIES = {
    name: Study(
        f"chapter 12: {about}", time, tuple(JOBS[name]),
        try_rates if name == "image-rates" else partial(train_and_test, study=name), summary,
        chosen if name == "image-rates" else None,
    )
    for name, (about, time) in _ABOUT.items()
}  # fmt: skip
