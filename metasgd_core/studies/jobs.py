"""Run the jobs of a study in several processes of one thread each, so that a kill costs little."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.studies import Stored, read

_reports: Any = None
#: What a folder of jobs says of the sessions so far.
_SESSIONS = ".sessions"


class Counted(Protocol):
    """A record of a training, such as ``meta_train``'s: it says which iteration it is of."""

    @property
    def iteration(self) -> int: ...


R = TypeVar("R", bound=Counted)


class Job(NamedTuple):
    """One job, as ``work`` gets it.

    Attributes
    ----------
    name : str
        One of the study's jobs.
    folder : Path
        Where it keeps what a kill must not take.
    quick : bool
        Whether seconds must do, and the result is thrown away.
    tell : callable
        Is told the fraction that is done, now and then.
    """

    name: str
    folder: Path
    quick: bool = False
    tell: Callable[[float], None] = lambda fraction: None

    def train(
        self,
        records: Callable[[Path], Iterable[R]],
        iterations: int,
        note: Callable[[R], dict[str, Tensor]] = lambda record: {},
    ) -> tuple[R, dict[str, Tensor]]:
        """Train to the end from where a kill has left it.

        Parameters
        ----------
        records : callable
            From the path of a checkpoint to the records of a training with that checkpoint.
        iterations : int
            Of the whole training.
        note : callable, optional
            What to keep of a record, tensors by name. It is called once a record, and a count that
            it reads off (steps played, say) is that of the iterations since the record before.

        Returns
        -------
        record
            The last.
        noted : dict of str to Tensor
            What was noted, stacked along a last axis, with "iteration" and "seconds": those that
            the iterations since the record before have taken, in whichever session.
        """
        training, path = (self.folder / f"{self.name}.{kind}" for kind in ("training", "noted"))
        noted = _noted(training, path)
        began = time.perf_counter()
        for record in records(training):
            # A training that was over already gives its last record again: without a loss.
            if record.iteration not in noted:
                now = time.perf_counter()
                seconds = torch.tensor(now - began, dtype=torch.float64)
                noted[record.iteration] = note(record) | {"seconds": seconds}
                began = now
                save_checkpoint(path, {
                    f"{i}/{key}": value for i, part in noted.items() for key, value in part.items()
                }, {})
            self.tell(0.9 * record.iteration / iterations)
        done = sorted(noted)
        return record, {"iteration": torch.tensor(done)} | {
            key: torch.stack([noted[i][key] for i in done], dim=-1) for key in noted[done[0]]
        }


class Study(NamedTuple):
    """What the command runs; see :mod:`metasgd_core.studies`.

    Attributes
    ----------
    about, time : str
        What it finds, and how long it takes on two cores.
    jobs : tuple of str
        Their names, which name files.
    work : callable
        Does one job. Other processes import it, so it is a function of a module.
    summary : callable
        From the first of the results to the text that the command prints.
    results : callable, optional
        From what the jobs found to the files to store, by name; by default one, `together`.
    """

    about: str
    time: str
    jobs: tuple[str, ...]
    work: Callable[[Job], Stored]
    summary: Callable[[Stored], str]
    results: Callable[[dict[str, Stored]], dict[str, Stored]] | None = None


def together(parts: dict[str, Stored], **notes: Any) -> Stored:
    """Put the jobs' tensors into one result, as ``job/tensor``."""
    return Stored(
        {f"{job}/{key}": p for job, part in parts.items() for key, p in part.tensors.items()}, notes
    )


