"""The rows of the conformance suite: every method and rule, and a family of every kind.

A new row goes into `METHODS`, a new family into `FAMILIES`, and every test of
test_conformance.py holds them. CONTRIBUTING's two examples are taken from its text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from cases import carts, sines, walks
from torch import nn

import metasgd_core
from metasgd_core import MAML, META_SGD, MLP, Data, Method, NeuralProcess, Sinusoid, init_alpha
from metasgd_core.alpha import init_rule
from metasgd_core.models import (
    GRU,
    ContextMLP,
    ConvNet,
    LinearAttention,
    MemoryNetwork,
    PrototypeNet,
    Transformer,
)
from metasgd_core.rules import (
    DESCENT,
    adam,
    alfa,
    curvature,
    lstm,
    meta_lstm,
    momentum,
    rate_a_step,
    warp,
)
from metasgd_core.tasks.arms import Arms, Preferences
from metasgd_core.tasks.base import Classification
from metasgd_core.tasks.games import Games
from metasgd_core.tasks.images import Images
from metasgd_core.tasks.patients import Patients


class Classes(NamedTuple):
    """Which of the characters a task has to tell apart, ``(*batch, ways)``."""

    character: torch.Tensor


class Drawings(Classification):
    """Six blurred copies each of eight random 6 x 6 patterns, three to be told apart."""

    one_draw = True

    def __init__(self, model: nn.Module, ways: int = 3) -> None:
        self.model, self.ways = model, ways
        g = torch.Generator().manual_seed(7)
        pattern = torch.randn(8, 1, 1, 6, 6, generator=g, dtype=torch.float64)
        self.pixels = pattern + 0.5 * torch.randn(8, 6, 1, 6, 6, generator=g, dtype=torch.float64)

    def sample_tasks(self, *batch, generator):
        device = generator.device
        order = torch.rand(*batch, len(self.pixels), generator=generator, device=device)
        return Classes(order.argsort(-1)[..., : self.ways])

    def sample_data(self, tasks, phi, shots, *, generator):
        of = tasks.character
        if shots > self.pixels.shape[1]:
            raise ValueError(
                f"there are {self.pixels.shape[1]} drawings of a character, and {shots} are asked "
                "for: take fewer shots and query_shots"
            )
        size = (*of.shape, self.pixels.shape[1])
        order = torch.rand(size, generator=generator, device=generator.device).argsort(-1)
        which = order[..., :shots].movedim(-1, -2)  # (*batch, shots, ways)
        y = torch.arange(self.ways, device=of.device).expand(which.shape)
        return Data(self.pixels[of.unsqueeze(-2).expand(which.shape), which], y)


class Conv(nn.Module):
    """A two-layer convolutional network; ``vmap`` carries it over tasks and runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Tanh(),
            nn.Flatten(), nn.Linear(16, 3),
        )

    def forward(self, x):
        return self.layers(x)


def tiny_images(
    norm: str = "batch", filters: int = 2, device=None, net: type[ConvNet] = ConvNet, **settings
) -> Images:
    """Six noisy copies each of eight random 6 x 6 images, three to be told apart."""
    model = net(3, filters, size=6, norm=norm).double().to(device)
    return Images(model, Drawings(model).pixels.squeeze(2).to(device), 3, **settings)


CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
#: Its Python examples, and what they define.
EXAMPLES = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
DEFINED: dict = {}
for code in EXAMPLES:
    exec(code, DEFINED)

READS = Method("reads", "query", reads=True)
VARIANTS = (
    replace(META_SGD, name="in the log", alpha_form="log"),
    replace(META_SGD, name="nonnegative", alpha_form="nonnegative"),
    replace(META_SGD, name="learned scalar", alpha_shape="scalar"),
    replace(META_SGD, name="learned per tensor", alpha_shape="tensor", inner_steps=2),
    replace(MAML, name="three steps", inner_steps=3),
    replace(META_SGD, name="momentum", rule=momentum(), inner_steps=2),
    replace(META_SGD, name="a rate a step", rule=rate_a_step(2), inner_steps=2),
    replace(META_SGD, name="MAML++", rule=rate_a_step(2), inner_steps=2, objective="steps"),
    replace(META_SGD, name="ALFA", rule=alfa(2), inner_steps=2),
    replace(META_SGD, name="Adam inside", rule=adam(), inner_steps=2),
    replace(META_SGD, name="Meta-Curvature", rule=curvature()),
    replace(META_SGD, name="T-net", rule=warp()),
    replace(MAML, name="CAVIA", inner_steps=2),  # rates for the context alone
    replace(META_SGD, name="LSTM", rule=lstm(3), inner_steps=2, first_order=True),
    replace(META_SGD, name="meta-LSTM", rule=meta_lstm(3), inner_steps=2),
    replace(META_SGD, name="several shots", objective="shots"),
    READS,
    replace(READS, name="reads several shots", objective="shots"),
    DEFINED["SIGNS"],
)
#: Models that read, small.
READERS: dict[str, nn.Module] = {
    "neural process": NeuralProcess(width=6, context=5),
    "GRU": GRU(hidden=5, width=4),
    "memory network": MemoryNetwork(hidden=4, width=4, slots=3, row=4),
    "attention": Transformer(False, width=4, heads=2, hidden=5),
    "causal transformer": Transformer(True, width=4, heads=2, hidden=5),
    "linear attention": LinearAttention((1, 4, 3, 1)),
}
METHODS = metasgd_core.METHODS | {method.name: method for method in VARIANTS}

FAMILIES = {
    "sinusoid": sines(),
    "varying frequency": Sinusoid.varying_frequency(sines(activation="tanh").model),
    "sinusoid, context": Sinusoid(ContextMLP((1, 4, 1), context=2).double()),
    **{f"sinusoid, {name}": Sinusoid(model.double()) for name, model in READERS.items()},
    "drawings": Drawings(Conv().double()),
    "images": tiny_images(turns=4),
    "images, read": tiny_images(net=PrototypeNet),
    "measured": DEFINED["measured"],
    "patients": Patients(MLP((3, 4, 3, 1)).double()),
    "cartpole": carts(),
    "arms": Arms(Preferences().double()),
    "navigation": walks(),
    "games": Games(nn.Linear(5, 1, bias=False).double(), rounds=6),
}
#: Support and query samples of a task, small enough for the families that run out of them.
SHOTS, QUERY_SHOTS = 2, 3


def fits(method: Method, family) -> bool:
    """Whether the row is meant for the family: who reads needs a reader, and so on."""
    if method.reads or hasattr(family.model, "read"):
        return method.reads and hasattr(family.model, "read")
    if method.name == "CAVIA":
        return isinstance(family.model, ContextMLP)
    linear = all(".weight" in n or ".bias" in n for n, _ in family.model.named_parameters())
    convolves = isinstance(family.model, Conv | ConvNet)
    return method.rule.name not in ("curvature", "warp") or (linear and not convolves)


PAIRS = {
    f"{name}, {kind}": (method, family)
    for name, method in METHODS.items() for kind, family in FAMILIES.items() if fits(method, family)
}


def first_alpha(method: Method, theta, runs=()):
    """Return the numbers that a method begins with."""
    if method.rule == DESCENT:
        alpha = init_alpha(theta, method.alpha_shape, 0.03, runs=runs)
        if method.name == "CAVIA":
            alpha = {n: a if n == "context" else torch.zeros_like(a) for n, a in alpha.items()}
        return alpha
    return init_rule(method.rule, theta, runs=runs)
