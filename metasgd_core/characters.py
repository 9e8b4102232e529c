"""Drawn characters of many alphabets, whole alphabets held out: Omniglot, and printed glyphs.

Omniglot is 1623 characters of 50 alphabets, each drawn by 20 people (Lake, Salakhutdinov,
Tenenbaum, Science 2015, doi:10.1126/science.aab3050; MIT licence). It is not part of the package.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from functools import cache, partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib import ft2font
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    affine_grid,
    avg_pool2d,
    grid_sample,
    interpolate,
    pad,
)

#: Images are so many pixels high and wide.
SIZE = 28
#: Names a file with Omniglot, for whoever has it already.
VARIABLE = "METASGD_OMNIGLOT"
#: Of that file: key ``a``, one bit a pixel, characters in the order of the two tables below.
#:
#: :meta hide-value:
SHA256 = "bdfc877f022a7c74f38bb19cc26611edd668f7ed5dce017299501054176006e0"

#: Omniglot's own two sets of alphabets, with the number of characters of each: the first.
#:
#: :meta hide-value:
BACKGROUND = {
    "Alphabet_of_the_Magi": 20, "Anglo-Saxon_Futhorc": 29, "Arcadian": 26, "Armenian": 41,
    "Asomtavruli_(Georgian)": 40, "Balinese": 24, "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14, "Braille": 26, "Burmese_(Myanmar)": 34,
    "Cyrillic": 33, "Early_Aramaic": 22, "Futurama": 26, "Grantha": 43, "Greek": 24,
    "Gujarati": 48, "Hebrew": 22, "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Japanese_(hiragana)": 52, "Japanese_(katakana)": 47, "Korean": 40, "Latin": 26,
    "Malay_(Jawi_-_Arabic)": 40, "Mkhedruli_(Georgian)": 41, "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14, "Sanskrit": 42, "Syriac_(Estrangelo)": 23,
    "Tagalog": 17, "Tifinagh": 55,
}  # fmt: skip
#: The second of them, which is for tests.
#:
#: :meta hide-value:
EVALUATION = {
    "Angelic": 20, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26,
    "Ge_ez": 26, "Glagolitic": 45, "Gurmukhi": 45, "Kannada": 41, "Keble": 26, "Malayalam": 47,
    "Manipuri": 40, "Mongolian": 30, "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46,
    "Sylheti": 28, "Syriac_(Serto)": 23, "Tengwar": 25, "Tibetan": 42, "ULOG": 26,
}  # fmt: skip
#: Every sixth background alphabet, to choose settings on.
#:
#: :meta hide-value:
VALIDATION = tuple(BACKGROUND)[5::6]

#: The same for scripts of the font, by the first word of their characters' Unicode names.
VALIDATION_SCRIPTS = ("GREEK", "OLD")  # Old Italic
EVALUATION_SCRIPTS = ("ARMENIAN", "GEORGIAN", "HEBREW", "LAO", "NKO", "TIFINAGH")
#: A script needs so many characters to count.
FEWEST = 12
#: Glyphs are rendered so many pixels high and wide before they are drawn at `SIZE`.
LARGE = 2 * SIZE
#: How :func:`written` turns (radians), bends (by the knots of a net's side) and draws (the pen's
#: radius, in pixels of a rendered glyph).
ANGLE, BENDS, PEN = 0.3, {4: 0.12, 8: 0.035}, (1.1, 2.4)


class Characters(NamedTuple):
    """Drawings of characters.

    Attributes
    ----------
    images : Tensor
        ``(characters, drawings, 28, 28)`` of bool, True where there is ink.
    alphabet : tuple of str
        The name of each character's alphabet.
    """

    images: Tensor
    alphabet: tuple[str, ...]

    def of(self, alphabets: Collection[str]) -> Characters:
        """Return the characters of these alphabets."""
        mine = [i for i, name in enumerate(self.alphabet) if name in alphabets]
        return Characters(self.images[mine], tuple(self.alphabet[i] for i in mine))


class Split(NamedTuple):
    """Characters of different alphabets: to train on, to choose settings on, to report on."""

    training: Characters
    validation: Characters
    evaluation: Characters


def omniglot(root: str | os.PathLike[str] = "~/.cache/omniglot") -> Split:
    """Return Omniglot at 28 x 28: 25 alphabets to train on, 5 for validation, 20 held out.

    Read from the file that the environment variable ``METASGD_OMNIGLOT`` names, or else with
    torchvision (``pip install "metasgd-core[images]"``), which downloads 10 MB the first time.

    Parameters
    ----------
    root : path
        The folder into which torchvision downloads.

    Raises
    ------
    RuntimeError
        If Omniglot is neither here nor to be had, with what to do.
    ValueError
        If the file is not the one it should be.
    """
    if path := os.environ.get(VARIABLE):
        images = _from_file(Path(path))
    else:
        images = _from_torchvision(Path(root).expanduser())
    sizes = BACKGROUND | EVALUATION
    whole = Characters(images, tuple(chain(*([name] * n for name, n in sizes.items()))))
    training = [name for name in BACKGROUND if name not in VALIDATION]
    return Split(whole.of(training), whole.of(VALIDATION), whole.of(EVALUATION))


def _from_file(path: Path) -> Tensor:
    if not path.is_file():
        raise RuntimeError(
            f"{VARIABLE} names {path}, and there is no such file: correct it, or unset it to let "
            "torchvision download Omniglot"
        )
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(
            f"{path}, which {VARIABLE} names, is damaged or another file: its SHA-256 begins with "
            f"{found[:12]} and should begin with {SHA256[:12]}; fetch it again, or unset {VARIABLE}"
        )
    bits = np.unpackbits(np.load(BytesIO(content))["a"], axis=1)
    return torch.tensor(bits.reshape(-1, 20, SIZE, SIZE)).bool()


def _from_torchvision(root: Path) -> Tensor:
    try:
        from PIL import Image
        from torchvision.datasets import Omniglot

        halves = [Omniglot(str(root), background=of, download=True) for of in (True, False)]
    except (ImportError, OSError, RuntimeError) as error:  # not installed, no network, damaged
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RuntimeError(
            f"Omniglot is not here ({reason}): install torchvision and go online once, or name a "
            f"file in {VARIABLE}; glyphs() needs neither"
        ) from error
    # The loader's own order of the alphabets is that of the disk.
    paths = [path for half in halves for path in sorted(Path(half.target_folder).glob("*/*/*.png"))]
    small = [Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX).tobytes()
             for path in paths]  # fmt: skip
    paper = torch.tensor(np.frombuffer(b"".join(small), dtype=np.uint8).copy())
    return (paper < 0.6 * 255).view(-1, 20, SIZE, SIZE)


@cache
def glyphs(drawings: int = 20, seed: int = 0) -> Split:
    """Return characters of the font that comes with matplotlib, each drawn in a number of ways.

    About a thousand letters without case or in upper case, of thirteen scripts of DejaVu Sans. No
    drawer drew them: each drawing is the glyph slanted, turned, stretched, moved and bent a
    little, in a stroke of another width. The same on every machine with the same matplotlib.

    Parameters
    ----------
    drawings : int
        Of each character.
    seed : int
        Of the draws.
    """
    return _split(_masters()[0], _drawn, drawings, seed)


@cache
def written(drawings: int = 20, seed: int = 0) -> Split:
    """Return the characters of :func:`glyphs` as a pen would write them.

    Each glyph is thinned to a line, which is slanted, turned, stretched, moved and bent, more than
    a glyph is, and followed by a round pen of another width.

    Parameters
    ----------
    drawings : int
        Of each character.
    seed : int
        Of the draws.
    """
    return _split(_lines(), _written, drawings, seed)


@cache
def _lines() -> Tensor:
    """Return how far each pixel of a glyph is from its line, ``(characters, 56, 56)``."""
    return _distances(_thinned(_masters()[0] > 0.5))


def _split(
    masters: Tensor, drawn: Callable[[Tensor, int, torch.Generator], Tensor], drawings: int,
    seed: int,
) -> Split:
    """Draw every master so many times, and hold scripts out."""
    scripts, generator = _masters()[1], torch.Generator().manual_seed(seed)
    images = torch.cat([drawn(some, drawings, generator) for some in masters.split(64)])
    whole = Characters(images, scripts)
    held = VALIDATION_SCRIPTS + EVALUATION_SCRIPTS
    training = [name for name in scripts if name not in held]
    return Split(whole.of(training), whole.of(VALIDATION_SCRIPTS), whole.of(EVALUATION_SCRIPTS))


@cache
def _masters() -> tuple[Tensor, tuple[str, ...]]:
    """Return the glyphs, ``(characters, 56, 56)`` from 0 to 1, and the script of each."""
    font = ft2font.FT2Font(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))
    font.set_size(64, 72)
    found: dict[bytes, tuple[Tensor, str]] = {}
    for letter in map(chr, sorted(font.get_charmap())):
        # Letters with accents, and letters' positional forms, are made of others.
        if unicodedata.category(letter) in ("Lo", "Lu") and not unicodedata.decomposition(letter):
            glyph = _rendered(font, letter)
            coarse = (adaptive_avg_pool2d(glyph[None], SIZE // 2) > 0.4).flatten().tolist()
            # A Greek A is the Latin one: whoever comes first keeps it.
            found.setdefault(bytes(coarse), (glyph, unicodedata.name(letter).split()[0]))
    sizes = Counter(script for _, script in found.values())
    kept = [(glyph, script) for glyph, script in found.values() if sizes[script] >= FEWEST]
    images, scripts = zip(*kept, strict=True)
    return torch.stack(images), scripts


def _rendered(font: ft2font.FT2Font, letter: str) -> Tensor:
    """Return a letter, its longer side five sevenths of the image's, in the middle."""
    flags = getattr(ft2font, "LoadFlags", ft2font)
    plain = flags.NO_HINTING if hasattr(flags, "NO_HINTING") else flags.LOAD_NO_HINTING
    font.set_text(letter, 0, flags=plain)
    font.draw_glyphs_to_bitmap(antialiased=True)
    ink = torch.tensor(np.asarray(font.get_image())).double() / 255
    rows, columns = ink.any(1).nonzero(), ink.any(0).nonzero()
    if not len(rows):
        return ink.new_zeros(LARGE, LARGE)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = round(1.4 * max(ink.shape))
    top, left = ((side - length) // 2 for length in ink.shape)
    around = (left, side - left - ink.shape[1], top, side - top - ink.shape[0])
    return interpolate(pad(ink, around)[None, None], (LARGE, LARGE), mode="area")[0, 0]


def _drawn(masters: Tensor, drawings: int, generator: torch.Generator) -> Tensor:
    """Draw each glyph anew so many times: ``(characters, drawings, 28, 28)`` of bool."""
    n, dtype = len(masters) * drawings, masters.dtype
    grid = _bent(n, generator, dtype, angle=0.25, bends={4: 0.1})
    soft = avg_pool2d(masters.unsqueeze(1), 3, 1, 1).repeat_interleave(drawings, 0)
    grey = grid_sample(soft, grid, align_corners=False)
    width = 0.2 + 0.225 * (1 + _uniform(n, 1, 1, 1, generator=generator, dtype=dtype))
    return (grey > width).view(len(masters), drawings, SIZE, SIZE)


def _written(distances: Tensor, drawings: int, generator: torch.Generator) -> Tensor:
    """Follow each line anew so many times: ``(characters, drawings, 28, 28)`` of bool."""
    n, dtype = len(distances) * drawings, distances.dtype
    grid = _bent(n, generator, dtype, angle=ANGLE, bends=BENDS)
    each = distances.unsqueeze(1).repeat_interleave(drawings, 0)
    far = grid_sample(each, grid, align_corners=False, padding_mode="border")
    low, high = PEN
    pen = low + (high - low) / 2 * (1 + _uniform(n, 1, 1, 1, generator=generator, dtype=dtype))
    return (far < pen).view(len(distances), drawings, SIZE, SIZE)


def _uniform(*size: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    return 2 * torch.rand(size, generator=generator, dtype=dtype) - 1


def _bent(
    n: int, generator: torch.Generator, dtype: torch.dtype, *, angle: float,
    bends: dict[int, float],
) -> Tensor:
    """Return where each pixel of `n` drawings lies in what is drawn, ``(n, 28, 28, 2)``.

    `bends` has the size of the moves of a net of knots, by the knots of its side.
    """
    # In float64, so that no pixel sits so near its threshold that machines could differ.
    uniform = partial(_uniform, generator=generator, dtype=dtype)
    turn, slant, shift = angle * uniform(n), 0.25 * uniform(n), 0.14 * uniform(2, n)
    wide, high = torch.exp(0.2 * uniform(2, n))
    window = torch.stack([
        turn.cos() * wide, slant - turn.sin() * high, shift[0],
        turn.sin() * wide, turn.cos() * high, shift[1],
    ], -1).view(n, 2, 3)  # fmt: skip
    grid = affine_grid(window, [n, 1, SIZE, SIZE], align_corners=False)
    for knots, size in bends.items():
        moves = size * torch.randn(n, 2, knots, knots, generator=generator, dtype=dtype)
        moves = interpolate(moves, (SIZE, SIZE), mode="bicubic", align_corners=True)
        grid = grid + moves.movedim(1, -1)
    return grid


def _thinned(ink: Tensor) -> Tensor:
    """Thin ink, ``(characters, height, width)`` of bool, to lines one pixel wide.

    Zhang, Suen 1984 (doi:10.1145/357994.358023): the edge is taken away, from two sides in turn,
    where what is left keeps its ends and stays in one piece.
    """
    ring = torch.arange(256).unsqueeze(1) >> torch.arange(8) & 1 == 1  # of a byte: eight neighbours
    count = ring.sum(-1)
    once = (~ring & ring.roll(-1, -1)).sum(-1) == 1
    edge = (count >= 2) & (count <= 6) & once
    # Inside, three of the four neighbours are ink: all but this one, or that.
    four = ring[:, ::2]
    inside = [four[:, [k for k in range(4) if k != one]].all(-1) for one in range(4)]
    goes = [edge & ~inside[0] & ~inside[3], edge & ~inside[1] & ~inside[2]]
    height, width = ink.shape[1:]
    before = torch.zeros_like(ink)
    while not torch.equal(ink, before):
        before = ink
        for gone in goes:
            around, byte = pad(ink.byte(), (1, 1, 1, 1)), torch.zeros_like(ink, dtype=torch.uint8)
            for k, place in enumerate((1, 2, 5, 8, 7, 6, 3, 0)):  # of nine; from above, clockwise
                top, left = divmod(place, 3)
                byte += around[:, top : top + height, left : left + width] << k
            ink = ink & ~gone[byte.int()]
    return ink


def _distances(ink: Tensor) -> Tensor:
    """Return each pixel's distance to the nearest ink, in pixels."""
    size = ink.shape[-1]
    side = torch.arange(size, dtype=torch.float64)
    places = torch.cartesian_prod(side, side)
    return torch.stack([
        torch.cdist(places, places[one.flatten()]).amin(1).view(size, size) for one in ink
    ])
