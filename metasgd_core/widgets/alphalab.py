"""The alpha lab: pick where alpha begins, and see how it trains, what it becomes, how it adapts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.plotting import PALETTE
from metasgd_core.studies.sweep import SHAPES, Trained, stored
from metasgd_core.widgets.figure import png
from metasgd_core.widgets.sinusoid import SineFigure
from metasgd_core.widgets.words import WORDS, fill

_WORDS = WORDS["pictures"]["alphalab"]
_SHARED = WORDS["alphalab"]


def _short(values: Tensor) -> list[float | None]:
    """Return the numbers with four digits, for JSON; None where one is not finite or beyond 1e9."""
    return [float(f"{v:.4g}") if v == v and abs(v) < 1e9 else None for v in values.tolist()]


def _packed(arms: Sequence[Trained]) -> dict[str, Any]:
    """Return the arms as the page reads them: numbers in half precision, and a table."""
    halves = torch.cat([part.half() for arm in arms for part in (arm.theta, arm.alpha)])
    table = [
        {
            "shape": arm.shape, "start": arm.start, "rates": len(arm.alpha),
            "iterations": arm.iterations, "mean": _short(arm.curves.mean(0)),
            "low": _short(arm.curves.amin(0)), "high": _short(arm.curves.amax(0)),
            "test": _short(arm.test[:, 1]) if arm.test.numel() else [],
        }
        for arm in arms
    ]
    moved = torch.cat([arm.moved for arm in arms]).byte()
    return {
        "_arms": table, "_weights": halves.numpy().astype("<f2").tobytes(),
        "_moved": _bits(moved),
    }


def _bits(moved: Tensor) -> bytes:
    """Return eight yes-or-no's a byte, the first one highest."""
    padded = torch.nn.functional.pad(moved, (0, -len(moved) % 8)).view(-1, 8)
    return bytes((padded << torch.arange(7, -1, -1)).sum(-1).tolist())


class AlphaLab(SineFigure):
    """A sweep over where alpha begins: its training, the rates it ended with, and one task.

    The parameters not named here are those of `SineFigure`.

    Parameters
    ----------
    arms : sequence of Trained, optional
        What there is to pick from; by default the stored sweep.
    shape : str
        ``"entry"``, ``"tensor"`` or ``"scalar"``.
    start : str
        Where alpha began, by its name in `arms`.
    layer : str
        Whose rates the histogram counts: ``"all"``, ``"1"``, ``"2"`` or ``"3"``.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "shared/sinusoid.js", "alphalab.js",
    )
    _figure_id = "alpha-lab"

    shape = traitlets.Enum(SHAPES, "entry").tag(sync=True)
    start = traitlets.Unicode("0.01").tag(sync=True)
    layer = traitlets.Enum(("all", "1", "2", "3"), "all").tag(sync=True)
    _arms: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _moved = traitlets.Bytes().tag(sync=True)

    def __init__(self, *, arms: Sequence[Trained] | None = None, **traits: Any) -> None:
        self.arms = tuple(stored() if arms is None else arms)
        super().__init__(**_packed(self.arms), **traits)
        self.chosen()  # refuses a pair that is not there

    def show(self, *arms: Trained) -> None:
        """Show newer states of the same arms, as while they train.

        Raises
        ------
        ValueError
            If they have another shape or start.
        """
        old, new = ([(arm.shape, arm.start) for arm in found] for found in (self.arms, arms))
        if new != old:
            raise ValueError(f"the arms must be {old}, as before, got {new}")
        self.arms = arms
        with self.hold_sync():
            for name, value in _packed(arms).items():
                self.set_trait(name, value)

    @traitlets.validate("start")
    def _check_start(self, proposal: Any) -> str:
        known = list(dict.fromkeys(arm.start for arm in self.arms))
        if proposal["value"] not in known:
            raise traitlets.TraitError(
                f"start must be one of {', '.join(known)}; got {proposal['value']!r}"
            )
        return proposal["value"]

    def arguments(self) -> dict[str, Any]:
        """Return the keywords that make this figure again: none for arms that are not stored."""
        return super().arguments() if self.arms is stored() else {}

    def chosen(self) -> Trained:
        """Return the arm that is shown."""
        for arm in self.arms:
            if (arm.shape, arm.start) == (self.shape, self.start):
                return arm
        raise ValueError(f"there is no arm per {self.shape} that began at {self.start}")

    def picture(self) -> bytes:
        """Return the training curve, the rates and the task as a PNG."""
        arm = self.chosen()
        picture = Picture(figsize=(9.6, 3.4), dpi=100, facecolor="white", layout="constrained")
        axes: Sequence[Axes] = picture.subplots(1, 3)
        colour = PALETTE["vermilion"]
        for other in self.arms:
            if other.shape == arm.shape and other is not arm:
                axes[0].plot(arm.iterations, other.curves.mean(0), color="#999999", linewidth=0.8)
        axes[0].plot(arm.iterations, arm.curves.mean(0), color=colour, linewidth=2.2)
        axes[0].fill_between(arm.iterations, arm.curves.amin(0), arm.curves.amax(0), color=colour,
                             alpha=0.2, linewidth=0)
        axes[0].set(yscale="log", ylim=(0.3, 10), xlabel=_SHARED["iterations"],
                    ylabel=_SHARED["error"],
                    title=fill(_WORDS["training"][arm.shape], start=arm.start))
        rates = arm.alpha.float()
        limit = float(rates.abs().quantile(0.99))
        kinds = [rates[arm.moved & (rates < 0)], rates[arm.moved & (rates >= 0)], rates[~arm.moved]]
        axes[1].hist(
            [kind.clamp(-limit, limit).tolist() for kind in kinds], bins=40, stacked=True,
            range=(-limit, limit),
            label=(_SHARED["negative"], _SHARED["positive"], _SHARED["unmoved"]),
            color=[PALETTE[name] for name in ("vermilion", "blue", "grey")],
        )
        axes[1].legend()
        axes[1].set(xlabel=_SHARED["alpha"], ylabel=_WORDS["number"], title=_WORDS["rates"])
        self.draw(axes[2], {fill(_WORDS["network"], start=arm.start): arm.leaves()})
        return png(picture)
