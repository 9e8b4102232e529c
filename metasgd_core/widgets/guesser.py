"""Beat the guesser, chapter 17: one step every ten rounds on what the reader has played."""

from __future__ import annotations

from functools import cache
from math import inf, sqrt
from typing import Any, NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor
from torch.nn.functional import one_hot

from metasgd_core.adaptation import adapt
from metasgd_core.plotting import METHOD_STYLES, PALETTE
from metasgd_core.studies import load
from metasgd_core.studies.guesser import ROUNDS, loss
from metasgd_core.types import Data
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png
from metasgd_core.widgets.words import WORDS

_WORDS = WORDS["guesser"]
_GIVEN = CONSTANTS["guesser"]
#: Who may play in the reader's place, and what they show.
PLAYERS: dict[str, str] = dict(_GIVEN["players"])


@cache
def _packed() -> bytes:
    """Return theta and then alpha of the study's first seed as float32 bytes."""
    tensors, _ = load("figure-guesser")
    parts = [tensors[f"guesser/{name}"][0] for name in ("theta", "alpha")]
    return torch.cat(parts).numpy().astype("<f4").tobytes()


class Game(NamedTuple):
    """What has been played.

    Attributes
    ----------
    moves : str
        The player's: H (heads) and T (tails).
    guesses, fixed : str
        The guesser's, and those of the one that never steps.
    logits : Tensor
        ``(5,)``, float64: the guesser's, now.
    """

    moves: str
    guesses: str
    fixed: str
    logits: Tensor

    def hits(self, guesses: str) -> list[bool]:
        """Return which of these guesses were right."""
        return [move == guess for move, guess in zip(self.moves, guesses)]


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in percent."""
    z = _GIVEN["normal"]
    middle = hits / count + z * z / (2 * count)
    half = z * sqrt(hits * (count - hits) / count**3 + z * z / (4 * count * count))
    low, high = (100 * (middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return low, high


def needed(hits: int, count: int) -> float:
    """Return after how many rounds of the same share its interval would leave out one half."""
    share = hits / count
    return inf if 2 * hits == count else (_GIVEN["normal"] / (2 * share - 1)) ** 2


class BeatTheGuesser(Figure):
    """Matching pennies against an agent that was meta-trained on players with habits.

    It wins a round if both coins show the same. Beside it plays the same start without steps.

    Parameters
    ----------
    moves : str
        What the reader has shown, of H and T, at most 400.
    player : str
        ``"you"``, or somebody who plays in the reader's place: ``"alternates"``, ``"threes"``,
        ``"coin"``.
    """

    sources = (
        "shared/words.js", "shared/numbers.js", "shared/frame.js", "shared/draw.js", "guesser.js",
    )
    _figure_id = "guesser"

    moves = traitlets.Unicode("").tag(sync=True)
    player = traitlets.Enum(("you", *PLAYERS), "you").tag(sync=True)
    _weights = traitlets.Bytes().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(_weights=_packed(), **traits)

    @traitlets.validate("moves")
    def _played(self, proposal: dict[str, Any]) -> str:
        moves, most = proposal["value"], _GIVEN["most"]
        if set(moves) - {"H", "T"} or len(moves) > most:
            raise traitlets.TraitError(
                f"moves must be letters H and T, at most {most}, got {moves!r}"
            )
        return str(moves)

    def game(self) -> Game:
        """Return the game as it stands."""
        moves = PLAYERS.get(self.player, self.moves)
        theta, alpha = torch.frombuffer(bytearray(_packed()), dtype=torch.float32).double().split(5)
        phi, seen, still = {"logits": theta}, 0, 0
        before: list[int] = []
        guesses = fixed = ""
        for count, move in enumerate(moves, 1):
            guesses += "H" if phi["logits"][seen] >= 0 else "T"
            fixed += "H" if theta[still] >= 0 else "T"
            before.append(seen)
            seen, still = (4 - 2 * (own[-1] == "H") - (move == "H") for own in (guesses, fixed))
            if count % ROUNDS == 0:
                shown = [float(m == "H") for m in moves[count - ROUNDS : count]]
                data = Data(one_hot(torch.tensor(before[-ROUNDS:]), 5).double(), theta.new(shown))
                phi = adapt(loss, phi, {"logits": alpha}, data, first_order=True)
        return Game(moves, guesses, fixed, phi["logits"].detach())

    def picture(self) -> bytes:
        """Return the figure as it stands, as a PNG."""
        game = self.game()
        end = max(_GIVEN["wide"], len(game.moves))
        picture = Picture(figsize=(6.0, 4.2), dpi=100, facecolor="white", layout="constrained")
        ax, names, x = picture.subplots(), _WORDS["names"], torch.arange(end + 1)
        band = _GIVEN["normal"] * x.sqrt()
        ax.fill_between(x, -band, band, color=PALETTE["grey"], alpha=0.2, lw=0, label=names["band"])
        for name, guesses, colour, line in (
            ("fixed", game.fixed, PALETTE["grey"], "--"),
            ("guesser", game.guesses, METHOD_STYLES["Meta-SGD"]["color"], "-"),
        ):
            lead = torch.tensor([0, *(2 * hit - 1 for hit in game.hits(guesses))]).cumsum(0)
            ax.plot(lead, color=colour, linestyle=line, label=names[name])
        ax.axhline(0, color=PALETTE["grey"], lw=1)
        ax.set(xlim=(0, end), xlabel=_WORDS["x"], ylabel=_WORDS["y"], title=_WORDS["plot"])
        picture.legend(loc="outside lower center", ncols=3, frameon=False)
        return png(picture)
