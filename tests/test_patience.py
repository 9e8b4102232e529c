"""Tests wait for what should come, and for as long as a busy machine may take."""

import re
from pathlib import Path

import pytest
from patience import PATIENCE

TESTS = Path(__file__).parent
SOURCES = {
    str(path.relative_to(TESTS)): path.read_text(encoding="utf-8")
    for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)
}
PAUSE = re.compile(r"\b(?:wait_for_timeout|sleep|setTimeout)\((?:[^()]|\([^()]*\))*\)")
#: The pauses that there are, and why.
PAUSES = {
    "killed_training.py: sleep(rng.uniform(0, 0.012))": "then a kill, at no moment in particular",
    "test_alphalab_figure.py: sleep(0)": "lets another task run",
    "test_studies.py: sleep(60)": "is a job that takes too long",
    "test_studies.py: sleep(0.02)": "between two looks for a file",
    "book/test_tools.py: sleep(4)": "is a cell that waits and does not work",
    "book/test_jupyterlab.py: setTimeout(no, PATIENCE, new Error(late))": "a limit",
    "book/other_browsers.py: setTimeout(done, 20)": "between two looks at a page",
    "book/other_browsers.py: sleep(0.1)": "between two calls of a driver that is not there yet",
}
LIMIT = re.compile(r"(?:timeout[=(]|\.join\(|monotonic\(\) \+ |now\(\) \+ )[\d.]\S*")


def test_no_test_waits_a_fixed_time():
    """What is long enough for a slow machine is wasted on every other."""
    found = {f"{name}: {pause}" for name, text in SOURCES.items() for pause in PAUSE.findall(text)}
    assert found == set(PAUSES)


def test_nothing_is_given_up_before_its_time():
    """A limit is PATIENCE, and not a number of a test's own."""
    assert PATIENCE >= 180
    found = [f"{name}: {limit}" for name, text in SOURCES.items() for limit in LIMIT.findall(text)]
    assert found == []


@pytest.mark.parametrize("line", [
    "run(code, timeout=60)", "process.join(120)", "limit = time.monotonic() + 60",
    "performance.now() + 20_000", "page.set_default_timeout(30_000)",
])  # fmt: skip
def test_a_short_limit_is_noticed(line):
    assert LIMIT.findall(line)
