"""The networks of the figure "Draw a character" (chapter 12), and the drawings that it offers.

Trained on glyphs that a pen follows, cropped to the ink, so that they serve a reader's strokes; how
well is measured on Omniglot's drawers, whom the training never meets, as the page asks: one query
at a time, beside the support alone. Omniglot needs a file or torchvision: see
:mod:`metasgd_core.characters`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from metasgd_core.alpha import init_alpha
from metasgd_core.characters import omniglot, written
from metasgd_core.meta_training import meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import ConvNet, init_theta
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.episodes import EPISODES, TEST_QUERIES, nearest, right
from metasgd_core.studies.images import (
    CLIP,
    FINAL_LR,
    FIRST,
    META_BATCH,
    QUERY_SHOTS,
    TRAINING,
)
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.images import Images, crop_to_ink
from metasgd_core.types import Params

#: The networks by their methods, and what needs none.
JOBS = {"Meta-SGD": META_SGD, "MAML": MAML, "pixels": None}
WAYS, FILTERS = 5, 16
ITERATIONS, LR, ALPHA = 10_000, 1e-2, 0.4
#: Drawings of a character to train on.
DRAWINGS = 40
#: The figure offers so many characters of scripts held out, and so many drawings of each.
OFFERED, SHOWN = 30, 4


def family(images: Tensor, *, turns: int = 1) -> Images:
    """Return the tasks on some characters, cropped to the ink."""
    return Images(ConvNet(WAYS, FILTERS), crop_to_ink(images), WAYS, turns)


def held_out() -> Images:
    """Return tasks on characters of Omniglot's evaluation alphabets."""
    return family(omniglot().evaluation.images)


def learned(job: Job, method: Method) -> dict[str, Params]:
    """Train one network; return its theta and alpha in half precision, leaves ``(1, *shape)``."""
    iterations = 4 if job.quick else ITERATIONS
    tasks = family(written(4 if job.quick else DRAWINGS).training.images, turns=4)
    theta = init_theta(tasks.model, generator=generator(FIRST), runs=(1,))
    alpha = init_alpha(theta, method.alpha_shape, torch.full((1,), ALPHA), runs=(1,))
    record, _ = job.train(
        lambda checkpoint: meta_train(
            tasks, theta, alpha, method, iterations=iterations, meta_batch=META_BATCH, shots=1,
            query_shots=QUERY_SHOTS, generator=generator(TRAINING), lr=LR, final_lr=FINAL_LR,
            clip=CLIP, record_every=min(iterations, 500), checkpoint=checkpoint,
            compiled=not job.quick,
        ),
        iterations,
    )
    return {name: {k: p.half() for k, p in part.items()}
            for name, part in {"theta": record.theta, "alpha": record.alpha}.items()}  # fmt: skip


def tested(method: Method, stored: dict[str, Params], episodes: int) -> dict[str, Tensor]:
    """Return how many queries of each episode it tells right, with a step and without one."""
    theta, alpha = ({k: p.float() for k, p in part.items()} for part in stored.values())
    for_page = partial(right, held_out(), theta, method=method, shots=1, steps=(1,),
                       episodes=episodes)
    found = for_page(alpha=alpha) | {"0 steps, alone": for_page(alpha=0.0)["1 steps, alone"]}
    return {name: part[0] for name, part in found.items()}


def work(job: Job) -> Stored:
    """Do one job: a network and how it does on Omniglot, or the nearest neighbour and the sheet."""
    episodes, method = 10 if job.quick else EPISODES, JOBS[job.name]
    if method is None:
        likest = nearest(held_out(), shots=1, episodes=episodes)
        return Stored({"offered": offered(), "nearest": likest}, {})
    stored = learned(job, method)
    numbers = {name: torch.cat([p.flatten() for p in part.values()])
               for name, part in stored.items()}  # fmt: skip
    if method.alpha_shape == "scalar":
        numbers["alpha"] = numbers["alpha"][:1]
    return Stored(numbers | tested(method, stored, episodes), {})


def offered() -> Tensor:
    """Return the drawings that the figure offers, ``(characters, drawings, 98)``: a bit a pixel."""
    images = written(SHOWN).evaluation.images
    images = crop_to_ink(images[:: len(images) // OFFERED][:OFFERED])
    bits = images.flatten(-2).unflatten(-1, (-1, 8)) * 2 ** torch.arange(7, -1, -1)
    return bits.sum(-1).to(torch.uint8)


def results(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the file of the figure."""
    notes = {"iterations": ITERATIONS, "drawings": DRAWINGS, "queries": TEST_QUERIES * WAYS}
    return {"figure-draw": together(parts, **notes)}


def summary(found: Stored) -> str:
    """Return the accuracies on held-out Omniglot, and 95 % intervals over episodes."""
    lines = []
    for name, part in found.tensors.items():
        if part.dtype == torch.uint8 and name != "pixels/offered":
            share = 100 * part.double() / found.notes["queries"]
            half = 1.96 * share.std() / math.sqrt(len(share))
            lines.append(f"{name:26} {share.mean():5.1f} ± {half:.1f} %")
    return "\n".join(lines)


STUDIES = {
    "figure-draw": Study(
        "the networks of \"Draw a character\", chapter 12", "10 minutes", tuple(JOBS), work,
        summary, results,
    )
}
