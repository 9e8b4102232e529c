"""A patient's curve, chapter 13: three blood samples, and what is made of them."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.models import predict
from metasgd_core.plotting import METHOD_STYLES, PALETTE
from metasgd_core.studies import load
from metasgd_core.studies.patients import SLIP, bounded
from metasgd_core.tasks.patients import UNIT, Patients, PatientTasks, features
from metasgd_core.theophylline import Patient, fitted, patients, typical
from metasgd_core.types import Data, Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png, within
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["patientcurve"]
_GIVEN = CONSTANTS["patientcurve"]
RANGES = _GIVEN["ranges"]
#: The training whose first seed adapts in the page.
ROW = "Meta-SGD, 3 known"
PEOPLE: dict[str, Patient] = {one.subject: one for one in patients()}
#: Which three of a patient's ten measurements are known at first.
KNOWN: tuple[int, ...] = _GIVEN["known"]
FIRST = "10"


@cache
def network() -> tuple[Params, Params]:
    """Return theta and alpha of the study's first seed, in the order of the model's parameters."""
    tensors, _ = load("patients")
    names = [name for name, _ in Patients().model.named_parameters()]

    def part(kind: str) -> Params:
        return {name: tensors[f"{ROW}/{kind}.{name}"][0] for name in names}

    return part("theta"), part("alpha")


@cache
def _packed() -> bytes:
    """Return theta and then alpha as float32 bytes."""
    parts = [leaf.flatten() for part in network() for leaf in part.values()]
    return torch.cat(parts).numpy().astype("<f4").tobytes()


class PatientCurve(Figure):
    """A patient's concentration over a day, told from three blood samples that the reader drags.

    Four curves: the typical patient of the population, who needs no sample; the likeliest one,
    found by who knows the formula; and the network of the study, before its one step and after.
    They are measured on those of the patient's ten measurements at whose hour no sample was taken.

    Parameters
    ----------
    patient : str
        One of the twelve, ``"1"`` to ``"12"``.
    hour_1, hour_2, hour_3 : float
        When the samples are taken, from 0 to 25, in any order; by default when three of this
        patient's were.
    level_1, level_2, level_3 : float
        Their levels, from 0 to 15 mg/L; by default what was measured then.
    slip : bool
        Whether the first sample is written down ten times too high.
    bounded : bool
        Whether the network's step bounds what a residual counts for.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/network.js", "shared/frame.js",
        "shared/draw.js", "patientcurve.js",
    )
    _figure_id = "patient-curve"

    patient = traitlets.Enum(tuple(PEOPLE), FIRST).tag(sync=True)
    hour_1 = traitlets.Float().tag(sync=True)
    level_1 = traitlets.Float().tag(sync=True)
    hour_2 = traitlets.Float().tag(sync=True)
    level_2 = traitlets.Float().tag(sync=True)
    hour_3 = traitlets.Float().tag(sync=True)
    level_3 = traitlets.Float().tag(sync=True)
    slip = traitlets.Bool(False).tag(sync=True)
    bounded = traitlets.Bool(False).tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        one = PEOPLE.get(traits.get("patient", FIRST), PEOPLE[FIRST])  # another one is refused
        taken: dict[str, float] = {}
        for k, i in enumerate(KNOWN, 1):
            taken |= {f"hour_{k}": one.hours[i], f"level_{k}": one.level[i]}
        super().__init__(_weights=_packed(), **(taken | traits))

    _in_range = within(RANGES)

    def samples(self) -> tuple[list[float], list[float]]:
        """Return the hours of the three samples, ascending, and their levels as written down."""
        level = (self.level_1 * (SLIP if self.slip else 1), self.level_2, self.level_3)
        hours, levels = zip(*sorted(zip((self.hour_1, self.hour_2, self.hour_3), level)))
        return list(hours), list(levels)

    def likeliest(self) -> PatientTasks:
        """Return the likeliest patient, given the samples and the formula.

        The page looks from three starts: of samples that no patient has, it may find a likelier.
        """
        hours, level = self.samples()
        # The fit refuses two samples at the same moment: they are a few microseconds apart.
        apart = [t + 1e-9 * k for k, t in enumerate(hours)]
        return fitted(Patients(), apart, level, PEOPLE[self.patient].dose)

    def curves(self, hours: Tensor) -> dict[str, Tensor]:
        """Return the four curves at some hours, ``(points,)`` each, mg/L in float64.

        ``typical``, ``formula``, and the network ``before`` and ``after`` its step.
        """
        family, dose, (taken, level) = Patients(), PEOPLE[self.patient].dose, self.samples()
        theta, alpha = ({n: p.double() for n, p in part.items()} for part in network())
        d = torch.tensor([dose], dtype=torch.float64)
        y = d.new_tensor(level)[None, :, None] / UNIT
        support = Data(features(d.new_tensor([taken]), d), y)
        loss = partial(bounded, family) if self.bounded else family.loss
        start = per_task(theta, (1,))
        phi = adapt(loss, start, per_task(alpha, (1,)), support, first_order=True)

        def told(parameters: Params) -> Tensor:
            x = features(hours.double()[None], d)
            return UNIT * predict(family.model, parameters, x)[0, :, 0].detach()

        return {
            "typical": typical(family, dose)(hours.double()),
            "formula": self.likeliest()(hours.double()),
            "before": told(start), "after": told(phi),
        }

    def asked(self) -> list[int]:
        """Return which of the ten measurements are at the hour of no sample."""
        taken, near = self.samples()[0], _GIVEN["near"][0]
        return [i for i, t in enumerate(PEOPLE[self.patient].hours)
                if all(abs(t - other) > near for other in taken)]  # fmt: skip

    def errors(self) -> dict[str, float]:
        """Return the root mean squared error of each curve on what is asked, mg/L."""
        one, asked = PEOPLE[self.patient], self.asked()
        hours, level = torch.tensor([one.hours, one.level], dtype=torch.float64)[:, asked]
        curves = self.curves(hours)
        return {name: float((told - level).square().mean().sqrt())
                for name, told in curves.items()}  # fmt: skip

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        picture = Picture(figsize=(6.0, 4.6), dpi=100, facecolor="white", layout="constrained")
        ax, names, one = picture.subplots(), _WORDS["names"], PEOPLE[self.patient]
        hours = RANGES["hour_1"][1] * torch.linspace(0, 1, 201, dtype=torch.float64) ** 2
        own = METHOD_STYLES["Meta-SGD"]["color"]
        for name, colour, line in (
            ("typical", PALETTE["grey"], "--"), ("formula", PALETTE["green"], "-"),
            ("before", own, ":"), ("after", own, "-"),
        ):  # fmt: skip
            ax.plot(hours, self.curves(hours)[name], color=colour, linestyle=line,
                    label=names[name])  # fmt: skip
        ax.plot(one.hours, one.level, "o", color=PALETTE["orange"], markerfacecolor="none",
                label=names["measured"])
        for k in range(1, 4):
            place = getattr(self, f"hour_{k}"), getattr(self, f"level_{k}")
            ax.plot(*place, "o", color=PALETTE["black"])
            ax.annotate(str(k), place, (6, 6), textcoords="offset points")
        low, high = RANGES["level_1"]
        if self.slip:
            up = min(high, SLIP * self.level_1)
            ax.annotate("", (self.hour_1, up), (self.hour_1, self.level_1),
                        arrowprops={"arrowstyle": "->", "color": PALETTE["black"]})
        ax.set(xlim=RANGES["hour_1"], ylim=(low, high), xlabel=_WORDS["x"], ylabel=_WORDS["y"],
               title=_WORDS["plot"])
        picture.legend(loc="outside lower center", ncols=3, frameon=False)
        return png(picture)
