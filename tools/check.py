"""Run every check, whatever the others say, and end with one summary.

`--fast` leaves out what trains long and what needs the built book.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = float(os.environ.get("NOTEBOOK_SECONDS", "60"))  # raise it on a slow machine
PYTHON = [sys.executable, "-m"]
PYTEST = [*PYTHON, "pytest", "-q", "-n", "2"]
CLOSING = re.compile(r"\d+ \w+.* in [\d.]+s|no tests ran in")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    name: str
    passed: bool
    seconds: float
    closing: str = ""


def run(name: str, command: list[str]) -> Result:
    """Run one check, show what it prints, and keep pytest's closing line."""
    print(f"\n== {name}: {' '.join(Path(part).name for part in command)}", flush=True)
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
        print(line, end="", flush=True)
        if CLOSING.search(line):
            closing = COLOUR.sub("", line).strip(" =\n")
    return Result(name, process.wait() == 0, time.perf_counter() - start, closing)


def nbval(*notebooks: str) -> tuple[Result, dict[str, float]]:
    """Hold the stored outputs to a run from top to bottom; return each notebook's seconds."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["--nbval", "--dist", "loadfile", f"--junitxml={report}"]
        result = run("notebooks (nbval)", [*PYTEST, *options, *notebooks])
        seconds: defaultdict[str, float] = defaultdict(float)
        if report.exists():
            for case in ET.parse(report).iter("testcase"):
                stem = case.attrib["classname"].removesuffix(".ipynb").rpartition(".")[2]
                seconds[stem] += float(case.attrib["time"])
    return result, seconds


def notebooks() -> list[Result]:
    """Run nbval, and the time limit: what is slow beside another notebook runs again alone.

    Twice if need be, because a shared machine is now and then slow for a minute by itself.
    """
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "book").glob("[0-9]*.ipynb"))
    result, seconds = nbval(*paths)
    results = [result]
    for path in paths:
        stem = Path(path).stem
        for _ in range(2):
            if seconds[stem] > LIMIT:
                again, alone = nbval(path)
                seconds[stem] = min(seconds[stem], alone[stem])
                result.passed &= again.passed
    slow = [f"{stem} {took:.0f} s" for stem, took in seconds.items() if took > LIMIT]
    times = ", ".join(f"{stem[:2]} {took:.0f} s" for stem, took in sorted(seconds.items()))
    note = f"too slow: {', '.join(slow)}" if slow else times
    results.append(Result(f"notebooks (each under {LIMIT:.0f} s)", not slow, 0.0, note))
    return results


def main(fast: bool) -> int:
    unit = [*PYTEST, "--dist", "loadfile", "tests", "--ignore=tests/book"]
    results = [
        run("ruff", [*PYTHON, "ruff", "check", "."]),
        run("mypy", [*PYTHON, "mypy"]),
    ]
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
            *notebooks(),
            run("book (build, zip)", ["make", "zip"]),
        ]
        results += [run("built book", [*PYTEST, "--dist", "worksteal", "tests/book"])]
    print("\n== summary")
    for result in results:
        verdict = "passed" if result.passed else "FAILED"
        print(f"{verdict}  {result.name:<28} {result.seconds:6.0f} s  {result.closing}")
    failed = sum(not result.passed for result in results)
    total = sum(result.seconds for result in results)
    verdict = f"{failed} of {len(results)} checks FAILED" if failed else "all passed"
    print(f"{verdict} in {total:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main("--fast" in sys.argv[1:]))
