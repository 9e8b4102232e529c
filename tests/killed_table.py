"""Run a job of tools/table.py in processes that are killed, and once unbroken.

Run by test_table.py: ``python killed_table.py FOLDER``. It leaves the results in two folders,
``unbroken`` and ``resumed``, and prints, as JSON, how far each killed process had got.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import table as tool

from metasgd_core.checkpoint import load_checkpoint

NAME = "Meta-SGD, rate 0.003 to 3e-05"
tool.QUICK_ITERATIONS = 120  # 60 records


def killed(folder, *, at=None, writing=None):
    """Work in a fork that dies at that call of tell, or as it is to write a file for that time."""
    child = os.fork()
    if child == 0:
        told, written, save = [], [], tool.save_checkpoint

        def tell(fraction):
            told.append(fraction)
            if len(told) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def trap(path, *rest):
            written.append(path.suffix)
            if written[-1] == (writing or (None,))[0] and written.count(written[-1]) == writing[1]:
                os.kill(os.getpid(), signal.SIGKILL)
            save(path, *rest)

        tool.save_checkpoint = trap
        tool.work(NAME, folder, tell)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was to be killed"
    return load_checkpoint(folder / f"{NAME}.training")[1]["done"]


def main(root):
    torch.set_num_threads(1)
    folders = [root / name / "quick" for name in ("unbroken", "resumed")]
    for folder in folders:
        folder.mkdir(parents=True)
    # First, so that the forks find everything imported that torch imports at its first step.
    tool.work(NAME, folders[0], lambda fraction: None)
    done = [
        killed(folders[1], at=5),
        killed(folders[1], at=20),
        # Between the training's checkpoint and the file with the losses.
        killed(folders[1], writing=(".losses", 4)),
        killed(folders[1], at=7),
        killed(folders[1], writing=(".safetensors", 1)),  # all trained, nothing tested
    ]
    tool.work(NAME, folders[1], lambda fraction: None)
    print(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
