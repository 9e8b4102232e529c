"""Meta-SGD on sinusoids with large meta-batches, shared by all GPUs (or CPU cores) you give it.

    python tools/scale.py                                      one process
    torchrun --nproc-per-node=8 tools/scale.py                 one machine, 8 GPUs or 8 CPU cores
    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d \\
             --rdzv-endpoint=HOST:29500 tools/scale.py         the same line on both machines

Stopped at any moment, the same command goes on from the checkpoint, with any number of processes.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from metasgd_core import META_SGD, Sinusoid, evaluate, init_alpha, init_theta, meta_train
from metasgd_core.processes import world

ROOT = Path(__file__).resolve().parents[1]


def join() -> torch.device:
    """Join the other processes, if `torchrun` started us; return the device of this one."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if dist.is_torchelastic_launched():
        # A process that dies is noticed at once; a machine that falls silent, after this time.
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(minutes=10))
    return device


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--meta-batch", type=int, default=1000, help="tasks, over all processes")
    parser.add_argument("--record-every", type=int, default=100, help="between two checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eager", action="store_true", help="do not compile the meta-gradient")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "_build" / "scale.safetensors",
                        help="a file that every machine can read")
    args = parser.parse_args(argv)

    torch.set_num_threads(1)
    device = join()
    rank, processes = world()
    family, generator = Sinusoid(), torch.Generator(device).manual_seed(args.seed)
    theta = init_theta(family.model, generator=generator)
    args.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    began = time.time()
    if rank == 0:
        print(f"{processes} x {device.type}, {args.meta_batch} tasks an iteration", flush=True)
    for record in meta_train(
        family, theta, init_alpha(theta, "entry", 0.01), META_SGD,
        iterations=args.iterations, meta_batch=args.meta_batch, shots=10, query_shots=10,
        generator=generator, record_every=args.record_every, checkpoint=args.checkpoint,
        compiled=not args.eager,
    ):
        if rank == 0:
            print(f"iteration {record.iteration:7}  meta-loss {float(record.loss):8.4f}  "
                  f"{time.time() - began:6.0f} s", flush=True)
    if rank == 0:
        held_out = torch.Generator(device).manual_seed(1_000_000)
        found = evaluate(family, record.theta, record.alpha, shots=10, steps=1, n_tasks=1000,
                         generator=held_out)
        print(f"held-out error after one step: {float(found.mean[1]):.4f} "
              f"± {float(found.ci95[1]):.4f} (1000 tasks)", flush=True)
    if processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
