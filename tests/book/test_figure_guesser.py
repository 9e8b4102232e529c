"""Beat the guesser, the figure of chapter 17: the page plays as the package does."""

import mounting
import pytest
import torch
from mounting import get, goals, number, picture, settle

from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.guesser import PLAYERS, BeatTheGuesser, interval, needed
from metasgd_core.widgets.words import WORDS

pytestmark = pytest.mark.browser
WORD = WORDS["guesser"]
SOURCE = module_text(BeatTheGuesser.sources).split("function render")[0]
RUN = """async ([source, weights, games]) => {
    document.body.dataset.given = JSON.stringify(weights);
    const text = [source, "const given = Uint8Array.from(JSON.parse(document.body.dataset.given));",
        "const [theta, alpha] = storedRows(given, [5, 5]);",
        "export { theta, alpha, guesserGame, guesserInterval };"].join("\\n");
    const all = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    return games.map((moves) => {
        const { logits, guesses, fixed } = all.guesserGame(all, moves);
        const hits = guesses.filter((guess, i) => guess === Number(moves[i] === "H")).length;
        const bounds = moves ? all.guesserInterval(hits, moves.length) : [];
        return { logits: [...logits], guesses, fixed, bounds };
    });
}"""


def test_the_arithmetic_is_torchs(page):
    """Sixty games of 0 to 236 rounds: guesses the same, logits to 1e-9 of the largest."""
    drawn = torch.Generator().manual_seed(3)
    games = ["".join("TH"[int(x)] for x in torch.rand(4 * n, generator=drawn) < 0.3 + 0.01 * n)
             for n in range(60)]  # fmt: skip
    weights = list(BeatTheGuesser()._weights)
    for moves, mine in zip(games, page.evaluate(RUN, [SOURCE, weights, games]), strict=True):
        game = BeatTheGuesser(moves=moves).game()
        for name, own in (("guesses", game.guesses), ("fixed", game.fixed)):
            assert "".join("TH"[guess] for guess in mine[name]) == own
        off = (torch.tensor(mine["logits"], dtype=torch.float64) - game.logits).abs().max()
        assert off <= 1e-9 * max(1.0, float(game.logits.abs().max()))
        if moves:
            assert mine["bounds"] == pytest.approx(
                interval(sum(game.hits(game.guesses)), len(moves)), abs=1e-9
            )


def toss(page, moves):
    for move in moves:
        page.get_by_role("button", name="Heads" if move == "H" else "Tails").click()
    settle(page)


def check_numbers(page):
    """What the page says is what the package finds for the page's state."""
    figure = BeatTheGuesser(moves=get(page, "moves"), player=get(page, "player"))
    game, told = figure.game(), page.locator("[data-say]").inner_text()
    if not game.moves:
        assert told == WORD["empty"]
        return
    hits, count = sum(game.hits(game.guesses)), len(game.moves)
    low, high = interval(hits, count)
    for name, own in {
        "round": count, "hits": hits, "fixed": sum(game.hits(game.fixed)),
        "share": 100 * hits / count, "low": low, "high": high,
    }.items():
        assert float(number(page, name)) == pytest.approx(own, abs=0.51), name
    half = "read" if low > 50 else "fooled" if high < 50 else "open"
    if half == "open" and needed(hits, count) > 1e5:
        half = "level"
    assert WORD[half].split("{")[0] in told
    if count >= 20:
        right = game.hits(game.guesses)
        assert [int(number(page, name)) for name in ("first", "last")] == [
            sum(right[:10]), sum(right[-10:])
        ]


def test_a_game_is_played_with_two_buttons(page):
    mounting.mount(page, BeatTheGuesser())
    check_numbers(page)
    drawn = picture(page)
    for moves in ("H", "T", "HHTTHTHTT", "HTHTHTHTHTH"):
        toss(page, moves)
        check_numbers(page)
    assert get(page, "moves") == "HTHHTTHTHTTHTHTHTHTHTH"
    assert picture(page) != drawn
    page.get_by_role("button", name="New game").click()
    settle(page)
    assert get(page, "moves") == ""
    check_numbers(page)


def test_it_is_played_by_keyboard(page):
    """The focus stays on the coin: Enter and the space bar show it again."""
    mounting.mount(page, BeatTheGuesser())
    page.get_by_role("button", name="Heads").focus()
    for key in ("Enter", "Space", "Tab", "Enter"):
        page.keyboard.press(key)
    settle(page)
    assert get(page, "moves") == "HHT"
    check_numbers(page)


def test_others_may_play(page):
    """Then the coins rest, and the reader's own game is kept."""
    mounting.mount(page, BeatTheGuesser(moves="HTH"))
    heads = page.get_by_role("button", name="Heads")
    for name in (*PLAYERS, "you"):
        page.locator('[data-trait="player"]').select_option(
            label=WORD["you"] if name == "you" else WORD["players"][name]
        )
        settle(page)
        assert get(page, "player") == name
        assert heads.is_disabled() is (name != "you")
        check_numbers(page)
    assert get(page, "moves") == "HTH"


def test_a_game_ends_at_four_hundred_rounds(page):
    mounting.mount(page, BeatTheGuesser(moves="HT" * 199 + "H"))
    toss(page, "T")
    assert len(get(page, "moves")) == 400
    assert page.get_by_role("button", name="Heads").is_disabled()
    check_numbers(page)


def lead_on(rounds=200):
    """Return moves against what it is about to show: the package tells which."""
    moves = ""
    for _ in range(rounds):
        guess = BeatTheGuesser(moves=moves + "H").game().guesses[-1]
        moves += "T" if guess == "H" else "H"
    return moves


def test_the_goals_can_be_reached(page):
    mounting.mount(page, BeatTheGuesser())
    play, habit, beat = (WORD["goals"][name] for name in ("play", "habit", "beat"))
    toss(page, "HT" * 14 + "H")
    assert goals(page) == [f"Goal 1 of 3: {play}"]
    toss(page, "T")
    assert goals(page)[-1] == f"Goal 2 of 3: {habit}"
    toss(page, "HT" * 12)
    assert goals(page)[-1] == f"Goal 3 of 3: {beat}"
    page.get_by_role("button", name="New game").click()
    toss(page, lead_on(12))
    assert goals(page)[-1] == "All goals reached."
    check_numbers(page)


def test_a_link_holds_the_game_and_a_damaged_one_changes_nothing(page):
    for given in ('{"moves":"HTX"}', '{"player":"nobody"}', '{"moves":3}'):
        page.evaluate("(hash) => { location.hash = hash; }", f"figure-guesser?guesser={given}")
        page.evaluate("document.body.replaceChildren()")
        mounting.mount(page, BeatTheGuesser())
        assert "damaged" in page.locator("[data-note]").inner_text()
        assert [get(page, "moves"), get(page, "player")] == ["", "you"]
    page.evaluate("(hash) => { location.hash = hash; }", 'figure-guesser?guesser={"moves":"HTTH"}')
    settle(page)
    assert get(page, "moves") == "HTTH"
    check_numbers(page)


def test_damaged_weights_are_said(page):
    figure = BeatTheGuesser()
    mounting.mount(page, figure, _weights=figure._weights[:-4])
    assert "cannot be drawn: the weights should be" in page.locator(".mf-fail").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    mounting.mount(page, BeatTheGuesser(player="threes"))
    mounting.check_accessible(page)
