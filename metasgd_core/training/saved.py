"""What a checkpoint of a training holds, and whose training it is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metasgd_core.methods import Method
from metasgd_core.training.checkpoint import (
    as_json,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from metasgd_core.training.draws import Draws
from metasgd_core.training.learned import Learned
from metasgd_core.training.outer import Outer
from metasgd_core.training.processes import world
from metasgd_core.types import TaskFamily


class Saved:
    """A training's file: theta and alpha by name, the optimiser's state, the generator's place.

    Parameters
    ----------
    path : Path or None
        The file; None: nothing is saved.
    settings : dict
        What makes the training this one, beside what it begins from.
    learned, outer, draws
        Its parts.

    Raises
    ------
    ValueError
        If the folder is not there, or the file is damaged or belongs to another training.
    """

    def __init__(
        self, path: Path | None, settings: dict[str, Any], learned: Learned, outer: Outer,
        draws: Draws,
    ) -> None:  # fmt: skip
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"the checkpoint {path} needs the folder {path.parent}; make it first")
        self.path, self.learned, self.outer, self.draws = path, learned, outer, draws
        self.iterations = outer.last + 1
        if outer.final_lr != 1:  # else the rates do not depend on it, and a training may go on
            settings = settings | {"iterations": self.iterations}
        self.settings = settings if path is None else as_json(settings | {
            "method": _plain(learned.method), "family": _describe(draws.family),
            "optimizer": repr(outer.optimizer), "final_lr": outer.final_lr, "clip": outer.clip,
            "skip": outer.skip, "seed": draws.generator.initial_seed(),
            "first theta": fingerprint(learned.theta), "first alpha": fingerprint(learned.held),
        })  # fmt: skip
        self.numbers = learned.named() | {"diverged": outer.diverged}
        # The packed leaves hold what `numbers` views.
        self.leaf_names = ["theta", "alpha"] if draws.chunked else list(learned.named())
        self._read()

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what the file holds, if it is there and belongs to this training."""
        if self.path is None or not self.path.exists():
            return None
        tensors, state = load_checkpoint(self.path)
        theirs = {"skip": False} | state.get("settings", {})  # older files do not say
        differing = [
            f"{name}: {_only(theirs.get(name), mine)} there, {_only(mine, theirs.get(name))} here"
            for name, mine in self.settings.items() if theirs.get(name) != mine
        ]
        differing += [
            f"shape or dtype of {name}" for name, mine in self.numbers.items()
            if (saved := tensors.get(name)) is None
            or saved.shape != mine.shape or saved.dtype != mine.dtype
        ]
        if not differing and state["done"] > self.iterations:
            differing = [f"{state['done']} iterations done there, {self.iterations} asked for here"]
        if differing:
            raise ValueError(
                f"{self.path} belongs to another training ({'; '.join(differing)}); name another "
                "file, or delete it to train from the start"
            )
        return tensors, state

    def restore(self) -> int:
        """Put a checkpoint's numbers where they were; return the iterations done."""
        found = self._read()
        if found is None:
            return 0
        tensors, state = found
        slots: dict[int, dict[str, Any]] = {}
        for i, leaf in enumerate(self.leaf_names):
            start = f"outer/{leaf}/"
            mine = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            mine |= state["optimizer"].get(leaf, {})
            if mine:
                slots[i] = mine
        optimizer = self.outer.optimizer
        optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
        with torch.no_grad():
            for name, number in self.numbers.items():
                number.copy_(tensors[name])
        self.outer.lost = bool(self.outer.diverged.all())
        self.draws.resume(tensors["generator"], state["done"])
        return int(state["done"])

    def write(self, done: int) -> None:
        """Write the state after `done` iterations; of several processes only the first does.

        Raises
        ------
        ValueError
            If the optimiser keeps a state that no file can hold.
        """
        if self.path is None or world()[0] > 0:
            return
        tensors = self.numbers | {"generator": self.draws.state(done)}
        others: dict[str, dict[str, Any]] = {}
        for i, slots in self.outer.optimizer.state_dict()["state"].items():
            leaf = self.leaf_names[i]
            for key, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"outer/{leaf}/{key}"] = value
                elif value is None or isinstance(value, bool | int | float | str):
                    others.setdefault(leaf, {})[key] = value
                else:
                    raise ValueError(
                        f"{type(self.outer.optimizer).__name__} keeps {key!r} as a "
                        f"{type(value).__name__}, which a checkpoint cannot hold: use another "
                        "optimizer, or leave checkpoint out"
                    )
        state = {"settings": self.settings, "optimizer": others, "done": done}
        save_checkpoint(self.path, tensors, state)


def _plain(method: Method) -> dict[str, Any]:
    values = {f.name: getattr(method, f.name) for f in fields(method) if f.name != "style"}
    return values | {"rule": method.rule.name}


def _describe(family: TaskFamily) -> str:
    """Return what tells a family from others: its own words, or else its model and its data."""
    if type(family).__repr__ is not object.__repr__:
        parts = [repr(family)]
    else:
        parts = [type(family).__qualname__, *(
            f"{name}={fingerprint({name: v}) if isinstance(v, Tensor) else v!r}"
            for name, v in sorted(vars(family).items())
        )]  # fmt: skip
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(parts))


def _only(text: Any, other: Any) -> str:
    """Return the lines of a long setting that the other lacks, or a short one whole."""
    lacking = set(str(text).splitlines()) - set(str(other).splitlines())
    return ", ".join(line.strip() for line in str(text).splitlines() if line in lacking)
