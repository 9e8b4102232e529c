"""Adapt to a sine: pick two starts, move the points, and watch a few inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.studies import load
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import met, png
from metasgd_core.widgets.sinusoid import SineFigure

STARTS: tuple[str, ...] = CONSTANTS["sine"]["starts"]


@cache
def starts() -> dict[str, tuple[Params, Params, Tensor]]:
    """Return theta, alpha and the mean held-out errors after 0, 1, … steps of every start."""
    tensors, _ = load("figure-sine")
    model = Sinusoid().model

    def leaves(name: str, part: str) -> Params:
        shapes = {key: p.shape for key, p in model.named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        flat = tensors[f"{name}/{part}"].expand(sum(sizes))
        return {key: leaf.view(shapes[key]) for key, leaf in zip(shapes, flat.split(sizes))}

    return {
        name: (leaves(name, "theta"), leaves(name, "alpha"), tensors[f"{name}/errors"])
        for name in STARTS
    }


def _packed() -> tuple[bytes, dict[str, float | None]]:
    """Return all the numbers as float32 bytes, and each start's one rate (None: one an entry)."""
    tensors, _ = load("figure-sine")
    parts, rates = [], {}
    for name in STARTS:
        alpha = tensors[f"{name}/alpha"]
        parts += [tensors[f"{name}/theta"], alpha] if len(alpha) > 1 else [tensors[f"{name}/theta"]]
        rates[name] = None if len(alpha) > 1 else float(alpha)
    return torch.cat(parts).numpy().astype("<f4").tobytes(), rates


class AdaptSine(SineFigure):
    """Two starts adapt to the same points, as the reader moves them.

    All starts but Reptile were trained for one inner step, random and joint for none. The
    parameters not named here are those of `SineFigure`.

    Parameters
    ----------
    left, right : str
        ``"random"``, ``"joint"``, ``"MAML"``, ``"FOMAML"``, ``"Reptile"`` or ``"Meta-SGD"``;
        `right` also ``"none"``.
    goal : str, optional
        What the reader is asked to find, instead of the two goals that the page judges: a curve on
        which `left` is ahead more often than not, and the inner step at which `right` has diverged.
    methods : sequence of str, optional
        The starts to choose from; by default those met up to the chapter of `left` and `right`.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "shared/sinusoid.js", "sine.js",
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
        weights, rates = _packed()
        shown = {traits.get("left", "MAML"), traits.get("right", "Meta-SGD")} & {*STARTS}
        known = methods or met(*shown or STARTS)
        super().__init__(
            _goal=goal, _methods=[name for name in STARTS if name in known], _weights=weights,
            _rates=rates, **traits,
        )

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
        theta, alpha, _ = starts()[name]
        return self.predictions(theta, alpha, x, self.steps if steps is None else steps)

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        picture = Picture(figsize=(6.0, 3.8), dpi=100, layout="constrained")
        names = dict.fromkeys(name for name in (self.left, self.right) if name != "none")
        self.draw(picture.subplots(), {name: starts()[name][:2] for name in names})
        return png(picture)
