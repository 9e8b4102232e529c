"""One training shared out over several processes: each takes its part of every meta-batch.

``torchrun`` starts the processes, ``torch.distributed`` carries the sums between them. Every
process draws the whole meta-batch from the same seed (drawing is cheap), adapts to every N-th task
of it, and the gradients are summed: N processes take the steps that one would take, up to the
order in which numbers are added.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from metasgd_core.types import TaskFamily


def world() -> tuple[int, int]:
    """Return this process's number and how many there are: ``(0, 1)`` without ``torchrun``."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def check_shareable(family: TaskFamily, meta_batch: int) -> None:
    """Refuse a training that several processes cannot share.

    Raises
    ------
    ValueError
        If the data depend on the parameters, or there are more processes than tasks.
    """
    n = world()[1]
    if n > 1 and (family.on_policy or n > meta_batch):
        raise ValueError(
            f"{n} processes cannot share out meta-batches of {meta_batch} tasks of "
            f"{type(family).__name__}: the tasks must be supervised, and at least as many"
        )


def own_part(batch: Any, axis: int) -> Any:
    """Return this process's tasks of a meta-batch: every N-th along `axis`."""
    rank, n = world()
    index = (slice(None),) * axis + (slice(rank, None, n),)
    return type(batch)(*(leaf[index] for leaf in batch))


def sum_over_processes(tensors: list[Tensor]) -> list[Tensor]:
    """Add each tensor up over all processes, in one message.

    Raises
    ------
    RuntimeError
        If another process has gone.
    """
    flat = torch.cat([t.flatten() for t in tensors])
    _send(dist.all_reduce, flat)
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def check_same_start(tensors: list[Tensor], done: int) -> None:
    """Refuse processes that start from different numbers: each would train something else.

    Raises
    ------
    ValueError
        In every process, if one of them differs from the first.
    """
    if world()[1] == 1:
        return
    # A generator's state is on the CPU, whatever it draws on.
    device = tensors[0].device
    mine = torch.cat([t.detach().flatten().to(device, torch.float64) for t in tensors])
    mine = torch.cat([mine, mine.new_tensor([done])])
    first = mine.clone()
    _send(dist.broadcast, first, 0)
    differing = mine.new_tensor([float(not mine.equal(first))])
    _send(dist.all_reduce, differing)
    if differing:
        raise ValueError(
            f"{int(differing)} of {world()[1]} processes start from other parameters, another seed "
            "or another checkpoint than the first: give all the same seed and the same file"
        )


def _send(operation: Any, *args: Any) -> None:
    try:
        operation(*args)
    except RuntimeError as error:
        raise RuntimeError(
            "another process of this training has stopped, so this one stops too; start the same "
            "command again to go on from the checkpoint, with any number of processes"
        ) from error
