"""The compiled meta-gradient: see :mod:`metasgd_core.training.compiled`."""

from metasgd_core.training.compiled import check_compilable, compile_gradient, meta_gradient

__all__ = ["check_compilable", "compile_gradient", "meta_gradient"]
