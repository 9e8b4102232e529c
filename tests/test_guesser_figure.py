"""Beat the guesser, the figure of chapter 17, from Python: the study, the game, the picture."""

import io
from math import inf

import pytest
import torch
from cases import EXACT, gen
from PIL import Image
from torch.testing import assert_close
from traitlets import TraitError

from metasgd_core import Data
from metasgd_core.studies import guesser as study
from metasgd_core.studies import load, read
from metasgd_core.studies.jobs import Job, do
from metasgd_core.widgets.guesser import PLAYERS, BeatTheGuesser, _packed, interval, needed

BAD = {"moves": "HTX", "player": "nobody"}


@pytest.mark.parametrize(("name", "value"), [*BAD.items(), ("moves", "H" * 401)])
def test_a_bad_state_is_refused_and_named(name, value):
    figure = BeatTheGuesser()
    with pytest.raises(TraitError, match=name):
        BeatTheGuesser(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert (figure.moves, figure.player) == ("", "you")


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(BeatTheGuesser()._state)


def test_a_game_by_hand():
    """Twenty rounds with a plain loop and the gradient on paper: share of heads minus chance."""
    moves = "HHTHTTTHTHTTTHHTHHHT"
    game = BeatTheGuesser(moves=moves).game()
    stored = load("figure-guesser").tensors
    theta, alpha = (stored[f"guesser/{name}"][0].double() for name in ("theta", "alpha"))
    logits, seen, guesses, block = theta.clone(), 0, "", []
    for move in moves:
        guess = "H" if logits[seen] >= 0 else "T"
        guesses += guess
        block.append((seen, float(move == "H")))
        seen = {"HH": 1, "HT": 2, "TH": 3, "TT": 4}[guess + move]
        if len(block) == 10:
            slope = torch.zeros(5, dtype=torch.float64)
            for state, heads in block:
                slope[state] += (logits[state].sigmoid() - heads) / 10
            logits, block = logits - alpha * slope, []
    assert game.guesses == guesses
    assert_close(game.logits, logits, rtol=1e-12, atol=1e-12)
    assert not torch.equal(logits, theta)


def test_before_the_first_step_both_guess_the_same():
    game = BeatTheGuesser(moves="HTTHHTHTTH").game()
    assert game.guesses == game.fixed
    assert len(game.hits(game.guesses)) == 10


def test_it_reads_a_habit_and_no_coin():
    """The claim of the figure: three steps for somebody who changes sides; nothing for a coin."""
    habit, coin = (BeatTheGuesser(player=name).game() for name in ("alternates", "coin"))
    hits = habit.hits(habit.guesses)
    assert sum(hits[30:]) == 70
    assert interval(sum(hits), 100)[0] > 50
    low, high = interval(sum(coin.hits(coin.guesses)), 100)
    assert low < 50 < high


def test_the_study_found_what_the_figure_is_about():
    """It reads players with habits better with every step, and a coin never; the start does not."""
    found = {name: load("figure-guesser").tensors[f"guesser/{name}"]
             for name in ("hits", "fixed", "coin")}  # fmt: skip
    assert (found["hits"][:, -1] > found["hits"][:, 0] + 0.15).all()
    assert (found["fixed"][:, 1:] < 0.6).all()
    assert (found["coin"] - 0.5).abs().max() < 4 * (0.25 / 10_000) ** 0.5
    # Who knew every habit would win this share.
    habits = study.habits(study.TEST_PLAYERS, random=gen(study.TEST))
    assert (found["hits"] < float(torch.maximum(habits, 1 - habits).mean()) + 0.02).all()


def test_the_loss_is_that_of_the_moves():
    phi = {"logits": torch.tensor([0.5, -1.0, 0.0, 2.0, 0.3])}
    data = Data(torch.eye(5)[[0, 3, 3]], torch.tensor([1.0, 0.0, 1.0]))
    chances = [0.5, 2.0, 2.0]
    right = [torch.tensor(c if y else -c).sigmoid().log() for c, y in zip(chances, (1, 0, 1))]
    assert_close(study.loss(phi, data), -torch.stack(right).mean())


def test_the_job_keeps_what_the_figure_reads(tmp_path):
    do(study.work, Job("guesser", tmp_path, quick=True))
    tensors = read(tmp_path / "guesser.safetensors").tensors
    assert tensors["theta"].shape == tensors["alpha"].shape == (5, 5)
    assert tensors["hits"].shape == tensors["fixed"].shape == tensors["coin"].shape == (5, 10)
    assert (tensors["alpha"] > 0).all()


def test_the_page_gets_the_first_seed():
    stored = load("figure-guesser").tensors
    numbers = torch.frombuffer(bytearray(_packed()), dtype=torch.float32)
    expected = torch.cat([stored["guesser/theta"][0], stored["guesser/alpha"][0]])
    assert_close(numbers, expected, **EXACT)


def test_the_interval_is_wilsons_and_half_is_never_shown():
    """5 of 10 by hand; and so many rounds at 60 % leave out one half, and no fewer."""
    assert interval(5, 10) == pytest.approx((23.66, 76.34), abs=0.01)
    assert needed(5, 10) == inf
    assert needed(6, 10) == pytest.approx(96.04)
    assert interval(60, 100)[0] > 50 > interval(54, 90)[0]


def test_players_play_a_hundred_rounds():
    assert {len(moves) for moves in PLAYERS.values()} == {100}
    assert all(set(moves) == {"H", "T"} for moves in PLAYERS.values())


def test_the_picture_shows_the_state():
    states = ({}, {"moves": "H"}, {"player": "coin"}, {"player": "threes"})
    pictures = [Image.open(io.BytesIO(BeatTheGuesser(**state).picture())) for state in states]
    assert all(picture.size == (600, 420) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(states)
