"""Families of tasks, one file a family."""

from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid

__all__ = ["SineTasks", "Sinusoid"]
