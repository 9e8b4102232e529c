"""The tasks and data of each meta-iteration, and the generator's place among them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metasgd_core.types import Params, TaskFamily

#: Compiled training draws the data of so many meta-iterations at once,
CHUNK = 64
#: or of fewer, where they would take more than so many bytes.
MOST_BYTES = 2**28


class Draws:
    """Draws meta-batches one by one, or a chunk of them at once.

    Parameters
    ----------
    family : TaskFamily
        The tasks.
    theta : Params
        The training's own; supervised families make nothing of it.
    batch : tuple of int
        ``(*runs, tasks)`` of a meta-iteration.
    samples : int
        Support and query points of a task.
    generator : torch.Generator
        The source.
    chunked : bool
        Whether to draw a chunk at once. The numbers are others than one by one.
    """

    def __init__(
        self, family: TaskFamily, theta: Params, batch: tuple[int, ...], samples: int,
        generator: torch.Generator, *, chunked: bool,
    ) -> None:  # fmt: skip
        self.family, self.theta, self.batch, self.samples = family, theta, batch, samples
        self.generator, self.chunked, self.chunk = generator, chunked, 1
        if chunked:
            #: One meta-iteration's, from a generator of its own: it shows the shapes.
            self.example = self._draw(torch.Generator(generator.device))
            size = sum(leaf.nbytes for part in self.example for leaf in part)
            self.chunk = max(1, min(CHUNK, MOST_BYTES // size))
        self.drawn: list[tuple[Any, Any]] = []
        self.begun = generator.get_state()

    def at(self, done: int) -> tuple[Any, Any]:
        """Return the tasks and data of the meta-iteration after `done` others.

        Data are None where they depend on the parameters and are collected later.
        """
        if not self.chunked:
            return self._draw(self.generator)
        if not self.drawn or done % self.chunk == 0:
            self.begun = self.generator.get_state()
            tasks, data = (_one_by_one(part) for part in self._draw(self.generator, self.chunk))
            self.drawn = list(zip(tasks, data, strict=True))
        return self.drawn[done % self.chunk]

    def _draw(self, generator: torch.Generator, *several: int) -> tuple[Any, Any]:
        tasks = self.family.sample_tasks(*several, *self.batch, generator=generator)
        if self.family.on_policy:
            return tasks, None
        data = self.family.sample_data(tasks, self.theta, self.samples, generator=generator)
        if self.chunked:  # compiled code takes memory to lie as in the example
            data = type(data)(*(leaf.contiguous() for leaf in data))
        return tasks, data

    def state(self, done: int) -> Tensor:
        """Return the generator's state from which the next meta-iteration's chunk is drawn."""
        return self.begun if done % self.chunk else self.generator.get_state()

    def resume(self, state: Tensor, done: int) -> None:
        """Go on from a stored state; within a chunk, that chunk is drawn again."""
        self.generator.set_state(state)
        self.drawn = []
        if done % self.chunk:
            self.at(done)


def _one_by_one(drawn: Any) -> list[Any]:
    """Return what was drawn for several meta-iterations as one NamedTuple for each."""
    return [type(drawn)(*leaves) for leaves in zip(*(leaf.unbind() for leaf in drawn), strict=True)]
