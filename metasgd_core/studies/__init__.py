"""The studies behind chapters 7 and 8: what is trained, and how it is tested.

Here stands what a study *is*; ``tools/table.py`` and ``tools/lab.py`` run it whole, with progress,
and write the result files that the chapters read. A chapter imports the same functions and runs a
small part of it in the page.
"""

import torch


def generator(seed: int) -> torch.Generator:
    """Return a generator of the CPU, seeded."""
    return torch.Generator().manual_seed(seed)
