"""The live half of the alpha lab: meta-train from a chosen alpha, in front of you."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from metasgd_core.alpha import LogUniform, Uniform
from metasgd_core.meta_training import Record
from metasgd_core.methods import META_SGD
from metasgd_core.studies import lab
from metasgd_core.studies.sweep import SEEDS, Trained, error_now, trained
from metasgd_core.widgets.alphalab import AlphaLab
from metasgd_core.widgets.words import WORDS, fill

#: How often the pictures follow a training.
RECORDS = 40
LARGEST = 10
_WORDS = WORDS["live"]
_NAMES = WORDS["live"]["controls"]


class LiveLab(ipywidgets.VBox):
    """Really meta-train Meta-SGD from the alpha that the reader chooses; needs a running kernel.

    Five networks are trained at once, as for the figures of the stored sweep, with fewer
    meta-iterations by default. What they have become is in `record` (theta, alpha) and in `figure`
    all the time, so that a stopped training leaves a result.

    Parameters
    ----------
    iterations : int
        Meta-iterations to begin with, 200 to 20 000.

    Attributes
    ----------
    record : Record or None
        The newest state of the training, runs ``(1, 5)``.
    figure : AlphaLab or None
        The pictures of it.
    """

    def __init__(self, *, iterations: int = 2000) -> None:
        if not 200 <= iterations <= lab.ITERATIONS:
            raise ValueError(f"iterations must be 200 to {lab.ITERATIONS}, got {iterations}")
        wide = {"style": {"description_width": "9rem"}, "layout": {"width": "24rem"}}
        self.shape = ipywidgets.Dropdown(
            description=_NAMES["shape"], value="entry",
            options=[(text, shape) for shape, text in _WORDS["shapes"].items()], **wide)
        self.kind = ipywidgets.Dropdown(
            description=_NAMES["kind"], value="constant",
            options=[(text, kind) for kind, text in _WORDS["kinds"].items()], **wide)
        self.low = ipywidgets.FloatText(0.01, description=_NAMES["low"], **wide)
        self.high = ipywidgets.FloatText(0.1, description=_NAMES["high"], disabled=True, **wide)
        self.iterations = ipywidgets.IntSlider(
            iterations, 200, lab.ITERATIONS, 200, description=_NAMES["iterations"],
            continuous_update=False, **wide)
        self.seed = ipywidgets.BoundedIntText(0, 0, 10**6, description=_NAMES["seed"], **wide)
        self.train = ipywidgets.Button(description=_NAMES["train"], button_style="primary")
        self.stop = ipywidgets.Button(description=_NAMES["stop"], disabled=True)
        self.progress = ipywidgets.IntProgress(0, 0, RECORDS, layout={"width": "24rem"})
        self.said = ipywidgets.Label(_WORDS["idle"])
        self.place = ipywidgets.VBox()
        self.record: Record | None = None
        self.figure: AlphaLab | None = None
        self.task: asyncio.Task[None] | None = None
        self._stopped = False
        super().__init__([
            self.shape, self.kind, self.low, self.high, self.iterations, self.seed,
            ipywidgets.HBox([self.train, self.stop]), self.progress, self.said, self.place,
        ])
        self.kind.observe(self._enable, "value")
        self.train.on_click(self._begin)
        self.stop.on_click(self._end)

    def __repr__(self) -> str:
        return "LiveLab()"

    def start(self) -> lab.Start:
        """Return the first alpha as it is set.

        Raises
        ------
        ValueError
            If it is not a number, or not a range.
        """
        low, high = self.low.value, self.high.value
        if self.kind.value == "constant":
            high = low
        elif not low < high:
            raise ValueError(f"the range must begin below its end, got {low} to {high}")
        if not -LARGEST <= low <= high <= LARGEST:
            raise ValueError(f"alpha must begin from -{LARGEST} to {LARGEST}, got {low} to {high}")
        if self.kind.value == "constant":
            return low
        if self.kind.value == "uniform":
            return Uniform(low, high)
        if low <= 0:
            raise ValueError(f"a range in the logarithm begins above 0, got {low}")
        return LogUniform(low, high)

    async def run(self) -> None:
        """Train, and let the kernel hear the Stop button between two records."""
        shape, iterations, draw = self.shape.value, self.iterations.value, self.seed.value
        try:
            start = self.start()
            low, high = (start, start) if isinstance(start, float) else (start.low, start.high)
            name = fill(_WORDS["starts"][self.kind.value], low=f"{low:g}", high=f"{high:g}")
            arms = lab.Arms(replace(META_SGD, alpha_shape=shape), (start,))
            _, first = lab.begin(arms, SEEDS, draw=draw)
        except ValueError as error:
            self.said.value = fill(_WORDS["refused"], error=error)
            return
        self.train.disabled, self.stop.disabled, self._stopped = True, False, False
        self.progress.value, self.record, self.figure = 0, None, None
        self.said.value = fill(_WORDS["progress"], done=0, count=iterations)
        curve: dict[int, Tensor] = {}
        ending = "finished"
        every = max(1, iterations // RECORDS)

        def show(test: Tensor) -> None:
            assert self.record is not None
            self._show(trained(shape, [name], first, self.record, curve, test)[0])

        try:
            records = lab.train(
                arms, seeds=SEEDS, iterations=iterations, record_every=every, draw=draw
            )
            for record in records:
                self.record = record
                curve[record.iteration] = error_now(record)
                self.progress.value = round(RECORDS * record.iteration / iterations)
                done = record.iteration
                self.said.value = fill(_WORDS["progress"], done=done, count=iterations)
                show(torch.empty(1, SEEDS, 0))
                await asyncio.sleep(0.01)  # long enough for a click to come through
                if self._stopped:
                    ending = "stopped"
                    break
        except FloatingPointError:  # all five runs have diverged
            ending = "lost"
        finally:
            self.train.disabled, self.stop.disabled = False, True
        assert self.record is not None  # a lost training yields where it was lost
        test = lab.held_out(self.record.theta, self.record.alpha).mean(-1)
        show(test)
        mean = float(test[0, :, 1].mean())
        endings = _WORDS["measured"] if math.isfinite(mean) else _WORDS["unmeasured"]
        count = self.record.iteration
        self.said.value = fill(endings[ending], count=count, mean=f"{mean:.3f}", seeds=SEEDS)

    def _show(self, arm: Trained) -> None:
        if self.figure is None:
            self.figure = AlphaLab(
                arms=[arm], shape=arm.shape, start=arm.start, figure_id="alpha-lab-live"
            )
            self.place.children = [self.figure]
        else:
            self.figure.show(arm)

    def _enable(self, change: Any) -> None:
        self.high.disabled = self.kind.value == "constant"

    def _begin(self, button: Any) -> None:
        if self.task is None or self.task.done():
            self.task = asyncio.ensure_future(self.run())
            self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.said.value = fill(_WORDS["failed"], error=error)

    def _end(self, button: Any) -> None:
        self._stopped = self.stop.disabled = True
