"""Few-shot classification of images: tell a few new characters apart after one look at each.

A task is a choice of characters, its ways; a shot is one drawing of each. Which number a character
has is the task's own luck, so nothing can be known of it without the support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from metasgd_core.models import predict
from metasgd_core.tasks.base import Classification
from metasgd_core.types import Data, Params, check_count

#: The longer side of a character's ink after `crop_to_ink`, as a part of the image's.
INK = 6 / 7
#: A side this short, as a part of the image's, is not stretched further: a dot stays a dot.
DOT = 2 / 7
#: As much of a pixel's square must be ink.
THRESHOLD = 0.4


class ImageTasks(NamedTuple):
    """Which characters a task has to tell apart, and how each is turned; ``(*batch, ways)``.

    Attributes
    ----------
    character : Tensor
        Numbers of characters, all different within a task.
    turn : Tensor
        Quarter turns, counter-clockwise.
    """

    character: Tensor
    turn: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Images(Classification):
    """Some drawings each of many characters; a task is a few of the characters.

    Everything is drawn and computed on the images' device.

    Parameters
    ----------
    model : nn.Module
        The network that tells them apart, from ``(points, 1, height, width)`` to
        ``(points, ways)`` logits.
    images : Tensor
        ``(characters, drawings, height, width)``: bool where there is ink or none, uint8 in grey
        levels from 0 to 255, which are divided by 255, or floating point, taken as it is.
    ways : int
        Characters a task.
    turns : int
        With 4, a character in one of its four quarter turns is a class of its own, which is four
        times as much to train on. With 1 none is turned.

    Raises
    ------
    ValueError
        If the images have another shape or dtype, are not finite, or are uint8 and hold nothing
        above 1; if there are more ways than characters; if `turns` is neither 1 nor 4, or is 4 and
        the images are not square.

    References
    ----------
    Vinyals et al. 2016 (arXiv:1606.04080), section 4; Santoro et al. 2016 (arXiv:1605.06065) for
    the turns. Differs from the latter in that a task never holds one character in two turns: those
    of an O look the same.
    """

    one_draw = True

    model: nn.Module
    images: Tensor
    ways: int = 5
    turns: int = 1

    def __post_init__(self) -> None:
        check_images(self.images)
        check_count("ways", self.ways, least=2)
        characters, _, height, width = self.images.shape
        if self.ways > characters:
            raise ValueError(
                f"there are {characters} characters, and a task of {self.ways} ways needs as many: "
                "take fewer ways, or more characters"
            )
        if self.turns not in (1, 4) or (self.turns == 4 and height != width):
            raise ValueError(
                f"turns must be 1, or 4 where images are square, got {self.turns!r} for images of "
                f"{height} x {width}"
            )

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> ImageTasks:
        """Draw characters and turns, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        device = self.images.device
        luck = torch.rand(*batch, len(self.images), generator=generator, device=device)
        character = luck.topk(self.ways).indices
        turn = torch.randint(
            self.turns, character.shape, generator=generator, device=device
        )
        return ImageTasks(character, turn)

    def sample_data(
        self, tasks: ImageTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Draw `shots` drawings of every character, none twice; `phi` plays no part.

        Returns
        -------
        Data
            ``x`` of shape ``(*batch, shots, ways, 1, height, width)``, in the model's dtype, and
            ``y`` of shape ``(*batch, shots, ways)``.

        Raises
        ------
        ValueError
            If there are fewer drawings of a character.
        """
        check_count("shots", shots)
        drawings, device = self.images.shape[1], self.images.device
        if shots > drawings:
            raise ValueError(
                f"there are {drawings} drawings of a character, and {shots} are asked for, shots "
                "and query_shots together: take fewer"
            )
        luck = torch.rand(*tasks.character.shape, drawings, generator=generator, device=device)
        which = luck.topk(shots).indices.mT  # (*batch, shots, ways)
        x = self.images[tasks.character.unsqueeze(-2), which]  # (*batch, shots, ways, h, w)
        x = turned(x, tasks.turn.unsqueeze(-2)) if self.turns > 1 else x
        dtype = next(self.model.parameters()).dtype
        x = x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)
        y = torch.arange(self.ways, device=device).expand(which.shape)
        return Data(x.unsqueeze(-3), y)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Turn every image ``(..., height, width)`` by its own number of quarter turns."""
    for k in (1, 2, 3):
        x = torch.where((turn == k)[..., None, None], x.rot90(k, (-2, -1)), x)
    return x


def score_alone(family: Images, phi: Params, support: Data, query: Data) -> Tensor:
    """Return the accuracy of every task, ``(*batch,)``, where each query comes alone.

    It is given the support for company, and no other query. That matters to a network with
    ``norm="batch"`` alone: its accuracy over all queries together, which ``family.score`` returns,
    makes use of how the other queries look.

    Parameters
    ----------
    family : Images
        Whose model is a :class:`~metasgd_core.models.ConvNet`, or another whose method ``run``
        takes axes before the points.
    phi : Params
        Adapted to the support, leaves ``(*batch, *shape)``.
    support, query : Data
        ``x`` of shape ``(*batch, shots, ways, 1, height, width)``.
    """
    axis, right = query.y.ndim - 2, []
    known = support.x.flatten(axis, axis + 1).unsqueeze(axis)
    for x, y in zip(query.x.unbind(axis), query.y.unbind(axis)):  # so few stay in the cache
        new = x.unsqueeze(axis + 1)
        company = torch.cat([known.expand(*new.shape[: axis + 1], -1, -1, -1, -1), new], axis + 1)
        logits = predict(family.model, phi, company)[..., -1, :]
        right.append(logits.argmax(-1) == y)
    return torch.stack(right).to(logits.dtype).mean((0, -1))


def crop_to_ink(images: Tensor) -> Tensor:
    """Scale and centre every character, so that size and place tell nothing.

    The box around the ink is cropped, and its longer side scaled to six sevenths of the image's.

    Parameters
    ----------
    images : Tensor
        ``(..., height, width)`` of bool.

    Returns
    -------
    Tensor
        Likewise. An image without ink stays as it is.

    Raises
    ------
    ValueError
        If the images are not bool.
    """
    if images.dtype != torch.bool:
        raise ValueError(f"crop_to_ink needs images of bool, True for ink, got {images.dtype}")
    cropped = [_cropped(some) for some in images.flatten(0, -3).split(4096)]
    return torch.cat(cropped).view(images.shape)


def _cropped(images: Tensor) -> Tensor:
    (y, height), (x, width) = _span(images.any(-1)), _span(images.any(-2))
    scale = torch.maximum(height, width).clamp(min=DOT) / INK
    scale = scale.where(images.any(-1).any(-1), 1)
    zero = torch.zeros_like(scale)
    window = torch.stack([scale, zero, x, zero, scale, y], -1).view(-1, 2, 3)
    grey = images.unsqueeze(1).to(window)
    grid = affine_grid(window, list(grey.shape), align_corners=False)
    return grid_sample(grey, grid, align_corners=False).squeeze(1) > THRESHOLD


def _span(inked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centre and half the length of the inked part of each row, from -1 to 1."""
    n = inked.shape[-1]
    place = torch.arange(n, device=inked.device, dtype=torch.float64)
    low = place.where(inked, n).amin(-1)
    high = (place + 1).where(inked, 0).amax(-1)
    return (low + high) / n - 1, (high - low) / n


def check_images(images: Tensor) -> None:
    """Refuse what is no stack of images of characters."""
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            "images must have the axes (characters, drawings, height, width), got the shape "
            f"{tuple(images.shape)}"
        )
    if images.dtype not in (torch.bool, torch.uint8) and not images.is_floating_point():
        raise ValueError(
            f"images must be bool, uint8 or floating point, got {images.dtype}: convert them, for "
            "example with images.float()"
        )
    if images.dtype == torch.uint8 and images.max() <= 1:
        raise ValueError(
            "images of uint8 are taken as grey levels from 0 to 255, and these hold nothing above "
            "1: if 1 means ink, give images.bool()"
        )
    if images.is_floating_point() and not images.isfinite().all():
        bad = int((~images.isfinite()).sum())
        raise ValueError(f"images holds {bad} pixels that are NaN or infinite: mend or drop them")
