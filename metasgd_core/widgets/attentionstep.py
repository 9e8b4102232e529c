"""Attention as a step, chapter 10: one linear attention layer is one gradient step."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.models import MLP, LinearAttention, predict
from metasgd_core.plotting import PALETTE
from metasgd_core.studies import load
from metasgd_core.studies.memory import LINEAR, first_seed, hand_written
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import png, within
from metasgd_core.widgets.points import PointsFigure
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["attentionstep"]
_GIVEN = CONSTANTS["attentionstep"]
#: In the order of their bytes.
RATES: tuple[str, ...] = _GIVEN["rates"]
TRAINED = "linear attention"


@cache
def networks() -> dict[str, tuple[Params, Params]]:
    """Return theta and alpha by the name of the rates, and those of the trained attention.

    The study stores its first seed in half precision: these are that file's numbers, in float64.
    """
    tensors, _ = load("memory")

    def part(name: str, kind: str) -> Params:
        return {n: leaf.double() for n, leaf in first_seed(tensors, name, kind).items()}

    names = {rates: f"last layer, {rates}" for rates in RATES} | {TRAINED: TRAINED}
    return {short: (part(name, "theta"), part(name, "alpha")) for short, name in names.items()}


@cache
def _packed() -> bytes:
    """Return the networks' numbers as they are stored: float16 bytes."""
    network = [name for name, _ in MLP().named_parameters()]
    parts = []
    for theta, alpha in networks().values():
        read = [] if alpha else [f"{name}.weight" for name in ("query", "key", "value")]
        parts += [*(theta[name] for name in (*network, *read)), *alpha.values()]
    return torch.cat([part.flatten() for part in parts]).numpy().astype("<f2").tobytes()


class AttentionStep(PointsFigure):
    """Support points on a sine, a step on the last layer, and the attention that is this step.

    Beside both stands a linear attention layer whose matrices were trained. The parameters not
    named here are those of `PointsFigure`.

    Parameters
    ----------
    query : float
        The x at which it is seen what each point adds, from -5 to 5.
    rates : str
        ``"one rate"``, ``"a rate an entry"`` or ``"a matrix"``: what the step's gradient is
        multiplied by.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "shared/points.js", "attentionstep.js",
    )
    _figure_id = "attention-step"

    points = traitlets.List(
        traitlets.Float(), [-4.5, -3.6, -2.4, -1.2, -0.3, 0.7, 1.8, 2.6, 3.5, 4.4]
    ).tag(sync=True)
    chosen = traitlets.Int(5).tag(sync=True)
    query = traitlets.Float(1.2).tag(sync=True)
    rates = traitlets.Enum(RATES, RATES[0]).tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(_weights=_packed(), **traits)

    _query_in_range = within(_GIVEN["ranges"])

    def predictions(self, x: Tensor) -> dict[str, Tensor]:
        """Return what is predicted at `x`, ``(points,)`` each, in float64.

        ``before`` and after one gradient ``step``, by the ``attention`` written by hand, and by the
        ``trained`` one.
        """
        theta, alpha = networks()[self.rates]
        family, start, support = Sinusoid(), per_task(theta, (1,)), self.support()
        rule = LINEAR[f"last layer, {self.rates}"].method.rule
        phi = adapt(family.loss, start, per_task(alpha, (1,)), support, first_order=True, rule=rule)
        found = {"before": predict(family.model, start, x[None, :, None]),
                 "step": predict(family.model, phi, x[None, :, None])}  # fmt: skip
        model = LinearAttention()
        for name, layer in (("attention", hand_written(theta, alpha)),
                            ("trained", networks()[TRAINED][0])):  # fmt: skip
            weights = per_task(layer, (1,))
            found[name] = model.run(weights | model.read(weights, support), x[None, :, None])
        return {name: y[0, :, 0].detach() for name, y in found.items()}

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight at the query of a support point at each of `x`, ``(points,)``."""
        theta, alpha = networks()[self.rates]
        matrix = hand_written(theta, alpha)["query.weight"][:, :-1]
        places = torch.cat([x, x.new_tensor([self.query])])[:, None]
        z = LinearAttention().features(theta, places)
        return (2 / len(self.points) * z[:-1] @ matrix @ z[-1]).detach()

    def residuals(self) -> Tensor:
        """Return how far each point lies above the network before the step, ``(points,)``.

        Times its weight that is what the point adds at the query.
        """
        x, y = (part[0, :, 0] for part in self.support())
        return y - self.predictions(x)["before"]

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        x = torch.linspace(-5, 5, 201, dtype=torch.float64)
        picture = Picture(figsize=(6.0, 7.0), dpi=100, facecolor="white", layout="constrained")
        axes = picture.subplots(3, 1, sharex=True, height_ratios=[2, 1, 1])
        curves, support, names = self.predictions(x), self.support(), _WORDS["names"]
        weights = self.weights(support.x[0, :, 0])
        above, chosen = axes[0], self.followed()
        above.plot(x, self.truth(x[None, :, None])[0, :, 0], color=PALETTE["grey"],
                   label=WORDS["points"]["truth"])
        for name, colour, line in (("before", "sky", ":"), ("step", "green", "-"),
                                   ("trained", "purple", "--")):  # fmt: skip
            above.plot(x, curves[name], color=PALETTE[colour], linestyle=line, label=names[name])
        above.plot(x[::10], curves["attention"][::10], ".", color=PALETTE["black"],
                   label=names["attention"])
        above.plot(support.x[0], support.y[0], "o", color=PALETTE["black"])
        above.plot(support.x[0, chosen], support.y[0, chosen], "o", color=PALETTE["orange"],
                   markersize=9)
        above.set(ylim=(-6.5, 6.5), ylabel=_WORDS["y"], title=_WORDS["plot"])
        picture.legend(loc="outside upper center", ncols=3)
        axes[1].plot(x, self.weights(x), color=PALETTE["grey"], linewidth=1)
        colours = [PALETTE["orange" if k == chosen else "blue"] for k in range(len(self.points))]
        for ax, bars in ((axes[1], weights), (axes[2], weights * self.residuals())):
            ax.bar(self.points, bars.tolist(), 0.14, color=colours)
            ax.axhline(0, color=PALETTE["grey"], linewidth=1)
        for ax in axes:
            ax.axvline(self.query, color=PALETTE["vermilion"], linewidth=1, linestyle="--")
        here = self.predictions(x.new_tensor([self.query]))
        above.annotate("", (self.query, here["step"]), (self.query, here["before"]),
                       arrowprops={"arrowstyle": "->", "color": PALETTE["vermilion"]})
        axes[1].set(ylabel=_WORDS["weight"])
        axes[2].set(xlabel=_WORDS["x"], ylabel=_WORDS["change"])
        return png(picture)
