"""Run every check, whatever the others say, and end with one summary.

`--fast` leaves out what trains long and what needs the built book. `COMPANIONS=in-turn` in the
environment (as in `.ci/run`) neither runs nor looks at two thirds of the companion pages, each day
others, and looks at a third of the decks and of the quizzes, and at each page with figures in one
way alone.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pace

ROOT = Path(__file__).resolve().parents[1]
PYTHON = [sys.executable, "-m"]
PYTEST = [*PYTHON, "pytest", "-q", "-n", "2"]
CLOSING = re.compile(r"\d+ \w+.* in [\d.]+s|no tests ran in")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    name: str
    passed: bool
    wall: float
    processor: float
    closing: str = ""


def run(name: str, command: list[str], *, later: bool = False) -> Result:
    """Run one check, show what it prints (in the end, if `later`), keep pytest's closing line."""
    held: list[str] = []
    show = held.append if later else partial(print, end="", flush=True)
    show(f"\n== {name}: {' '.join(Path(part).name for part in command)}\n")
    # One thread each: the checks already share out the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    closing = ""
    for line in process.stdout:
        if "Kernel is running over TCP" in line:  # ipykernel, once a notebook
            continue
        show(line)
        if CLOSING.search(line):
            closing = COLOUR.sub("", line).strip(" =\n")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    print(*held, sep="", end="", flush=True)
    wall, processor = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Result(name, process.returncode == 0, wall, processor, closing)


def side_by_side(*checks: tuple[str, list[str]]) -> list[Result]:
    """Run checks that have one core's work each at the same time, and show one after the other."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda check: run(*check, later=True), checks))


def git(*words: str) -> str:
    """Return what git says of this folder, or nothing if it cannot."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def not_in_turn(paths: list[Path], day: int, changed: str) -> list[Path]:
    """Return the pages to leave out: each has its turn on every third day.

    Parameters
    ----------
    paths : list of Path
        What may be left out, companion pages or quizzes.
    day : int
        Of the last commit and not of the clock: a commit is checked twice in the same way.
    changed : str
        What differs from the commit before, as git lists it: such a page is not left out.
    """
    return [path for k, path in enumerate(paths)
            if (k - day) % 3 and path.name not in changed]  # fmt: skip


def notebooks(paths: list[str]) -> list[Result]:
    """Hold the stored outputs to a run from top to bottom, and each chapter to its time."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-p", "tools.pace", "-p", "tools.kernels", "--nbval", "--dist", "loadfile"]
        options += [f"--junitxml={report}"]
        results = [run("notebooks (nbval)", [*PYTEST, *options, *paths])]
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    wall: defaultdict[str, float] = defaultdict(float)
    for case in cases:
        stem = case.attrib["classname"].removesuffix(".ipynb").rpartition(".")[2]
        wall[stem] += float(case.attrib["time"])
        if noted := {p.attrib["name"]: float(p.attrib["value"]) for p in case.iter("property")}:
            usual = noted["processor"] / noted["slowness"]
            closing = f"{usual:.0f} s as on a usual machine, of {pace.CHAPTER:.0f}"
            passed = usual <= pace.CHAPTER
            results.append(Result(f"  {stem}", passed, wall[stem], noted["processor"], closing))
    return [results[0], *sorted(results[1:], key=lambda result: result.name)]


def main(fast: bool) -> int:
    start = time.perf_counter()
    chapters, quizzes = (sorted((ROOT / folder).glob("[0-9]*.*"))
                         for folder in ("book", "teach/quizzes"))  # fmt: skip
    left_out, unseen = [], []
    if os.environ.get("COMPANIONS") == "in-turn" and (seconds := git("log", "-1", "--format=%ct")):
        companions = [path for path in chapters if path.stem.endswith("-deeper")]
        changed = git("diff", "--name-only", "HEAD~1", "--", "book", "teach/quizzes")
        left_out, unseen = (not_in_turn(paths, int(seconds) // 86_400, changed)
                            for paths in (companions, quizzes))  # fmt: skip
    unit = [*PYTEST, "--dist", "loadfile", "tests", "--ignore=tests/book"]
    checks = [
        ("ruff", [*PYTHON, "ruff", "check", "."]),
        ("mypy", [*PYTHON, "mypy"]),
        ("scripts, workflows", [sys.executable, "tools/check_js.py"]),
    ]
    if not fast:
        checks += [
            ("book (build, zip)", ["make", "zip"]),
            ("decks (build), pypdf", ["make", "slides", ".venv-teach/.pdf"]),
        ]
    results = side_by_side(*checks)
    if fast:
        results += [
            run(
                "fast tests",
                [*PYTEST, "--dist", "loadfile", "tests", "-m", "not (slow or built or browser)"],
            )
        ]
    else:
        results += [
            run("unit tests", unit),
            *notebooks([str(path) for path in chapters if path not in left_out]),
        ]
        built = [*PYTEST, "--dist", "worksteal", "tests/book"]
        if left_out:  # they are not looked at in the browser, either
            pages = [path.stem for path in left_out] + [f"quizzes/{path.stem}" for path in unseen]
            built += ["-k", f"not (test_page_is_whole and ({' or '.join(pages)}))"]
        results.append(run("built book", built))
    wall, processor = time.perf_counter() - start, pace.of_children()
    failed = sum(not result.passed for result in results)
    verdict = f"{failed} of {len(results)} checks FAILED" if failed else "all passed"
    print("\n== summary; seconds on the wall and of the processors")
    for result in [*results, Result("all", not failed, wall, processor, verdict)]:
        verdict = "passed" if result.passed else "FAILED"
        times = f"{result.wall:6.0f} {result.processor:6.0f}"
        print(f"{verdict}  {result.name:<30} {times}   {result.closing}")
    if left_out and not fast:
        print(f"not run, since it is not their turn: {', '.join(path.stem for path in left_out)}")
        print(f"quizzes not looked at in a browser: {', '.join(path.stem for path in unseen)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main("--fast" in sys.argv[1:]))
