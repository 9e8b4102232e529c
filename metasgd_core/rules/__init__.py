r"""Inner rules: what one inner step makes of a gradient.

Plain descent, :math:`\phi \leftarrow \phi - \alpha \circ g`, is the rule of MAML and Meta-SGD. The
others here put something else in its place, inside the same
:func:`~metasgd_core.adaptation.adapt`. A rule is three functions; all the numbers that it learns
are called alpha, and are learned as alpha is.

Every function takes leading axes as they come: the rule is written for one task, with operations
that broadcast from the right (a number that belongs to a whole tensor keeps that tensor's number of
axes, each 1 long).

`base`: what a rule is, and plain descent; `rates`: other rates, one for each number of theta, or
each tensor, or each step; `matrices`: a matrix for each layer; `lstm`: a small network that writes
the steps.
"""

from metasgd_core.rules.base import DESCENT, Rule
from metasgd_core.rules.lstm import lstm, meta_lstm
from metasgd_core.rules.matrices import curvature, warp
from metasgd_core.rules.rates import adam, alfa, momentum, rate_a_step

__all__ = [
    "DESCENT", "Rule", "adam", "alfa", "curvature", "lstm", "meta_lstm", "momentum", "rate_a_step",
    "warp",
]
