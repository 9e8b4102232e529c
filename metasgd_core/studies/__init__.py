"""The studies that the chapters read: what is trained, how it is tested, and what was found.

``python -m metasgd_core.studies`` lists them and runs them; :func:`load` reads what they stored.
A chapter imports a study's functions and runs a small part of it in the page.

A study is one file of this folder. It defines

- ``JOBS``, or any other table from the name of a job to what that job is to do;
- ``work(job)``: do one job, return a :class:`Stored`; ``job.train`` trains so that a kill costs
  no more than what came after the last record, ``job.quick`` asks for seconds instead of minutes;
- ``summary(stored)``: the few lines that the command prints in the end;
- ``STUDIES = {"name": Study(about, time, tuple(JOBS), work, summary)}``, by which the command finds
  it (:class:`metasgd_core.studies.jobs.Study`).

The rest is the same for all: jobs run in several processes, each writes its own file under
``_build/studies/NAME`` when it is done, the same command goes on after a kill, and the result,
``results/NAME.safetensors`` with tensors named ``job/tensor``, says how it was made.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metasgd_core.checkpoint import load_checkpoint, save_checkpoint

PACKAGE = Path(__file__).resolve().parents[1]
#: Results that do not lie in results/ under their own name.
_ELSEWHERE = {
    "table": "results/sinusoid-table",
    "figure-sine": "widgets/data/sine",
    "figure-alpha-lab": "widgets/data/alphalab",
    "figure-cartpole": "widgets/data/cartpole",
    "figure-draw": "widgets/data/draw",
    "figure-guesser": "widgets/data/guesser",
}
_MADE = (
    "command", "seconds", "in_one_go", "processes", "torch", "python", "machine", "cores", "date",
    "version",
)


class Stored(NamedTuple):
    """What a study, or one of its jobs, has found.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By name, ``job/tensor`` in the file of a study.
    notes : dict
        What JSON can hold.
    """

    tensors: dict[str, Tensor]
    notes: dict[str, Any]

    @property
    def made(self) -> dict[str, Any]:
        """How it was made: command, seconds, in_one_go, processes, torch, …, date, version.

        The seconds are those of all sessions, if the command was killed and went on. Files from
        before all studies had one runner say less.
        """
        made = self.notes.get("made", self.notes)
        if made and not made.keys() & set(_MADE):  # an older table: one a training, by two commands
            made = max(made.values(), key=lambda one: one["seconds"])
        return {key: made[key] for key in _MADE if key in made}


def load(name: str) -> Stored:
    """Read a stored result by its name, as ``studies.load("table")``.

    Raises
    ------
    ValueError
        If there is no such result, or its file is not whole.
    """
    path = _path(name)
    if path.with_name(f"{path.name}.json").exists():
        return Stored({}, json.loads(path.with_name(f"{path.name}.json").read_text("utf-8")))
    if not path.with_name(f"{path.name}.safetensors").exists():
        moved = {file: name for name, file in _ELSEWHERE.items()}
        files = (*PACKAGE.glob("results/*.*"), *PACKAGE.glob("widgets/data/*.*"))
        stems = {str(f.relative_to(PACKAGE).with_suffix("").as_posix()) for f in files}
        known = sorted(moved.get(stem, stem.removeprefix("results/")) for stem in stems)
        raise ValueError(f"there is no stored result {name!r}; there are {', '.join(known)}")
    return read(path.with_name(f"{path.name}.safetensors"))


def save(name: str, stored: Stored) -> Path:
    """Write a result where :func:`load` finds it, and return the file: JSON without tensors."""
    path = _path(name)
    if stored.tensors:
        path = path.with_name(f"{path.name}.safetensors")
        save_checkpoint(path, *stored)
        return path
    text = json.dumps(stored.notes, indent=1)
    text = re.sub(r"\[[^][]*\]", lambda row: " ".join(row[0].split()), text)  # a row on one line
    path = path.with_name(f"{path.name}.json")
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(path: Path) -> Stored:
    """Read a file of tensors and notes."""
    tensors, notes = load_checkpoint(path)
    del notes["format"]
    return Stored(tensors, notes)


def _path(name: str) -> Path:
    return PACKAGE / _ELSEWHERE.get(name, f"results/{name}")


def generator(seed: int) -> torch.Generator:
    """Return a generator of the CPU, seeded."""
    return torch.Generator().manual_seed(seed)
