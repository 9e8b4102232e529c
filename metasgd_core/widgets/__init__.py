"""Interactive figures: they compute in the page, with a kernel or without."""

from metasgd_core.widgets.alphalab import AlphaLab
from metasgd_core.widgets.attentionstep import AttentionStep
from metasgd_core.widgets.cartpole import CartPolePlay
from metasgd_core.widgets.character import DrawCharacter
from metasgd_core.widgets.guesser import BeatTheGuesser
from metasgd_core.widgets.live import LiveLab
from metasgd_core.widgets.patientcurve import PatientCurve
from metasgd_core.widgets.sine import AdaptSine
from metasgd_core.widgets.stepgraph import StepGraph
from metasgd_core.widgets.stepkernel import StepKernel
from metasgd_core.widgets.twentywalks import TwentyWalks
from metasgd_core.widgets.valley import Valley

__all__ = [
    "AdaptSine", "AlphaLab", "AttentionStep", "BeatTheGuesser", "CartPolePlay", "DrawCharacter",
    "LiveLab", "PatientCurve", "StepGraph", "StepKernel", "TwentyWalks", "Valley",
]
