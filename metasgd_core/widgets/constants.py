"""What Python tells the figures' scripts: a constant for each, so that nothing stands in both.

A script ``sine.js`` finds the entry ``"sine"``, with its words, as the constant ``SINE``.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from metasgd_core.evaluation import student_t
from metasgd_core.floor import floor, mean_curve, moments
from metasgd_core.models.convnet import DEPTH, EPS
from metasgd_core.plotting import METHOD_STYLES, PALETTE, THEMES
from metasgd_core.policy_gradient import ROUNDING, PolicyGradient
from metasgd_core.studies.guesser import ROUNDS
from metasgd_core.studies.patients import BOUND, SLIP
from metasgd_core.tasks.cartpole import LIMITS, SEEN, START, STEP, CartPole, CartPoleTasks
from metasgd_core.tasks.images import DOT, INK, THRESHOLD
from metasgd_core.tasks.navigation import ARRIVED, REACH, Navigation
from metasgd_core.tasks.patients import UNIT, Patients
from metasgd_core.theophylline import patients
from metasgd_core.widgets.words import LANGUAGE, WORDS

#: The starts and methods, in groups, as the chapters introduce them.
MET = (
    ("random", "joint"), ("MAML",), ("FOMAML", "Reptile"), ("Meta-SGD",),
    ("Meta-SGD, lr 0.01", "Meta-Curvature"),
)
_NAMES = {colour: name for name, colour in PALETTE.items()}
_SEED = (0, 2**31 - 1)
_RATE = (0.001, 10.0)
#: Of the images that a network for characters sees.
SIZE = 28
#: Points that are dragged along a sine, and the height of the mean curve.
_MOST, _HEIGHT = 20, float(mean_curve(torch.zeros((), dtype=torch.float64)))

#: By the script; ``ranges`` are the lowest and the highest value of what a control sets.
CONSTANTS: dict[str, dict[str, Any]] = {
    "words": {"language": LANGUAGE},
    "frame": {
        "themes": THEMES,
        "methods": {name: _NAMES[style["color"]] for name, style in METHOD_STYLES.items()},
    },
    "sinusoid": {
        "ranges": {"steps": (0, 10), "amplitude": (0.1, 6.0), "phase": (0.0, 6.28),
                   "frequency": (0.2, 3.0), "seed": _SEED},
        "points": (1, 20),
        "grid": (-5, 5, 61),  # from, to, how many
        "family": {"amplitude": (0.1, 5.0), "phase": (0.0, math.pi)},  # where a seed draws from
        "limit": 1e6,  # an error beyond it is said in words
    },
    "returns": {"rounding": ROUNDING},
    "sine": {"least": 20},  # sets of points, before more often than not is said
    "alphalab": {
        # Student's t for the 95 % interval over 2, 3, ... 10 seeds.
        "student": tuple(round(student_t(seeds), 3) for seeds in range(2, 11)),
    },
    "points": {
        "ranges": {"amplitude": (0.1, 5.0), "phase": (0.0, 3.14), "chosen": (0, _MOST - 1)},
        "count": (1, _MOST),
        "grid": (-5, 5, 61),  # from, to, how many
    },
    "stepkernel": {
        "networks": ("MAML", "Meta-SGD"),  # in the order of their bytes
        "C": moments().C.tolist(), "P": moments().P.tolist(), "height": _HEIGHT,
        "floors": tuple(floor(shots) for shots in range(1, _MOST + 1)),
    },
    "attentionstep": {
        "ranges": {"query": (-5.0, 5.0)},
        "rates": ("one rate", "a rate an entry", "a matrix"),  # in the order of their bytes
        "goal": {"counts": 0.1, "nothing": 0.05},  # a weight that counts; as good as nothing
    },
    "valley": {
        "ranges": {"alpha": _RATE, "alpha_1": _RATE, "alpha_2": _RATE, "steps": (1, 100),
                   "curvature": (1.0, 100.0), "angle": (-90.0, 90.0)},
        "reach": (3.0, 1.8),
        "optimizers": {  # by torch's names
            "gradient descent": {},
            "momentum": {"momentum": 0.9},
            "Adam": {"betas": (0.9, 0.999), "eps": 1e-8},
        },
        "patience": 1000,  # how many steps to wait for one percent of the loss
    },
    "stepgraph": {
        "ranges": {"theta_1": (-2.0, 3.0), "theta_2": (-2.0, 3.0), "alpha_1": (0.0, 1.0),
                   "alpha_2": (0.0, 1.0)},
        "stages": 8,
        # Middle and half the width of each box, in hundredths of the picture, from below.
        "nodes": {"theta": (46, 94, 19), "alpha": (85, 50, 13.5), "support": (46, 72, 19),
                  "gradient": (46, 50, 19), "phi": (46, 28, 19), "last": (46, 6, 19)},
        # A row a point: what theta is multiplied with, and the target.
        "tasks": {
            "one": {"support": ((1, 2),), "query": ((2, 3),)},
            "two": {"support": ((1, 1, 2), (2, 1, 3)), "query": ((-1, 1, 0.5),)},
        },
    },
    "convnet": {
        "size": SIZE, "depth": DEPTH, "eps": EPS, "ink": INK, "dot": DOT, "threshold": THRESHOLD,
        # Of an image's pixels: the pen's radius, the longer side of the strokes, parts of a pixel.
        "pen": 1.0, "span": 20, "fine": 4,
        "least": 60,  # of the pad: strokes that are shorter are not stretched to that side
    },
    "character": {
        "ways": 5, "filters": 16,
        "pad": 256, "pen": 16, "apart": 5,  # the pad's side, the pen, the next point of a stroke
        "most": 4000,  # letters that a pad's strokes may have
        "drawings": 4,  # offered of a character
        "networks": ("MAML", "Meta-SGD"),  # in the order of their bytes
        "pads": ("#112", "#24", "#16", "#68", "#116", "#18"),
        "seeds": _SEED, "round": 10,  # questions on the same five characters
        "goal": 10,
    },
    "twentywalks": {
        "ranges": {"pull": (0.02, 0.8), "noise": (0.01, 0.1), "seed": _SEED},
        "rewards": ("distance", "squared"), "advantages": ("normalised", "as they are"),
        "walks": 20, "horizon": Navigation.horizon, "reach": REACH, "arrived": ARRIVED,
        "discount": PolicyGradient.discount, "edge": Navigation.goal[1],
        # Goals all over the square, to fit alpha on, a row or a column at each of these places.
        "places": (-0.4, -0.2, 0.0, 0.2, 0.4),
        # Percent by which an update is longer for a goal a tenth further off; and returns.
        "goal": {"place": 3, "direction": -12, "both": -6},
    },
    "patientcurve": {
        "ranges": {name: (0.0, high) for k in (1, 2, 3)
                   for name, high in ((f"hour_{k}", 25.0), (f"level_{k}", 15.0))},
        "patients": [(one.subject, one.dose, one.hours, one.level) for one in patients()],
        "known": (1, 4, 8),  # of a patient's ten measurements, at first
        # A sample so near to a measurement, in hours and mg/L, goes there; if in hours, knows it.
        "near": (0.2, 0.25),
        # Median and spread of ka, ke and V.
        "population": (Patients.absorption, Patients.elimination, Patients.volume),
        "noise": Patients.noise, "unit": UNIT, "slip": SLIP, "bound": BOUND,
    },
    "guesser": {
        "rounds": ROUNDS, "most": 400, "wide": 50, "normal": 1.96,
        "players": (
            ("alternates", "HT" * 50), ("threes", ("HHT" * 34)[:100]),
            # A hundred throws.
            ("coin", "TTTHHTHTHTHTHHTTHTTHHHTTHTHTTTHTHTTTHTTHHHHHTTHTHT"
                     "HTHTHTTHTTTTHTHTTHHHTHTHHHHTTHHHTTTTTTTHTHTTTHTTTH"),
        ),
    },
    "cart": {
        "step": STEP, "edge": LIMITS[0], "lean": LIMITS[1], "start": START, "seen": SEEN,
        "horizon": CartPole.horizon, "discount": PolicyGradient.discount,
        "physics": CartPoleTasks._fields[:5],
        "episodes": 10,  # that a step is taken on
    },
    "cartpole": {
        "ranges": {
            "length": (0.1, 4.0), "masspole": (0.02, 2.0), "masscart": (0.2, 5.0),
            "force": (1.0, 30.0), "gravity": (0.0, 30.0), "speed": (0.1, 4.0), "seed": _SEED,
            "episode": (0, 10**6), "step": (0, CartPole.horizon), "earned": (0, CartPole.horizon),
        },
        # How many steps may be taken: inner ones, and of training, from the random start.
        "updates": 3, "training": 30,
        "starts": ("random", "MAML", "Meta-SGD", "joint"),  # in the order of their bytes
    },
}


def told(name: str) -> dict[str, Any]:
    """Return what a script is told, its entry with its words; nothing where it needs nothing."""
    return CONSTANTS.get(name, {}) | ({"words": WORDS[name]} if name in WORDS else {})


def constant(name: str) -> str:
    """Return the line that gives a script its constant; no line where it needs none."""
    text = json.dumps(told(name), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return f"const {name.upper()} = {text};\n" if told(name) else ""
