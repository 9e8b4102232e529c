"""What ``bench.py`` measured, as the tables of the page "Where the time goes"."""

from __future__ import annotations

from math import comb
from pathlib import Path
from statistics import median
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "book" / "speed.md"
#: Where a group of tables stands on the page.
BEGIN, END = "<!-- speed: begin {} -->", "<!-- speed: end -->"
EAGER, COMPILED = "ours, eager", "ours, compiled"
#: What the page compares.
PAIRS = [
    ("plain loop", EAGER), ("plain loop", COMPILED), (EAGER, "JAX jit"), (COMPILED, "JAX jit"),
    (COMPILED, "JAX jit, packed"), (COMPILED, "JAX scan"),
]


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median, and an interval that holds the true one with 95 %, whatever the law.

    From the k-th value from below to the k-th from above, with the largest k that the binomial
    distribution allows. Fewer than six values allow none: then from the least to the greatest.
    """
    ordered, n, k = sorted(values), len(values), 0
    while 2 * sum(comb(n, i) for i in range(k + 2)) <= 0.05 * 2**n:
        k += 1
    return median(ordered), ordered[k], ordered[n - 1 - k]


def ms(report: dict[str, Any], group: str, name: str) -> float:
    """Return the milliseconds a meta-step, the median over rounds."""
    return 1e3 * median(report["groups"][group][name]["seconds"])


def ratio(report: dict[str, Any], group: str, over: str, under: str) -> tuple[float, float, float]:
    """Return how many times as long `over` takes as `under`, and the interval for that."""
    rows = report["groups"][group]
    pairs = zip(rows[over]["seconds"], rows[under]["seconds"], strict=True)
    return interval([a / b for a, b in pairs])


def pays_after(report: dict[str, Any], group: str) -> float:
    """Return how many meta-steps it takes until compiling has saved the time that it took."""
    saved = ms(report, group, EAGER) - ms(report, group, COMPILED)
    return 1e3 * report["groups"][group][COMPILED]["compiling"] / saved


def tables(report: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown tables of one processor, by the block of the page they stand in."""
    on = report["processor"]
    groups = [f"{n} tasks" for n in report["tasks"]]
    first, runs = report["groups"][groups[0]], report["runs"]
    both = EAGER in first and COMPILED in first

    def against(group: str, over: str, under: str) -> str:
        return "{} ({} to {})".format(*map(digits, ratio(report, group, over, under)))

    def part(name: str) -> list[str]:
        return [name, *(digits(ms(report, "parts", f"{name}, {w}")) for w in (EAGER, COMPILED))]

    def at_once(name: str) -> list[str]:
        labels = [f"{name}, {r} runs" for r in runs]
        figures = [digits(ms(report, "runs", label)) for label in labels]
        return [name, *figures, against("runs", labels[-1], labels[0])]

    steps = table(
        f"Milliseconds a meta-step: {on}", ["way", *groups],
        [[name, *(digits(ms(report, g, name)) for g in groups)] for name in first],
    )
    ratios = table(
        f"How many times as long the first takes as the second: {on}", ["first / second", *groups],
        [[f"{over} / {under}", *(against(g, over, under) for g in groups)]
         for over, under in PAIRS if over in first and under in first],
    )
    operations = table(
        "Operations that PyTorch dispatches in a meta-step", ["way", *groups],
        [[name, *map(digits, counts)] for name, counts in report["operations"].items()],
    )
    parts = table(
        f"Milliseconds at {groups[0]}: {on}", ["part", EAGER, COMPILED],
        [part("data"), part("Adam"),
         ["whole step", *(digits(ms(report, groups[0], w)) for w in (EAGER, COMPILED))]],
    ) if both else ""
    several = table(
        f"Milliseconds a meta-step of all runs, {groups[0]} each: {on}",
        ["way", *(f"{r} run{'s' * (r > 1)}" for r in runs), f"{runs[-1]} runs / {runs[0]} run"],
        [at_once(n) for n in first if f"{n}, {runs[0]} runs" in report["groups"]["runs"]],
    )
    compiling = table(
        f"Seconds to compile: {on}", ["way", *groups],
        [[name, *(digits(report["groups"][g][name]["compiling"]) for g in groups)]
         for name, row in first.items() if row["compiling"] is not None],
    )
    paid = table(
        f"Meta-steps after which compiling has paid for itself: {on}", ["way", *groups],
        [[COMPILED, *(digits(pays_after(report, g)) for g in groups)]],
    ) if both else ""
    found = {
        "steps": [steps, ratios, origin(report)], "operations": [operations], "parts": [parts],
        "runs": [several], "compiling": [compiling, paid],
    }
    return {name: "\n\n".join(filter(None, block)) for name, block in found.items()}


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = (f"| {' | '.join(row)} |" for row in [head, rule, *rows])
    return "\n".join([f"**{title}**", "", *lines])


def digits(value: float) -> str:
    """Write three digits, since the clock bears no more; a count, and what is above, whole."""
    whole = isinstance(value, int) or value >= 100
    return f"{value:,.0f}".replace(",", "\u00a0") if whole else f"{value:#.3g}"


def origin(report: dict[str, Any]) -> str:
    """Return how the figures came about."""
    packages = ", ".join(f"{name} {number}" for name, number in report["packages"].items())
    enough = report["rounds"] > 5
    held = "the 95 % interval of the median" if enough else "the least and the greatest"
    where = "one core" if report["pinned"] else "one thread"
    return (
        f"Measured by `{report['command']}` on {report['date']}, on {where} of this processor: "
        f"{report['processor']}; float32, {report['rounds']} rounds, {report['minutes']:g} minutes "
        f"in all. Python {report['python']}, {packages}. Figures are medians over the rounds; in "
        f"brackets, {held}."
    )


def blocks(stored: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the page's blocks: each processor's tables, one processor after the other.

    How many operations a step dispatches is no property of a processor: that is the newest's.
    """
    each = [tables(report) for report in stored.values()]
    newest = tables(max(stored.values(), key=lambda report: report["date"]))
    together = {name: "\n\n".join(filter(None, (one[name] for one in each))) for name in newest}
    return together | {"operations": newest["operations"]}


def write_page(stored: dict[str, dict[str, Any]], page: Path = PAGE) -> None:
    """Write the tables of all processors into the page."""
    put(blocks(stored), page)


def put(blocks: dict[str, str], page: Path = PAGE) -> None:
    """Put each group of tables between its two markers."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        begin = text.index(BEGIN.format(name))
        end = text.index(END, begin)
        text = f"{text[:begin]}{BEGIN.format(name)}\n\n{block}\n\n{text[end:]}"
    page.write_text(text, encoding="utf-8")
