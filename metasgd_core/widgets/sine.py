"""Adapt to a sine: pick two starts, move the points, and watch a few inner steps."""

from __future__ import annotations

import math
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core import plotting
from metasgd_core.adaptation import adapt, per_task
from metasgd_core.checkpoint import load_checkpoint
from metasgd_core.models import predict
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Data, Params
from metasgd_core.widgets.figure import Figure

DATA = Path(__file__).with_name("data") / "sine.safetensors"
STARTS = ("random", "joint", "MAML", "FOMAML", "Reptile", "Meta-SGD")
MOST_POINTS, MOST_STEPS = 20, 10
LIMITS = (-6.5, 6.5)
#: The curve and the points that the page draws with this seed.
SEED = 5
FIRST = {"amplitude": 3.48, "phase": 2.43, "frequency": 1.0}
FIRST_X = (-2.8, 1.23, -4.15, 0.92, 2.2)


@cache
def starts() -> dict[str, tuple[Params, Params, Tensor]]:
    """Return theta, alpha and the mean held-out errors after 0, 1, … steps of every start."""
    tensors, _ = load_checkpoint(DATA)
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
    tensors, _ = load_checkpoint(DATA)
    parts, rates = [], {}
    for name in STARTS:
        alpha = tensors[f"{name}/alpha"]
        parts += [tensors[f"{name}/theta"], alpha] if len(alpha) > 1 else [tensors[f"{name}/theta"]]
        rates[name] = None if len(alpha) > 1 else float(alpha)
    return torch.cat(parts).numpy().astype("<f4").tobytes(), rates


class AdaptSine(Figure):
    """Two starts adapt to the same points, as the reader moves them.

    Parameters
    ----------
    left, right : str
        ``"random"``, ``"joint"``, ``"MAML"``, ``"FOMAML"``, ``"Reptile"`` or ``"Meta-SGD"``;
        `right` also ``"none"``.
    steps : int
        Inner steps, 0 to 10. All starts but Reptile were trained for one, random and joint for
        none.
    amplitude, phase, frequency : float
        The curve y = A sin(omega x + b).
    on_curve : bool
        Whether the points lie on the curve. Their y is the curve's then, whatever `points` says.
    points : list of pair of float
        x and y of the support points, 1 to 20 of them.
    seed : int
        Of the curve and its points, when the page draws new ones.
    """

    sources = ("network.js", "frame.js", "draw.js", "sine.js")
    _figure_id = "sine"

    left = traitlets.Enum(STARTS, "MAML").tag(sync=True)
    right = traitlets.Enum((*STARTS, "none"), "Meta-SGD").tag(sync=True)
    steps = traitlets.Int(1).tag(sync=True)
    amplitude = traitlets.Float(FIRST["amplitude"]).tag(sync=True)
    phase = traitlets.Float(FIRST["phase"]).tag(sync=True)
    frequency = traitlets.Float(FIRST["frequency"]).tag(sync=True)
    on_curve = traitlets.Bool(True).tag(sync=True)
    points: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    seed = traitlets.Int(SEED).tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _rates = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        weights, rates = _packed()
        super().__init__(_weights=weights, _rates=rates, **traits)

    @traitlets.default("points")
    def _first_points(self) -> list[list[float]]:
        return [[x, FIRST["amplitude"] * math.sin(x + FIRST["phase"])] for x in FIRST_X]

    @traitlets.validate("steps")
    def _check_steps(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] <= MOST_STEPS:
            raise traitlets.TraitError(
                f"steps must be 0 to {MOST_STEPS}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("amplitude", "phase", "frequency")
    def _check_curve(self, proposal: Any) -> float:
        if not math.isfinite(proposal["value"]):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be a finite number, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("points")
    def _check_points(self, proposal: Any) -> list[list[float]]:
        points = [list(point) for point in proposal["value"]]
        if not 1 <= len(points) <= MOST_POINTS or any(
            len(point) != 2 or not all(math.isfinite(number) for number in point)
            for point in points
        ):
            raise traitlets.TraitError(
                f"points must be 1 to {MOST_POINTS} pairs of finite numbers, got {points}"
            )
        return [[float(x), float(y)] for x, y in points]

    def curve(self) -> SineTasks:
        """Return the curve, as a batch of one task."""
        return SineTasks(*(
            torch.tensor([value]) for value in (self.amplitude, self.frequency, self.phase)
        ))

    def adapted(self, name: str, x: Tensor, steps: int | None = None) -> Tensor:
        """Return a start's predictions at `x`, ``(points, 1)``, after the inner steps."""
        theta, alpha, _ = starts()[name]
        family, support = Sinusoid(), torch.tensor(self.points)[None]
        at, y = support[..., :1], support[..., 1:]
        data = Data(at, self.curve()(at) if self.on_curve else y)
        count = self.steps if steps is None else steps
        phi = adapt(family.loss, per_task(theta, (1,)), per_task(alpha, (1,)), data, steps=count,
                    first_order=True)
        return predict(family.model, phi, x[None])[0].detach()

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        x = torch.linspace(-5, 5, 201)[:, None]
        truth = self.curve()(x[None])[0] if self.on_curve else None
        at, y = torch.tensor(self.points)[:, :1], torch.tensor(self.points)[:, 1:]
        if self.on_curve:
            y = self.curve()(at[None])[0]
        names = dict.fromkeys(name for name in (self.left, self.right) if name != "none")
        picture = Picture(figsize=(6.0, 3.8), dpi=100, layout="constrained")
        canvas, ax = FigureCanvasAgg(picture), picture.subplots()
        plotting.plot_adaptation(
            ax, x, {name: self.adapted(name, x) for name in names}, truth=truth, support=(at, y)
        )
        many = "s" * (self.steps != 1)
        ax.set(xlim=(-5, 5), ylim=LIMITS, title=f"after {self.steps} inner step{many}")
        file = BytesIO()
        canvas.print_png(file)
        return file.getvalue()
