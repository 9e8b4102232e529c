"""Run studies from nothing: each shows how far it is, and may be killed and started again.

Without a name: what there is. Killed at any moment, the same command in the same folder goes on
from _build/studies, which it clears in the end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from metasgd_core import studies
from metasgd_core.studies.jobs import Study, run, together


def known() -> dict[str, Study]:
    """Return the studies of all files in this folder."""
    found: dict[str, Study] = {}
    for module in iter_modules(studies.__path__):
        if module.name != "__main__":
            part = import_module(f"metasgd_core.studies.{module.name}")
            found |= getattr(part, "STUDIES", {})
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the command with these words, by default those that it was started with."""
    parser = argparse.ArgumentParser(
        prog="python -m metasgd_core.studies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; none: list them")
    parser.add_argument("--quick", action="store_true",
                        help="with trainings far too short, in about a minute; stores nothing")
    parser.add_argument("--processes", type=int, default=2, help="jobs at a time (2)")
    args = parser.parse_args(argv)
    there = known()
    if unknown := [name for name in args.names if name not in there]:
        parser.error(f"there is no study {', '.join(unknown)}; there are {', '.join(there)}")
    if args.processes < 1:
        parser.error(f"--processes must be at least 1, got {args.processes}")
    if not args.names:
        for name, study in there.items():
            print(f"{name:18} {study.about} ({study.time})")
    for name in args.names:
        try:
            one(name, there[name], args.quick, args.processes)
        except (ValueError, RuntimeError) as error:
            sys.exit(f"{name}: {error}")


def one(name: str, study: Study, quick: bool, processes: int) -> None:
    """Run a study, print its summary, and store what it found."""
    folder = Path("_build/studies") / (f"{name}-quick" if quick else name)
    parts, made = run(
        study, folder, quick=quick, processes=processes,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    made = {"command": f"python -m metasgd_core.studies {name}"} | made
    results = study.results(parts) if study.results else {name: together(parts)}
    print(study.summary(next(iter(results.values()))))
    print(f"{name}: {made['seconds']:.0f} s with {processes} processes")
    if not quick:
        for result, (tensors, notes) in results.items():
            print("written:", studies.save(result, studies.Stored(tensors, notes | {"made": made})))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
