"""CartPole in the page: a policy learns to balance, or finds out in one step which side pays."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.plotting import PALETTE, draw_cartpole
from metasgd_core.studies import load
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png, within
from metasgd_core.widgets.words import WORDS, fill

_WORDS = WORDS["pictures"]["cartpole"]
_GIVEN = CONSTANTS["cartpole"]
STARTS: tuple[str, ...] = _GIVEN["starts"]
#: Lowest and highest value that a control may set.
RANGES: dict[str, tuple[float, float]] = _GIVEN["ranges"]
_TASK = ("length", "masspole", "masscart", "force", "gravity", "side", "seed")


@cache
def starts() -> dict[str, tuple[Tensor, Tensor]]:
    """Return each start's theta, ``(450,)``, and alpha, ``(1,)`` or ``(450,)``."""
    tensors, _ = load("figure-cartpole")
    return {name: (tensors[f"{name}/theta"], tensors[f"{name}/alpha"]) for name in STARTS}


def _most(start: str) -> int:
    return int(_GIVEN["training" if start == "random" else "updates"])


def _numbers(values: list[Any], count: int) -> bool:
    return len(values) == count and all(math.isfinite(v) for v in values)


class CartPolePlay(Figure):
    """A CartPole whose policy adapts in the page, by its own ten episodes and their gradient.

    Every attribute can be set when the figure is made and read or changed afterwards. A figure that
    begins with ``start="random", side=0`` is the plain CartPole of chapter 14: it has no controls
    for the side, the start and the swap.

    Attributes
    ----------
    start : {"random", "MAML", "Meta-SGD", "joint"}
        Whose theta and alpha: chapter 14's policy before its training and its rate, or the first
        training seeds of chapter 15's secret side.
    side : {1, -1, 0}
        Which side is rewarded: right, left, or every step.
    updates : int
        After how many steps the policy plays, 0 to 3, and to 30 from the random start. Steps not
        yet taken are taken, on ten episodes each, played under the physics and the side of that
        moment.
    length, masspole, masscart, force, gravity : float
        As in ``CartPoleTasks``; the force is positive.
    swapped : bool
        Whether left and right are swapped.
    seed : int
        Of all chances: where episodes begin and which actions the policy draws.
    greedy : bool
        Whether the policy that plays takes its likelier action instead of drawing one. What it
        adapts on, it draws always.
    speed : float
        Of the animation; 1 is real time.
    history : list of list of float
        The task of each step taken: length, masspole, masscart, force (negative: swapped),
        gravity, side, seed.
    episode, step, earned : int
        The number of the episode on show, how far it is, and what it has earned.
    state : list of float
        The cart's position (m), velocity (m/s), angle (rad) and angular velocity (rad/s); empty:
        where the episode begins.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "shared/returns.js", "cart.js", "cartpole.js",
    )
    _figure_id = "cartpole"

    start = traitlets.Enum(STARTS, "MAML").tag(sync=True)
    side = traitlets.Enum((1, -1, 0), 1).tag(sync=True)
    updates = traitlets.Int(0).tag(sync=True)
    length = traitlets.Float(0.5).tag(sync=True)
    masspole = traitlets.Float(0.1).tag(sync=True)
    masscart = traitlets.Float(1.0).tag(sync=True)
    force = traitlets.Float(10.0).tag(sync=True)
    gravity = traitlets.Float(9.8).tag(sync=True)
    swapped = traitlets.Bool(False).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    greedy = traitlets.Bool(False).tag(sync=True)
    speed = traitlets.Float(1.0).tag(sync=True)
    history: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    episode = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    earned = traitlets.Int(0).tag(sync=True)
    state: traitlets.List[float] = traitlets.List().tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _rates = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        parts, rates = [], {}
        for name, (theta, alpha) in starts().items():
            one = len(alpha) == 1
            parts += [theta] if one else [theta, alpha]
            rates[name] = float(alpha) if one else None
        weights = torch.cat(parts).numpy().astype("<f4").tobytes()
        super().__init__(_weights=weights, _rates=rates, **traits)

    _in_range = within(RANGES)

    @traitlets.validate("updates")
    def _check_updates(self, proposal: Any) -> int:
        taken, most = int(proposal["value"]), _most(self.start)
        if not 0 <= taken <= most:
            raise traitlets.TraitError(f"updates must be from 0 to {most}, got {taken}")
        return taken

    @traitlets.validate("start")
    def _check_start(self, proposal: Any) -> str:
        start, taken = str(proposal["value"]), max(self.updates, len(self.history))
        if taken > _most(start):
            raise traitlets.TraitError(
                f"updates, history: {start!r} takes at most {_most(start)} steps, got {taken}"
            )
        return start

    @traitlets.validate("history")
    def _check_history(self, proposal: Any) -> list[list[float]]:
        tasks = [list(task) for task in proposal["value"]]
        most = _most(self.start)
        if len(tasks) > most or not all(_numbers(task, len(_TASK)) for task in tasks):
            raise traitlets.TraitError(
                f"history must be up to {most} tasks of {len(_TASK)} finite numbers, got {tasks}"
            )
        return tasks

    @traitlets.validate("state")
    def _check_state(self, proposal: Any) -> list[float]:
        state = list(proposal["value"])
        if state and not _numbers(state, 4):
            raise traitlets.TraitError(f"state must be empty or four finite numbers, got {state}")
        return state

    def picture(self) -> bytes:
        """Return a PNG of the cart as it stands, the rewarded side shaded."""
        picture = Picture(figsize=(6.0, 2.8), dpi=100, facecolor="white", layout="constrained")
        ax = picture.subplots()
        draw_cartpole(ax, self.state or [0.0] * 4, length=self.length)
        if self.side:
            ax.axvspan(0, 2.4 * self.side, color=PALETTE["green"], alpha=0.15, zorder=0)
        ax.set(title=fill(_WORDS["title"][self.start], count=self.updates))
        return png(picture)
