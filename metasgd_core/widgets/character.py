"""Draw a character: a network sees five of the reader's, one each, and tells which the sixth is."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.models import ConvNet, predict
from metasgd_core.plotting import METHOD_STYLES, PALETTE
from metasgd_core.studies import load
from metasgd_core.tasks.images import crop_to_ink
from metasgd_core.types import Data, Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png
from metasgd_core.widgets.words import WORDS, fill

_WORDS = WORDS["character"]
_NET, _GIVEN = CONSTANTS["convnet"], CONSTANTS["character"]
WAYS, SIZE, PAD = _GIVEN["ways"], _NET["size"], _GIVEN["pad"]
#: What stands in a pad: nothing, the number of an offered drawing, or strokes: points of two
#: hexadecimal numbers each, from 00 to ff.
_PAD = re.compile(r"|#\d+|(?:[0-9a-f]{4})+(?: (?:[0-9a-f]{4})+)*")


def model() -> ConvNet:
    """Return the network of the figure, in double precision."""
    return ConvNet(WAYS, _GIVEN["filters"]).double()


@cache
def networks() -> dict[str, tuple[Params, Params]]:
    """Return theta and alpha of Meta-SGD and MAML, as they are stored, widened to float64."""
    tensors, _ = load("figure-draw")
    shapes = {name: p.shape for name, p in model().named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def leaves(name: str) -> Params:
        flat = tensors[name].double().expand(sum(sizes))
        return {key: leaf.view(shapes[key]) for key, leaf in zip(shapes, flat.split(sizes))}

    return {name: (leaves(f"{name}/theta"), leaves(f"{name}/alpha")) for name in _GIVEN["networks"]}


@cache
def sheet() -> Tensor:
    """Return the offered drawings, ``(characters, drawings, 28, 28)`` of bool."""
    bits = np.unpackbits(load("figure-draw").tensors["pixels/offered"].numpy(), axis=-1)
    return torch.tensor(bits).bool().unflatten(-1, (SIZE, SIZE))


def strokes(pad: str) -> list[Tensor]:
    """Return the strokes of a pad, ``(points, 2)`` each: x and y from 0 to 255."""
    return [torch.tensor(list(bytes.fromhex(one))).double().view(-1, 2) for one in pad.split()]


def inked(lines: list[Tensor]) -> Tensor:
    """Draw strokes as the network gets to see them, ``(28, 28)`` of bool.

    Whatever their size, they are scaled to the middle of the image and drawn by a round pen of one
    width; then the image is cropped to its ink.
    """
    points = torch.cat(lines)
    low, high = points.amin(0), points.amax(0)
    scale = _NET["span"] / max(float((high - low).max()), _NET["least"])
    side = (torch.arange(SIZE * _NET["fine"]).double() + 0.5) / _NET["fine"]
    at = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)  # (rows, columns, 2)
    drawn = torch.zeros(at.shape[:2], dtype=torch.bool)
    for line in lines:
        place = SIZE / 2 + scale * (line - (low + high) / 2)
        for a, b in zip(place[[0, *range(len(place) - 1)]], place):
            way = b - a
            along = ((at - a) @ way / way.square().sum().clamp(min=1e-300)).clamp(0, 1)
            drawn |= (at - a - along[..., None] * way).square().sum(-1) <= _NET["pen"] ** 2
    shares = avg_pool2d(drawn[None].double(), _NET["fine"])
    return crop_to_ink(shares > _NET["threshold"])[0]


class DrawCharacter(Figure):
    """Draw five characters, one each, then one of them again: which is it, after one step?

    Meta-SGD and MAML adapt in the page; a network without a step and the nearest neighbour, by the
    cosine of the pixels, stand beside them. In the game the reader and the network are shown five
    characters and say which a drawing is. The networks were trained on glyphs that a pen follows,
    of other scripts than those that are offered.

    Parameters
    ----------
    mode : {"draw", "game"}
        What is shown.
    pads : list of str
        What stands in the six pads, the last of which is asked about: nothing (``""``), an offered
        drawing (``"#17"``), or strokes as the page writes them.
    seed : int
        Of the characters of the game.
    answers : str
        What the reader has said in the game so far, a digit from 0 to 4 each.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/frame.js", "shared/draw.js", "convnet.js",
        "character.js",
    )
    _figure_id = "character"

    mode = traitlets.Enum(tuple(_WORDS["modes"]), "draw").tag(sync=True)
    pads: traitlets.List[str] = traitlets.List(
        traitlets.Unicode(), list(_GIVEN["pads"])
    ).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    answers = traitlets.Unicode("").tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)
    _rate = traitlets.Float().tag(sync=True)
    _sheet = traitlets.Bytes().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        tensors, _ = load("figure-draw")
        numbers = [tensors[name] for name in ("Meta-SGD/theta", "Meta-SGD/alpha", "MAML/theta")]
        super().__init__(
            _weights=torch.cat(numbers).numpy().astype("<f2").tobytes(),
            _rate=float(tensors["MAML/alpha"]),
            _sheet=tensors["pixels/offered"].numpy().tobytes(), **traits,
        )

    @traitlets.validate("pads")
    def _check_pads(self, proposal: Any) -> list[str]:
        pads, offered = proposal["value"], sheet().shape[:2].numel()
        if len(pads) != WAYS + 1:
            raise traitlets.TraitError(f"pads must be {WAYS + 1}, got {len(pads)}")
        for pad in pads:
            if not _PAD.fullmatch(pad) or (pad[:1] == "#" and int(pad[1:]) >= offered):
                raise traitlets.TraitError(
                    f"a pad of pads must be empty, #0 to #{offered - 1}, or strokes, got {pad!r}"
                )
        return list(pads)

    @traitlets.validate("seed")
    def _check_seed(self, proposal: Any) -> int:
        low, high = _GIVEN["seeds"]
        if not low <= proposal["value"] <= high:
            raise traitlets.TraitError(
                f"seed must be from {low} to {high}, got {proposal['value']}"
            )
        return int(proposal["value"])

    @traitlets.validate("answers")
    def _check_answers(self, proposal: Any) -> str:
        if not re.fullmatch("[0-4]{0,200}", proposal["value"]):
            raise traitlets.TraitError(
                f"answers must be at most 200 digits from 0 to 4, got {proposal['value']!r}"
            )
        return str(proposal["value"])

    def images(self) -> Tensor:
        """Return what the network gets to see of the pads, ``(6, 28, 28)`` of bool."""
        offered = sheet().flatten(0, 1)

        def image(pad: str) -> Tensor:
            if pad.startswith("#"):
                return offered[int(pad[1:])]
            return inked(strokes(pad)) if pad else torch.zeros_like(offered[0])

        return torch.stack([image(pad) for pad in self.pads])

    def chances(self) -> dict[str, Tensor]:
        """Return the chance of each pad to be the last one's character, by torch, in float64.

        Under ``"none"``, ``"MAML"``, ``"Meta-SGD"``, ``(5,)`` each; under ``"nearest"`` the
        cosines.

        Raises
        ------
        ValueError
            If a pad is empty.
        """
        images = self.images()
        if empty := [k + 1 for k, image in enumerate(images) if not image.any()]:
            raise ValueError(
                f"pad {', '.join(map(str, empty))} is empty, and all must have ink: give pads"
            )
        net, x = model(), images.double()[None, :, None]
        support = Data(x[:, :WAYS], torch.arange(WAYS)[None])

        def loss(phi: Params, data: Data) -> Tensor:
            return torch.nn.functional.cross_entropy(predict(net, phi, data.x)[0], data.y[0])

        def last(phi: Params) -> Tensor:
            return predict(net, phi, x)[0, -1].softmax(-1).detach()

        found = {}
        for name, (theta, alpha) in networks().items():
            start = per_task(theta, (1,))
            found[name] = last(adapt(loss, start, per_task(alpha, (1,)), support,
                                     first_order=True))
        found["none"] = last(per_task(networks()["Meta-SGD"][0], (1,)))
        flat = normalize(images.flatten(1).double(), dim=-1)
        return {**found, "nearest": flat[:WAYS] @ flat[-1]}

    def picture(self) -> bytes:
        """Return the pads and, where all have ink, the chances, as a PNG."""
        picture = Picture(figsize=(6.4, 4.0), dpi=100, facecolor="white", layout="constrained")
        axes = picture.subplot_mosaic([[*range(WAYS + 1)], ["chances"] * (WAYS + 1)],
                                      height_ratios=[1, 2])
        for k, image in enumerate(self.images()):
            axes[k].imshow((~image).numpy(), cmap="gray", vmin=0, vmax=1)
            axes[k].set(xticks=[], yticks=[], title=_WORDS["query"] if k == WAYS else str(k + 1))
        chart = axes["chances"]
        chart.set(ylim=(0, 1), ylabel=WORDS["pictures"]["character"]["chance"],
                  xticks=range(WAYS), xticklabels=range(1, WAYS + 1))
        if all(self.pads):
            colours = {"none": PALETTE["grey"], "nearest": PALETTE["black"]}
            for k, (name, chances) in enumerate(self._ordered(self.chances()).items()):
                colour = colours.get(name) or METHOD_STYLES[name]["color"]
                chart.bar([way + 0.2 * k - 0.3 for way in range(WAYS)], chances.tolist(), 0.18,
                          color=colour, label=_WORDS["columns"][name])
            chart.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.25), frameon=False)
        else:
            empty = sum(not pad for pad in self.pads)
            chart.text(WAYS / 2 - 0.5, 0.5, fill(_WORDS["empty"], count=empty), ha="center")
        return png(picture)

    def _ordered(self, chances: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: chances[name] for name in _WORDS["columns"]}
