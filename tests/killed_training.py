"""Train in processes that are killed (SIGKILL), again and again; then compare with an unbroken run.

Run by test_checkpoint.py: ``python killed_training.py FOLDER``. It writes two files, ``unbroken``
and ``resumed`` (all tensors of the last record, and the generator's state), and prints, as JSON,
the iteration that each killed process had saved and what the checkpoint's folder holds at the end.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from metasgd_core import META_SGD, MLP, Sinusoid, init_alpha, init_theta, meta_train
from metasgd_core.checkpoint import load_checkpoint

ITERATIONS, RUNS, KILLS = 165, (2,), 20


def records(generator, checkpoint=None):
    family = Sinusoid(MLP((1, 8, 1)))
    theta = init_theta(family.model, generator=torch.Generator().manual_seed(1), runs=RUNS)
    alpha = init_alpha(theta, "entry", 0.01, runs=RUNS)
    return meta_train(
        family, theta, alpha, META_SGD, iterations=ITERATIONS, meta_batch=4, shots=5,
        query_shots=5, generator=generator, final_lr=0.1, record_every=3, checkpoint=checkpoint,
    )


def finish(path, checkpoint=None):
    generator = torch.Generator().manual_seed(2)
    *_, last = records(generator, checkpoint)
    tensors = {f"theta.{n}": p for n, p in last.theta.items()}
    tensors |= {f"alpha.{n}": a for n, a in last.alpha.items()}
    save_file(tensors | {"generator": generator.get_state()}, path)


def in_a_child(checkpoint, before=lambda: None, after_each=lambda: None):
    """Start the training, or what the checkpoint has left of it, in a fork; return its number."""
    child = os.fork()
    if child == 0:
        before()
        for _ in records(torch.Generator().manual_seed(2), checkpoint):
            after_each()
        os._exit(0)
    return child


def kill_at_any_moment(checkpoint, rng):
    """Kill none to six records later, at no moment in particular of the next."""
    hear, tell = os.pipe()
    may_go_on, allow = os.pipe()

    def report():
        os.write(tell, b".")
        os.read(may_go_on, 1)  # so that a slow parent finds it no further than one record on

    ahead = rng.randint(0, 6)
    os.write(allow, b"." * ahead)
    child = in_a_child(checkpoint, after_each=report)
    os.close(tell)  # so that a child that fails is not waited for
    for _ in range(ahead):
        os.read(hear, 1)
    time.sleep(rng.uniform(0, 0.012))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for end in (hear, may_go_on, allow):
        os.close(end)


def kill_within_a_write(checkpoint, _):
    """Kill when half of a new checkpoint is on the disk."""

    def half_written(descriptor):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def trap():
        os.fsync = half_written

    os.waitpid(in_a_child(checkpoint, before=trap), 0)


def main(folder):
    torch.set_num_threads(1)
    # First, so that the forks find everything imported that torch imports at its first step.
    finish(folder / "unbroken.safetensors")
    rng = random.Random(7)
    (folder / "kept").mkdir()
    checkpoint = folder / "kept" / "training.safetensors"
    saved = []
    kills = [kill_at_any_moment] * KILLS
    for i in (4, 11):
        kills[i] = kill_within_a_write
    for kill in kills:
        kill(checkpoint, rng)
        # Reading it refuses a file that is not whole.
        saved.append(load_checkpoint(checkpoint)[1]["done"] if checkpoint.exists() else 0)
    finish(folder / "resumed.safetensors", checkpoint)
    print(json.dumps({"saved": saved, "kept": sorted(p.name for p in checkpoint.parent.iterdir())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
