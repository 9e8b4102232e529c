"""Trainings that several processes share; test_processes.py runs them alone and in two processes.

    python -m torch.distributed.run --nproc-per-node=2 shared_training.py WHAT FOLDER

or, without importing everything again, `part(RANK, WHAT, FOLDER)` in each process.

`WHAT` is ``all`` (every training from its start, and what is refused) or ``long`` (the one with a
checkpoint, ``FOLDER/long.training``; killed on the way if ``KILL_AFTER`` names the seconds). Every
process writes all tensors of its records to ``FOLDER/NAME.RANK``.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from threading import Timer

import torch
import torch.distributed as dist
from cases import carts, gen, sines
from safetensors.torch import save_file

from metasgd_core import (
    FOMAML,
    MAML,
    META_SGD,
    REPTILE,
    init_alpha,
    init_theta,
    meta_train,
)
from metasgd_core.training import gradient

LOG = replace(META_SGD, alpha_form="log", alpha_shape="tensor", name="per tensor, in the log")
#: Three or five tasks are not shared equally by two processes.
TRAININGS = {
    "even": (META_SGD, {"meta_batch": 4}),
    "odd": (META_SGD, {"meta_batch": 3, "clip": 0.5, "final_lr": 0.1}),
    "float32": (META_SGD, {"meta_batch": 5, "dtype": torch.float32, "iterations": 5}),
    "runs": (LOG, {"meta_batch": 3, "runs": (2,), "clip": 0.5}),
    "MAML": (replace(MAML, inner_steps=3), {"meta_batch": 5}),
    "FOMAML": (FOMAML, {"meta_batch": 3}),
    "Reptile": (REPTILE, {"meta_batch": 3}),
    "formula": (META_SGD, {"meta_batch": 3, "runs": (2,), "compiled": True}),
    "long": (META_SGD, {"meta_batch": 5, "iterations": 600, "record_every": 20}),
}
REFUSED = {
    "seeds": lambda rank, folder: {"generator": gen(rank)},
    "starts": lambda rank, folder: {"start": rank},
    "few tasks": lambda rank, folder: {"meta_batch": 1},
    "on-policy": lambda rank, folder: {"family": carts()},
    "files": lambda rank, folder: {"checkpoint": folder / f"file.{rank}"},  # only 0 is there
}
#: What each process finds that, together, they cannot train.


def records(
    method, family=None, dtype=torch.float64, runs=(), start=1, generator=None, **settings
):
    family = family or sines(1, 8, 8, 1, activation="tanh", dtype=dtype)
    theta = init_theta(family.model, generator=gen(start), runs=runs)
    alpha = init_alpha(theta, method.alpha_shape, 0.05, runs=runs)
    settings = {"iterations": 20, "meta_batch": 2, "record_every": 7, "lr": 0.01} | settings
    return meta_train(family, theta, alpha, method, shots=5, query_shots=5,
                      generator=generator or gen(2), **settings)


def all_tensors(found):
    return {
        f"{record.iteration}.{group}.{name}": tensor.clone()
        for record in found
        for group, params in [("theta", record.theta), ("alpha", record.alpha),
                              ("loss", {"": record.loss})]
        for name, tensor in params.items()
    }


def train(name, **changes):
    method, settings = TRAININGS[name]
    return all_tensors(records(method, **(settings | changes)))


def killed_later(found, seconds):
    """Pass the records on; the last process is gone soon after the first one."""
    for record in found:
        if dist.get_rank() == dist.get_world_size() - 1 and seconds is not None:
            Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            seconds = None
        yield record


def part(rank, what, folder):
    """Be one of two processes that meet by a file."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    main(what, folder)


def main(what, folder):
    torch.set_num_threads(1)
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    rank = dist.get_rank()
    if what == "all":
        gradient.compile_gradient = lambda formula, learned, data: formula
        for name in TRAININGS:
            save_file(train(name), folder / f"{name}.{rank}")
        refused = {}
        for name, changes in REFUSED.items():
            try:
                list(records(META_SGD, **changes(rank, folder)))
            except ValueError as error:
                refused[name] = str(error)
        (folder / f"refused.{rank}").write_text(json.dumps(refused))
    else:
        seconds = os.environ.get("KILL_AFTER")
        method, settings = TRAININGS["long"]
        found = records(method, checkpoint=folder / "long.training", **settings)
        rest = list(killed_later(found, seconds and float(seconds)))
        save_file(all_tensors(rest), folder / f"resumed.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
