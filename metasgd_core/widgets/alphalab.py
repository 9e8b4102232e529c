"""The alpha lab: pick where alpha begins, and see how it trains, what it becomes, how it adapts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.alpha import AlphaShape, LogUniform, Uniform
from metasgd_core.checkpoint import load_checkpoint
from metasgd_core.meta_training import Record
from metasgd_core.methods import META_SGD
from metasgd_core.plotting import PALETTE
from metasgd_core.studies import lab
from metasgd_core.studies.lab import Arms, Start
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params
from metasgd_core.widgets.figure import png
from metasgd_core.widgets.sinusoid import SineFigure

DATA = Path(__file__).with_name("data") / "alphalab.safetensors"
SEEDS, EVERY = 5, 500
#: Where alpha begins, by the name that the reader picks it with.
STARTS: dict[str, Start] = {
    "-0.01": -0.01, "0": 0.0, "0.00001": 1e-5, "0.0001": 1e-4, "0.001": 1e-3, "0.01": 0.01,
    "0.1": 0.1, "1": 1.0, "uniform": Uniform(0.005, 0.1), "log-uniform": LogUniform(1e-4, 0.1),
}
SHAPES: tuple[AlphaShape, ...] = ("entry", "tensor", "scalar")
SWEEP: dict[str, Arms] = {
    shape: Arms(replace(META_SGD, alpha_shape=shape), tuple(STARTS.values())) for shape in SHAPES
}


@dataclass(frozen=True)
class Trained:
    """What the figure shows of one arm.

    Parameters
    ----------
    shape, start : str
        How many numbers alpha has, and the name of its start.
    theta, alpha : Tensor
        Of one run, ``(1761,)`` and ``(1761,)``, ``(6,)`` or ``(1,)``.
    moved : Tensor
        Which numbers of alpha training has moved.
    iterations : list of int
        When the error was taken.
    curves : Tensor
        ``(seeds, iterations)``, the error on validation tasks after one inner step.
    test : Tensor
        ``(seeds, steps + 1)``, the mean error on test tasks after 0, 1, ... inner steps.
    """

    shape: str
    start: str
    theta: Tensor
    alpha: Tensor
    moved: Tensor
    iterations: list[int]
    curves: Tensor
    test: Tensor

    def leaves(self) -> tuple[Params, Params]:
        """Return theta and alpha by the names of the network's parameters, float32."""
        shapes = {name: p.shape for name, p in Sinusoid().model.named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        each = {"entry": sizes, "tensor": [1] * len(sizes)}.get(self.shape)
        theta, alpha = self.theta.float().split(sizes), self.alpha.float()
        rates = alpha.split(each) if each else [alpha] * len(sizes)
        return (
            {name: p.view(shapes[name]) for name, p in zip(shapes, theta)},
            {name: a.expand(size).view(shapes[name])
             for name, a, size in zip(shapes, rates, sizes)},
        )


def error_now(record: Record) -> Tensor:
    """Return the error on 100 validation tasks after one step, ``(arms, seeds)``."""
    return lab.held_out(
        record.theta, record.alpha, seed=lab.VALIDATION, n_tasks=100, steps=1
    )[..., 1, :].mean(-1)


def trained(
    shape: str, names: Sequence[str], first: Params, record: Record, curve: dict[int, Tensor],
    test: Tensor,
) -> list[Trained]:
    """Return what the figure shows of arms that were trained together; of seed 0, where of one.

    Parameters
    ----------
    shape : str
        That of alpha.
    names : sequence of str
        One an arm, of its start.
    first : Params
        The first alpha.
    record : Record
        The last one of the training, runs ``(arms, seeds)``.
    curve : dict
        Iteration to `error_now`.
    test : Tensor
        ``(arms, seeds, steps + 1)``, or ``(arms, seeds, 0)`` where it is not known yet.
    """
    def flat(params: Params, leaves: Sequence[str]) -> Tensor:
        return torch.cat([params[n][:, 0].reshape(len(names), -1) for n in leaves], dim=-1)

    every = list(record.theta)
    some = every[:1] if shape == "scalar" else every
    theta, alpha = flat(record.theta, every), flat(record.alpha, some)
    moved = ~alpha.isclose(flat(first, some), rtol=1e-4)
    curves = torch.stack(list(curve.values()), -1)
    return [
        Trained(shape, name, theta[k], alpha[k], moved[k], list(curve), curves[k], test[k])
        for k, name in enumerate(names)
    ]


@cache
def stored() -> tuple[Trained, ...]:
    """Return the sweep that ``tools/figure_data.py alpha-lab`` has trained."""
    tensors, notes = load_checkpoint(DATA)
    arms = []
    for shape in SHAPES:
        part = {
            kind: tensors[f"{shape}/{kind}"]
            for kind in ("theta", "alpha", "moved", "validation", "test")
        }
        arms += [
            Trained(shape, start, part["theta"][k], part["alpha"][k], part["moved"][k],
                    notes["iteration"], part["validation"][k], part["test"][k])
            for k, start in enumerate(STARTS)
        ]
    return tuple(arms)


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
        "shared/numbers.js", "shared/network.js", "shared/frame.js", "shared/draw.js",
        "shared/sinusoid.js", "alphalab.js",
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
        axes[0].set(yscale="log", ylim=(0.3, 10), xlabel="meta-iterations",
                    ylabel="error after one step", title=f"alpha per {arm.shape}, from {arm.start}")
        rates = arm.alpha.float()
        limit = float(rates.abs().quantile(0.99))
        kinds = [rates[arm.moved & (rates < 0)], rates[arm.moved & (rates >= 0)], rates[~arm.moved]]
        axes[1].hist(
            [kind.clamp(-limit, limit).tolist() for kind in kinds], bins=40, stacked=True,
            range=(-limit, limit), label=("negative", "positive", "never moved"),
            color=[PALETTE[name] for name in ("vermilion", "blue", "grey")],
        )
        axes[1].legend()
        axes[1].set(xlabel="alpha", ylabel="entries", title="what alpha became")
        self.draw(axes[2], {f"from {arm.start}": arm.leaves()})
        return png(picture)
