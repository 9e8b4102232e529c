"""One step's kernel, chapter 7: how far one gradient step carries each point's residual."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.floor import best_step, carried, mean_curve, waves
from metasgd_core.models import predict
from metasgd_core.plotting import PALETTE, method_style
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Data, Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png, within
from metasgd_core.widgets.sine import starts
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["stepkernel"]
_GIVEN = CONSTANTS["stepkernel"]
RANGES, COUNT = _GIVEN["ranges"], _GIVEN["points"]
#: In the order of their bytes.
NETWORKS: tuple[str, ...] = _GIVEN["networks"]


@cache
def _packed() -> tuple[bytes, dict[str, float | None]]:
    """Return the networks' numbers as float32 bytes, and each one's one rate (None: many)."""
    parts, rates = [], {}
    for name in NETWORKS:
        theta, alpha, _ = starts()[name]
        flat = torch.cat([a.flatten() for a in alpha.values()])
        one = bool((flat == flat[0]).all())
        rates[name] = float(flat[0]) if one else None
        parts += [torch.cat([p.flatten() for p in theta.values()]), *([] if one else [flat])]
    return torch.cat(parts).numpy().astype("<f4").tobytes(), rates


def kernel(theta: Params, alpha: Params, x: Tensor, at: float) -> Tensor:
    """Return what a step adds at `x`, ``(points,)``, for a residual of 1 at the one point `at`.

    To first order in the step: 2 sum_i alpha_i df(x)/dtheta_i df(at)/dtheta_i, for parameters
    without batch axes, in their own precision.
    """
    model = Sinusoid().model
    places = torch.cat([x, x.new_tensor([at])])
    copies = {n: p.clone().requires_grad_() for n, p in per_task(theta, (len(places),)).items()}
    outputs = predict(model, copies, places[:, None, None])
    slopes = torch.autograd.grad(outputs.sum(), list(copies.values()))
    jacobian = torch.cat([s.flatten(1) for s in slopes], dim=1)
    rates = torch.cat([alpha[n].expand_as(theta[n]).flatten() for n in theta])
    return 2 * (jacobian[:-1] * rates) @ jacobian[-1]


class StepKernel(Figure):
    """Support points on a sine; what one step makes of them all, and what of one of them alone.

    Beside MAML and Meta-SGD, as in "Adapt to a sine", stands the best additive step of chapter 7,
    which begins at the mean curve.

    Parameters
    ----------
    amplitude, phase : float
        The curve y = A sin(x + b), A from 0.1 to 5, b from 0 to 3.14.
    points : list of float
        x of the support points, 1 to 20 of them, from -5 to 5.
    chosen : int
        The point whose residual is followed, from 0 on.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "stepkernel.js",
    )
    _figure_id = "step-kernel"

    amplitude = traitlets.Float(3.48).tag(sync=True)
    phase = traitlets.Float(2.43).tag(sync=True)
    points = traitlets.List(traitlets.Float(), [-3.6, -2.2, -0.5, 1.4, 4.0]).tag(sync=True)
    chosen = traitlets.Int(2).tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _rates = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        weights, rates = _packed()
        super().__init__(_weights=weights, _rates=rates, **traits)

    _in_range = within(RANGES)

    @traitlets.validate("points")
    def _check_points(self, proposal: Any) -> list[float]:
        least, most = COUNT
        points = proposal["value"]
        if not least <= len(points) <= most or not all(-5 <= x <= 5 for x in points):
            raise traitlets.TraitError(
                f"points must be {least} to {most} numbers from -5 to 5, got {points}"
            )
        return points

    def support(self) -> Data:
        """Return the points on the curve, ``(1, points, 1)`` each, in float64."""
        x = torch.tensor(self.points, dtype=torch.float64)[None, :, None]
        return Data(x, self.truth(x))

    def truth(self, x: Tensor) -> Tensor:
        """Return the curve at `x`, ``(1, points, 1)``."""
        amplitude, phase = (x.new_tensor([value]) for value in (self.amplitude, self.phase))
        return SineTasks(amplitude, torch.ones_like(phase), phase)(x)

    def predictions(self, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each learner's curve at `x`, ``(points,)``, and what the chosen point adds to it.

        The second is ``a(x_k)' z r_k / K`` of the best step, and the first-order part of the
        network's. `x` is float64.
        """
        support, shots, k = self.support(), len(self.points), min(self.chosen, len(self.points) - 1)
        at = support.x[0, k, 0]
        found = {}
        for name in NETWORKS:
            theta, alpha = ({n: p.double() for n, p in part.items()} for part in starts()[name][:2])
            family, start = Sinusoid(), per_task(theta, (1,))
            phi = adapt(family.loss, start, per_task(alpha, (1,)), support, first_order=True)
            after = predict(family.model, phi, x[None, :, None])[0, :, 0].detach()
            before = predict(family.model, start, support.x)[0, k, 0].detach()
            share = (support.y[0, k, 0] - before) / shots
            found[name] = after, share * kernel(theta, alpha, x, float(at))
        after = best_step(support.x[0, :, 0], support.y[0, :, 0], x)
        share = (support.y[0, k, 0] - mean_curve(at)) / shots
        found["best"] = after, share * waves(x) @ carried(at, shots)
        return found

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        x = torch.linspace(-5, 5, 201, dtype=torch.float64)
        picture = Picture(figsize=(6.0, 6.4), dpi=100, facecolor="white", layout="constrained")
        above, below = picture.subplots(2, 1, sharex=True)
        support, k = self.support(), min(self.chosen, len(self.points) - 1)
        above.plot(x, self.truth(x[None, :, None])[0, :, 0], color=PALETTE["grey"],
                   label=_WORDS["truth"])
        for name, curves in self.predictions(x).items():
            look = {"color": PALETTE["black"], "linestyle": "--"} if name == "best" else {
                **method_style(name), "marker": ""
            }
            for ax, curve in zip((above, below), curves):
                ax.plot(x, curve, label=_WORDS["names"][name], **look)
        above.plot(support.x[0], support.y[0], "o", color=PALETTE["black"])
        above.plot(support.x[0, k], support.y[0, k], "o", color=PALETTE["orange"], markersize=9)
        below.axvline(float(support.x[0, k, 0]), color=PALETTE["orange"], linewidth=1)
        above.set(ylim=(-6.5, 6.5), ylabel=_WORDS["y"], title=_WORDS["plot"])
        below.set(xlabel=_WORDS["x"], ylabel=_WORDS["change"], title=_WORDS["shares"])
        above.legend(ncols=2)
        return png(picture)

