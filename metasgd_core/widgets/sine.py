"""Adapt to a sine: pick two starts, move the points, and watch a few inner steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.rules import DESCENT, Rule, curvature
from metasgd_core.studies import generator, load
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params
from metasgd_core.widgets.constants import MET
from metasgd_core.widgets.figure import met, png
from metasgd_core.widgets.sinusoid import SineFigure

STARTS = tuple(name for group in MET for name in group)
#: Those of chapter 11: the row whose first seed they are, and its rule.
RELATIVES = {
    "Meta-SGD, lr 0.01": ("Meta-SGD, 1 step", DESCENT),
    "Meta-Curvature": ("Meta-Curvature, 1 step", curvature()),
}


@cache
def starts() -> dict[str, tuple[Params, Params, Rule]]:
    """Return theta, alpha and the rule of every start."""
    tensors, _ = load("figure-sine")
    model = Sinusoid().model

    def leaves(name: str, part: str) -> Params:
        shapes = {key: p.shape for key, p in model.named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        flat = tensors[f"{name}/{part}"].expand(sum(sizes))
        return {key: leaf.view(shapes[key]) for key, leaf in zip(shapes, flat.split(sizes))}

    found = {
        name: (leaves(name, "theta"), leaves(name, "alpha"), DESCENT)
        for name in STARTS if name not in RELATIVES
    }
    rows = load("relatives").tensors
    for name, (row, rule) in RELATIVES.items():
        first = {key: p.detach() for key, p in model.named_parameters()}
        theta = {key: rows[f"{row}/theta.{key}"][0] for key in first}
        alpha = {key: rows[f"{row}/alpha.{key}"][0] for key in rule.first(first, generator(0))}
        found[name] = theta, alpha, rule
    return found


def packed(names: Iterable[str]) -> tuple[bytes, dict[str, float | str | None]]:
    """Return the numbers of these starts as float32 bytes, and the rate of each.

    None stands for one an entry, ``"matrices"`` for Meta-Curvature's two a layer.
    """
    parts, rates = [], dict[str, float | str | None]()
    for name in names:
        theta, alpha, rule = starts()[name]
        flat = torch.cat([a.flatten() for a in alpha.values()])
        one = bool((flat == flat[0]).all())
        rates[name] = float(flat[0]) if one else None if rule == DESCENT else "matrices"
        parts += [torch.cat([p.flatten() for p in theta.values()]), *([] if one else [flat])]
    return torch.cat(parts).numpy().astype("<f4").tobytes(), rates


class AdaptSine(SineFigure):
    """Two starts adapt to the same points, as the reader moves them.

    All starts but Reptile were trained for one inner step, random and joint for none.
    Meta-Curvature and the second Meta-SGD are chapter 11's, where the outer rate lr was chosen; the
    first Meta-SGD, chapter 6's, has 0.001. The parameters not named here are those of `SineFigure`.

    Parameters
    ----------
    left, right : str
        ``"random"``, ``"joint"``, ``"MAML"``, ``"FOMAML"``, ``"Reptile"``, ``"Meta-SGD"``,
        ``"Meta-SGD, lr 0.01"`` or ``"Meta-Curvature"``; `right` also ``"none"``.
    goal : str, optional
        What the reader is asked to find, instead of the two goals that the page judges: a curve on
        which `left` is ahead more often than not, and the inner step at which `right` has diverged.
    methods : sequence of str, optional
        The starts to choose from; by default those met up to the chapter of `left` and `right`.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/curvature.js",
        "shared/frame.js", "shared/draw.js", "shared/sinusoid.js", "sine.js",
    )
    _figure_id = "sine"

    left = traitlets.Enum(STARTS, "MAML").tag(sync=True)
    right = traitlets.Enum((*STARTS, "none"), "Meta-SGD").tag(sync=True)
    _goal = traitlets.Unicode().tag(sync=True)
    _methods: traitlets.List[str] = traitlets.List(traitlets.Enum(STARTS)).tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _rates = traitlets.Dict().tag(sync=True)

    def __init__(
        self, *, goal: str = "", methods: Sequence[str] | None = None, **traits: Any
    ) -> None:
        self._given = methods
        shown = {traits.get("left", "MAML"), traits.get("right", "Meta-SGD")} & {*STARTS}
        known = [name for name in STARTS if name in (methods or met(*shown or STARTS))]
        weights, rates = packed(known)
        super().__init__(_goal=goal, _methods=known, _weights=weights, _rates=rates, **traits)

    @traitlets.validate("left", "right")
    def _check_start(self, proposal: Any) -> str:
        if (name := proposal["value"]) not in (*self._methods, "none"):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be one of {', '.join(self._methods)}, got {name!r}"
            )
        return str(name)

    def arguments(self) -> dict[str, Any]:
        """Return the keywords that make this figure again, the goal among them."""
        given = {} if self._given is None else {"methods": list(self._given)}
        return {"goal": self._goal, **given, **super().arguments()}

    def adapted(self, name: str, x: Tensor, steps: int | None = None) -> Tensor:
        """Return a start's predictions at `x`, ``(points, 1)``, after the inner steps."""
        return self.predictions(x, self.steps if steps is None else steps, *starts()[name])

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        picture = Picture(figsize=(6.0, 3.8), dpi=100, layout="constrained")
        names = dict.fromkeys(name for name in (self.left, self.right) if name != "none")
        self.draw(picture.subplots(), {name: starts()[name] for name in names})
        return png(picture)
