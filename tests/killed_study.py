"""Do jobs of two studies in processes that are killed, and once unbroken.

Run by test_studies.py: ``python killed_study.py FOLDER``. It leaves each job's results in two
folders, ``unbroken`` and ``resumed``, and prints, as JSON, how far each killed process had got.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from metasgd_core.checkpoint import load_checkpoint
from metasgd_core.studies import cartpole, jobs, table
from metasgd_core.studies.__main__ import known

JOBS = {"table": "Meta-SGD, rate 0.003 to 3e-05", "cartpole-secret": "metasgd-3"}
table.QUICK_ITERATIONS = 120  # 60 records
cartpole.SEEDS = cartpole.EPISODES = 3  # not five and ten: nothing of what is shown is in them


def killed(work, job, *, at=None, writing=None):
    """Work in a fork that dies at that call of tell, or as it is to write a file for that time."""
    child = os.fork()
    if child == 0:
        told, written, save = [], [], jobs.save_checkpoint

        def tell(fraction):
            told.append(fraction)
            if len(told) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def trap(path, *rest):
            written.append(path.suffix)
            if written[-1] == (writing or (None,))[0] and written.count(written[-1]) == writing[1]:
                os.kill(os.getpid(), signal.SIGKILL)
            save(path, *rest)

        jobs.save_checkpoint = trap
        jobs.do(work, job._replace(tell=tell))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was to be killed"
    return load_checkpoint(job.folder / f"{job.name}.training")[1]["done"]


def main(root):
    torch.set_num_threads(1)
    for study, name in JOBS.items():
        work = known()[study].work
        unbroken, resumed = (
            jobs.Job(name, root / folder, quick=True) for folder in ("unbroken", "resumed")
        )
        for job in (unbroken, resumed):
            job.folder.mkdir(exist_ok=True)
        # First, so that the forks find everything imported that torch imports at its first step.
        jobs.do(work, unbroken)
        done = [
            killed(work, resumed, at=1),
            killed(work, resumed, at=2),
            # Between the training's checkpoint and the file with the notes.
            killed(work, resumed, writing=(".noted", 2)),
            killed(work, resumed, at=3),
            killed(work, resumed, writing=(".safetensors", 1)),  # all trained, nothing tested
        ]
        jobs.do(work, resumed)
        print(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
