"""One training over several processes: see :mod:`metasgd_core.training.processes`."""

from metasgd_core.training.processes import (
    check_same_start,
    own_part,
    sum_over_processes,
    world,
)

__all__ = ["check_same_start", "own_part", "sum_over_processes", "world"]