def run(
    study: Study, folder: Path, *, quick: bool, processes: int, say: Callable[[str], None]
) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Do the jobs whose file is not there yet; return what all found, and how it was made.

    Raises
    ------
    ValueError
        If the folder holds what no run of this study has left whole.
    RuntimeError
        If a job fails; the others stop, too.
    """
    before, sessions = _sessions(folder)
    todo = [name for name in study.jobs if not _file(folder, name).exists()]
    done = {name: float(name not in todo) for name in study.jobs}
    first: dict[str, float] = {}
    began, said = time.monotonic(), -1e9
    context = get_context("spawn")
    reports, stop = context.SimpleQueue(), context.Event()
    with ProcessPoolExecutor(processes, context, _begin, (reports, stop, os.getpid())) as pool:
        left = {pool.submit(_do, study.work, name, folder, quick) for name in todo}
        while left:
            ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
            seconds = time.monotonic() - began
            save_checkpoint(
                folder / _SESSIONS, {}, {"seconds": before + seconds, "sessions": sessions}
            )
            while not reports.empty():
                name, fraction = reports.get()
                first.setdefault(name, fraction)
                done[name] = fraction
            for future in ended:
                if error := future.exception():
                    stop.set()  # what the others have done is on file
                    raise RuntimeError(f"stopped: {error}") from error
            if seconds - said > (5 if sys.stderr.isatty() else 60) or not left:
                said = seconds
                say(_line(done, first, seconds))
    parts = {name: read(_file(folder, name)) for name in study.jobs}
    return parts, {
        "seconds": round(before + time.monotonic() - began, 1), "in_one_go": sessions == 1,
        "processes": processes, "torch": torch.__version__, "python": platform.python_version(),
        "machine": f"{platform.machine()}, {processor()}", "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"), "version": version("metasgd-core"),
    }


def _sessions(folder: Path) -> tuple[float, int]:
    """Return the seconds of the sessions before this one, and this one's number."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _SESSIONS
    if not path.exists():
        if any(folder.iterdir()):
            raise ValueError(
                f"{folder} holds files, but not what the command writes first: delete the folder, "
                "and start again"
            )
        save_checkpoint(path, {}, {"seconds": 0.0, "sessions": 1})
        return 0.0, 1
    _, state = load_checkpoint(path)
    return state["seconds"], state["sessions"] + 1


def _noted(training: Path, path: Path) -> dict[int, dict[str, Tensor]]:
    """Return what was noted of a training at each of its records.

    A checkpoint is written before its record is noted. Killed between the two, that note is lost,
    so the training begins again.
    """
    noted: dict[int, dict[str, Tensor]] = {}
    if path.exists():
        for key, value in load_checkpoint(path)[0].items():
            iteration, _, what = key.partition("/")
            noted.setdefault(int(iteration), {})[what] = value
    if training.exists() and load_checkpoint(training)[1]["done"] in noted:
        return noted
    training.unlink(missing_ok=True)
    return {}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _line(done: dict[str, float], first: dict[str, float], seconds: float) -> str:
    """Return how much is done, and how long the rest takes at the pace so far."""
    now, gained = sum(done.values()), sum(done[name] - share for name, share in first.items())
    rest = "starting"
    if gained:
        rest = f"about {(len(done) - now) * seconds / gained / 60:.0f} min left"
    finished = sum(share == 1 for share in done.values())
    return f"{now / len(done):4.0%}, {finished} of {len(done)} jobs done, {rest}"


def _begin(reports: Any, stop: Any, parent: int) -> None:
    global _reports
    _reports = reports
    torch.set_num_threads(1)
    threading.Thread(target=_follow, args=(stop, parent), daemon=True).start()


def _follow(stop: Any, parent: int) -> None:
    """Go when the parent says so or was killed: two trainings must not write one checkpoint."""
    while os.getppid() == parent and not stop.wait(0.2):
        pass
    os._exit(1)


def _do(work: Callable[[Job], Stored], name: str, folder: Path, quick: bool) -> None:
    try:
        do(work, Job(name, folder, quick, lambda fraction: _reports.put((name, fraction))))
    except Exception as error:
        raise RuntimeError(f"{name}: {error}") from error
    _reports.put((name, 1.0))


def do(work: Callable[[Job], Stored], job: Job) -> None:
    """Do a job and write its file."""
    save_checkpoint(_file(job.folder, job.name), *work(job))


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
