"""One step's kernel, chapter 7: how far one gradient step carries each point's residual."""

from __future__ import annotations

from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.floor import best_step, carried, mean_curve, waves
from metasgd_core.models import predict
from metasgd_core.plotting import PALETTE, method_style
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import png
from metasgd_core.widgets.points import PointsFigure
from metasgd_core.widgets.sine import packed, starts
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["stepkernel"]
#: In the order of their bytes.
NETWORKS: tuple[str, ...] = CONSTANTS["stepkernel"]["networks"]


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


class StepKernel(PointsFigure):
    """Support points on a sine; what one step makes of them all, and what of one of them alone.

    Beside MAML and Meta-SGD, as in "Adapt to a sine", stands the best additive step of chapter 7,
    which begins at the mean curve. The parameters are those of `PointsFigure`.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "shared/points.js", "stepkernel.js",
    )
    _figure_id = "step-kernel"

    _weights = traitlets.Bytes().tag(sync=True)
    _rates = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        weights, rates = packed(NETWORKS)
        super().__init__(_weights=weights, _rates=rates, **traits)

    def predictions(self, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each learner's curve at `x`, ``(points,)``, and what the chosen point adds to it.

        The second is ``a(x_k)' z r_k / K`` of the best step, and the first-order part of the
        network's. `x` is float64.
        """
        support, shots, k = self.support(), len(self.points), self.followed()
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
        support, k = self.support(), self.followed()
        above.plot(x, self.truth(x[None, :, None])[0, :, 0], color=PALETTE["grey"],
                   label=WORDS["points"]["truth"])
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

