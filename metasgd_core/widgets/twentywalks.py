"""The figure of chapter 16: a spring takes twenty walks, is paid, and makes one update."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.models import GaussianMLP
from metasgd_core.plotting import PALETTE
from metasgd_core.policy_gradient import PolicyGradient
from metasgd_core.tasks.navigation import REACH, Navigation, NavigationTasks
from metasgd_core.types import Params, Trajectories
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png, within
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["twentywalks"]
_GIVEN = CONSTANTS["twentywalks"]
WALKS, EDGE = int(_GIVEN["walks"]), float(_GIVEN["edge"])
F64 = torch.float64
#: On which alpha is fitted, ``(25, 2)``.
GOALS = torch.cartesian_prod(*[torch.tensor(_GIVEN["places"], dtype=F64)] * 2)


def normals(seed: int, count: int) -> Tensor:
    """Return the standard normal numbers that the page draws from a seed, ``(count,)``.

    By Box and Muller, from the sequence of ``mulberry`` in ``numbers.js``.
    """
    with np.errstate(over="ignore"):
        i = np.arange(1, count + 1, dtype=np.uint32)
        t = np.uint32(seed) + i * np.uint32(0x6D2B79F5)
        t = (t ^ t >> 15) * (t | 1)
        t ^= t + (t ^ t >> 7) * (t | 61)
    u = ((t ^ t >> 14) + 0.5) / 2**32
    far, turn = np.sqrt(-2 * np.log(u[::2])), 2 * np.pi * u[1::2]
    return torch.from_numpy(np.stack([far * np.cos(turn), far * np.sin(turn)], 1).ravel())


class Told(NamedTuple):
    """What the updates of a spring tell: for the goals all over the square, last the reader's.

    Attributes
    ----------
    goals : Tensor
        ``(goals, 2)``.
    before, after : Trajectories
        The walks, for each goal.
    alpha : Tensor
        ``()``: the rate of the velocity v that brings the resting places nearest to the goals.
    rests : Tensor
        ``(goals, 2)``: where the agent rests after its update.
    place : Tensor
        ``()``: by how many percent the update is longer for a goal a tenth further away. At 0 it
        knows the direction of the goal, at 10 its place.
    width : Tensor
        ``()``: of the reader's walks before, their standard deviation along an axis, a mean over
        the steps after the 20th; for this no walk ends.
    returns : Tensor
        ``(goals,)``: after the update, a mean over the walks.
    """

    goals: Tensor
    before: Trajectories
    after: Trajectories
    alpha: Tensor
    rests: Tensor
    place: Tensor
    width: Tensor
    returns: Tensor


class TwentyWalks(Figure):
    r"""Walks of a policy that pulls to the origin, and what one update on them can know.

    Its mean velocity is :math:`v - \kappa s`, with v = 0 before the update. The policy gradient is
    the package's, with the leave-one-out baseline; alpha is fitted, so that what an update tells
    does not depend on a rate.

    Every attribute can be set when the figure is made and read or changed afterwards.

    Attributes
    ----------
    pull : float
        :math:`\kappa`, from 0.02 to 0.8.
    noise : float
        The standard deviation of each coordinate of a velocity, from 0.01 to 0.1.
    reward : {"distance", "squared"}
        What a step costs.
    advantages : {"normalised", "as they are"}
        Whether they are divided by the spread of the task.
    goal : list of float
        Within 0.5 of the origin along each axis.
    seed : int
        Of all chances.
    """

    _figure_id = "twenty-walks"
    sources = (
        "shared/words.js", "shared/numbers.js", "shared/frame.js", "shared/draw.js",
        "shared/returns.js", "twentywalks.js",
    )

    pull = traitlets.Float(0.4).tag(sync=True)
    noise = traitlets.Float(0.022).tag(sync=True)
    reward = traitlets.Enum(_GIVEN["rewards"], "distance").tag(sync=True)
    advantages = traitlets.Enum(_GIVEN["advantages"], "normalised").tag(sync=True)
    goal = traitlets.List(traitlets.Float(), [0.1, 0.1], minlen=2, maxlen=2).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    _in_range = within(_GIVEN["ranges"])

    @traitlets.validate("goal")
    def _in_the_square(self, proposal: dict[str, Any]) -> list[float]:
        goal = list(proposal["value"])
        if not all(abs(v) <= EDGE for v in goal):
            raise traitlets.TraitError(f"goal must lie within {EDGE} of the origin, got {goal}")
        return goal

    def family(self) -> Navigation:
        """Return the tasks, as they are paid; in float64."""
        objective = PolicyGradient(normalize=self.advantages == "normalised")
        model = GaussianMLP((2, 2)).double()
        return Navigation(model, reward=self.reward, objective=objective)

    def spring(self, v: Tensor) -> Params:
        """Return the policy with this v, ``(goals, 2)``."""
        return per_task({
            "layers.0.weight": -self.pull / REACH * torch.eye(2, dtype=F64),
            "log_std": torch.full((2,), log(self.noise), dtype=F64),
        }, v.shape[:1]) | {"layers.0.bias": v / REACH}  # fmt: skip

    def walks(self, goals: Tensor, v: Tensor, noise: Tensor) -> Trajectories:
        """Play twenty walks for each goal, shaken by ``(horizon, goals, walks, 2)``."""
        start = torch.zeros(len(goals), WALKS, 2, dtype=F64)
        return self.family().walk(NavigationTasks(*goals.T), self.spring(v), start, noise)

    def chances(self) -> tuple[Tensor, Tensor]:
        """Return the noise of the walks before the update, and of those after it.

        A block for each goal of `GOALS` and one for the reader's; after it, one for all goals.
        """
        blocks = len(GOALS) + 2
        noise = normals(self.seed, blocks * 2 * WALKS * Navigation.horizon)
        noise = noise.view(blocks, Navigation.horizon, WALKS, 2).transpose(0, 1)
        return noise[:, :-1], noise[:, -1:]

    def change(self, data: Trajectories) -> Tensor:
        """Return how one update with alpha = 1 changes v, for the walks of each goal."""
        theta = self.spring(torch.zeros(len(data.reward), 2, dtype=F64))
        one = {name: torch.tensor(float(name == "layers.0.bias"), dtype=F64) for name in theta}
        phi = adapt(self.family().loss, theta, one, data, first_order=True)
        return REACH * phi["layers.0.bias"].detach()

    def returns(self, data: Trajectories) -> Tensor:
        """Return minus the distance, summed over the steps, a mean over walks: ``(goals,)``."""
        cost = -data.reward if self.reward == "distance" else (-data.reward).sqrt()
        return -cost.sum(-1).mean(-1)

    def told(self) -> Told:
        """Return what the updates tell over the goals of the square, and for the reader's."""
        goals = torch.cat([GOALS, torch.tensor([self.goal], dtype=F64)])
        noise, later = self.chances()
        before = self.walks(goals, torch.zeros_like(goals), noise)
        change = self.change(before)
        known = change[:-1]
        alpha = (known * self.pull * GOALS).sum() / known.square().sum()
        v = alpha * change
        after = self.walks(goals, v, later)
        far = GOALS.norm(dim=-1)
        there = far > 0
        x, y = far[there], ((v[:-1] / self.pull * GOALS).sum(-1) / far)[there]
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        free = self.walks(goals[-1:] + 9, 0 * goals[-1:], noise[:, -1:])  # nobody gets so far
        width = free.observation[:, :, 20:].std(1).mean()
        place = 10 * slope * x.mean() / y.mean()
        return Told(goals, before, after, alpha, v / self.pull, place, width, self.returns(after))

    def picture(self) -> bytes:
        """Return a PNG of the present state."""
        told = self.told()
        picture = Picture(figsize=(6.0, 7.4), dpi=100, facecolor="white", layout="constrained")
        plane, rests = picture.subplots(2, 1, height_ratios=(1.6, 1))
        for walks, colour, count in ((told.before, "grey", WALKS), (told.after, "blue", 8)):
            for path, mask in zip(walks.observation[-1, :count], walks.mask[-1]):
                plane.plot(*path[mask].T, color=PALETTE[colour], linewidth=0.8)
        plane.plot(*self.goal, "*", color=PALETTE["vermilion"], markersize=13, zorder=3)
        plane.plot(*told.rests[-1], "x", color=PALETTE["black"], markersize=9)
        plane.set(aspect="equal", xlim=(-0.7, 0.7), ylim=(-0.7, 0.7), title=_WORDS["title"],
                  xlabel=_WORDS["x"], ylabel=_WORDS["y"])  # fmt: skip
        far = told.goals.norm(dim=-1)
        along = (told.rests * told.goals).sum(-1) / far
        rests.plot([0, 0.8], [0, 0.8], "--", color=PALETTE["grey"], label=_WORDS["names"]["place"])
        rests.plot(far[:-1], along[:-1], "o", color=PALETTE["blue"], markersize=4)
        rests.plot(far[-1], along[-1], "o", color=PALETTE["vermilion"])
        rests.set(xlabel=_WORDS["far"], ylabel=_WORDS["along"], xlim=(0, 0.75), ylim=(-0.1, 0.8))
        rests.legend()
        return png(picture)
