"""The methods of the book as rows of one table.

What a method *is* fits in a row: which alpha, whether it is learned, how many inner steps are
taken in training, whether they are differentiated through, and what the outer loop minimises.
``dataclasses.replace(META_SGD, inner_steps=5)`` makes a variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from metasgd_core.alpha import AlphaShape
from metasgd_core.rules import DESCENT, Rule
from metasgd_core.types import check_count


class Style(NamedTuple):
    """How a method looks in every figure: a colour of the palette, a marker, a line."""

    colour: str
    marker: str
    line: str


@dataclass(frozen=True)
class Method:
    """One way to learn an initialisation (and perhaps the rates to leave it by).

    Parameters
    ----------
    name : str
        As it stands in figures and tables.
    objective : str
        What the outer loop minimises, a mean over tasks: a row of
        :data:`~metasgd_core.objectives.OBJECTIVES`. ``"query"``: the query loss of the
        adapted phi. ``"steps"``: the mean of the query losses after each inner step. ``"shots"``:
        that over every number of support points. ``"joint"``: the loss of theta itself on support
        and query points together. ``"reptile"``: half the squared distance from theta to phi, phi
        held constant, whose gradient is theta - phi; phi is trained on the support and query points
        together, another minibatch at each step. ``"none"``: nothing is learned across tasks.
    inner_steps : int
        Steps taken in training; any number may be taken at test.
    first_order : bool
        Whether the inner gradients count as constants.
    alpha_shape : {"scalar", "tensor", "entry"}
        One rate in all, one a tensor, or one an entry.
    learn_alpha : bool
        Whether the outer loop learns alpha too.
    alpha_form : {"raw", "log", "nonnegative"}
        How a learned alpha is held: as it is; as its logarithm, which keeps it positive and makes
        an outer step change it by a factor; or as it is, set back to zero wherever an outer step
        made it negative.
    credit_sampling : bool
        Whether theta also gets credit for the episodes that it chooses to adapt on (the E-MAML
        term). Only with the objective ``"query"``, and only where the data depend on the
        parameters. See :class:`~metasgd_core.policy_gradient.PolicyGradient`.
    rule : Rule
        What an inner step makes of a gradient; by default plain descent by alpha. The numbers of
        another rule take alpha's place, and ``init_rule`` makes them instead of ``init_alpha``.
    reads : bool
        Whether the model reads its support instead of adapting to it, for a model with a method
        ``read``. See :func:`~metasgd_core.readers.read`.
    style : Style, optional
        How it looks in figures; variants made with ``replace`` are told apart by their name.

    Raises
    ------
    ValueError
        If a field has a value that is not listed, or the fields contradict each other. What the
        objective has to say of the others, it says where it is minimised
        (:func:`~metasgd_core.objectives.objective_of`).
    """

    name: str
    objective: str
    inner_steps: int = 1
    first_order: bool = False
    alpha_shape: AlphaShape = "scalar"
    learn_alpha: bool = False
    alpha_form: Literal["raw", "log", "nonnegative"] = "raw"
    credit_sampling: bool = False
    rule: Rule = DESCENT
    reads: bool = False
    style: Style | None = None

    def __post_init__(self) -> None:
        allowed = {
            "alpha_shape": ("scalar", "tensor", "entry"),
            "alpha_form": ("raw", "log", "nonnegative"),
        }
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} must be one of {values}, got {getattr(self, field)!r}")
        check_count(f"inner_steps of {self.name}", self.inner_steps, least=0)
        if self.credit_sampling and self.objective != "query":
            raise ValueError(
                f"{self.name} cannot credit its sampling: the objective {self.objective!r} has no "
                "term for it; only 'query' has"
            )
        if self.rule != DESCENT and (self.alpha_form != "raw" or self.reads):
            raise ValueError(
                f"{self.name} has the rule {self.rule.name!r}, whose numbers are learned as they "
                'are, by adapting: use alpha_form="raw" and reads=False'
            )
        if self.reads and (self.inner_steps != 1 or self.learn_alpha):
            raise ValueError(
                f"{self.name} reads its support, once and without a rate: use inner_steps=1 and "
                "learn_alpha=False"
            )


FINE_TUNING = Method("fine-tuning", "none", inner_steps=0)
JOINT = Method("joint", "joint", inner_steps=0, style=Style("sky", "v", ":"))
MAML = Method("MAML", "query", style=Style("blue", "o", "-"))
FOMAML = Method("FOMAML", "query", first_order=True, style=Style("purple", "s", "--"))
REPTILE = Method(
    "Reptile", "reptile", inner_steps=5, first_order=True, style=Style("green", "^", "-.")
)
META_SGD = Method(
    "Meta-SGD", "query", alpha_shape="entry", learn_alpha=True,
    style=Style("vermilion", "D", "-"),
)  # fmt: skip

#: The rows by name, in the order in which the book meets them.
#:
#: :meta hide-value:
METHODS = {
    method.name: method for method in (FINE_TUNING, JOINT, MAML, FOMAML, REPTILE, META_SGD)
}
