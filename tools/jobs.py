"""Run named jobs in several processes of one thread each, and say how far they are.

A job writes its own file when it is done, and a checkpoint before: killed at any moment, the same
command goes on where it stopped.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import torch

from metasgd_core.checkpoint import load_checkpoint

#: (name, folder, tell): do the job, write ``folder/name.safetensors``, call tell(fraction done)
Work = Callable[[str, Path, Callable[[float], None]], None]
_reports = None


def run(work: Work, names: list[str], folder: Path, workers: int) -> dict[str, object]:
    """Do the jobs whose file is not there yet; return what a result should say of its making."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [name for name in names if not (folder / f"{name}.safetensors").exists()]
    fresh = not any(folder.iterdir())
    began = time.time()
    context = get_context("spawn")
    reports = context.SimpleQueue()
    done = {name: float(name not in todo) for name in names}
    first: dict[str, float] = {}
    with ProcessPoolExecutor(workers, context, _begin, (reports, os.getpid())) as pool:
        left = {pool.submit(_do, work, name, folder) for name in todo}
        said = 0.0
        while left:
            ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
            while not reports.empty():
                name, fraction = reports.get()
                first.setdefault(name, fraction)
                done[name] = fraction
            for future in ended:
                if future.exception():
                    print(f"stopped: {future.exception()}", file=sys.stderr, flush=True)
                    os._exit(1)  # the other processes follow; what they had done is on file
            if time.time() - said > (5 if sys.stderr.isatty() else 60) or not left:
                said = time.time()
                print(_line(done, first, said - began), file=sys.stderr, flush=True)
    return {
        "seconds": round(time.time() - began, 1), "in_one_go": fresh, "processes": workers,
        "torch": torch.__version__, "python": platform.python_version(),
        "machine": f"{platform.machine()}, {processor()}", "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
    }


def noted(training: Path, notes: Path) -> dict[int, torch.Tensor]:
    """Return what was noted of a training at each of its records.

    A checkpoint is written before its record is noted. Killed between the two, that note is lost,
    so the training begins again.
    """
    found = {int(k): v for k, v in load_checkpoint(notes)[0].items()} if notes.exists() else {}
    if training.exists() and load_checkpoint(training)[1]["done"] in found:
        return found
    training.unlink(missing_ok=True)
    return {}


def clear(names: list[str], folder: Path) -> None:
    """Remove what these jobs left, so that the same command does them from nothing again."""
    for name in names:
        for path in folder.glob(f"{name}.*"):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _line(done: dict[str, float], first: dict[str, float], seconds: float) -> str:
    """Return how much is done, and how long the rest takes at the pace so far."""
    before = sum(share for name, share in done.items() if name not in first) + sum(first.values())
    now, pace = sum(done.values()), 0.0
    if seconds:
        pace = (now - before) / seconds
    rest = f"about {(len(done) - now) / pace / 60:.0f} min left" if pace else "starting"
    finished = sum(share == 1 for share in done.values())
    return f"{now / len(done):4.0%}, {finished} of {len(done)} trainings done, {rest}"


def _begin(reports: object, parent: int) -> None:
    global _reports
    _reports = reports
    torch.set_num_threads(1)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """Go when the parent was killed: two trainings must not write one checkpoint."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _do(work: Work, name: str, folder: Path) -> None:
    try:
        work(name, folder, lambda fraction: _reports.put((name, fraction)))
    except Exception as error:
        raise RuntimeError(f"{name}: {error}") from error
    _reports.put((name, 1.0))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
