"""The file of a checkpoint: see :mod:`metasgd_core.training.checkpoint`."""

from metasgd_core.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint

__all__ = ["FORMAT", "load_checkpoint", "save_checkpoint"]
