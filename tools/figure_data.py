"""Make the weights of the book's interactive figures again, from nothing.

    python tools/figure_data.py            all of them: ``make figure-data``
    python tools/figure_data.py sine       about two minutes on one core
    python tools/figure_data.py alpha-lab  about five minutes on one core
    python tools/figure_data.py cartpole   at once: it copies what tools/cartpole.py has trained

The results are ``metasgd_core/widgets/data/*.safetensors``. That of the sine holds for each start
its theta, its alpha, and its mean error on held-out curves after 0 to 10 inner steps. All starts
come from the same first theta and, but for Reptile's and those with nothing to learn, meet the same
number of tasks. That of the alpha lab holds, for each shape of alpha and each start, the error
during training of every seed, and what seed 0 ended with, in half precision.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from metasgd_core import (
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    CartPole,
    Sinusoid,
    init_alpha,
    init_theta,
    meta_train,
)
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.studies import generator, lab
from metasgd_core.widgets import alphalab

FOLDER = Path(__file__).resolve().parents[1] / "metasgd_core" / "widgets" / "data"
#: Seeds of the first theta and of the training tasks.
FIRST, TRAINING = 0, 1
#: One step each, as in chapter 6; Reptile as in chapter 5.
SINE = {
    "joint": {"method": JOINT},
    "MAML": {"method": MAML},
    "FOMAML": {"method": FOMAML},
    "Reptile": {"method": replace(REPTILE, inner_steps=10), "alpha": 0.015, "lr": 1.0},
    "Meta-SGD": {"method": META_SGD},
}
#: Rates at test of the starts that were not made for one, chosen on validation tasks after ten
#: steps, as in chapter 4.
RATES = (0.001, 0.003, 0.01, 0.03)


def flat(params) -> torch.Tensor:
    return torch.cat([p.flatten() for p in params.values()])


def sine() -> None:
    """Train the starts of "Adapt to a sine" on five shots of the fixed-frequency curves."""
    family = Sinusoid()
    first = init_theta(family.model, generator=generator(FIRST))

    def scalar(rate):
        return init_alpha(first, "scalar", rate)

    starts = {"random": (first, None)}
    for name, setting in SINE.items():
        method, begun = setting["method"], time.perf_counter()
        alpha = init_alpha(first, method.alpha_shape, setting.get("alpha", 0.01))
        *_, record = meta_train(
            family, first, alpha, method, iterations=lab.ITERATIONS, meta_batch=lab.META_BATCH,
            shots=lab.SHOTS, query_shots=lab.QUERY_SHOTS, generator=generator(TRAINING),
            lr=setting.get("lr", 1e-3), final_lr=0.01, clip=10.0, record_every=1000,
            compiled=method.objective == "query",
        )
        starts[name] = record.theta, None if name == "joint" else record.alpha
        print(f"{name}: {time.perf_counter() - begun:.0f} s")

    def validation(theta, rate):
        errors = lab.held_out(theta, scalar(rate), seed=lab.VALIDATION, n_tasks=200)
        return float(errors[-1].mean().nan_to_num(torch.inf))

    tensors, rates = {}, {}
    for name, (theta, alpha) in starts.items():
        if alpha is None:
            rates[name] = min(RATES, key=lambda rate: validation(theta, rate))
            alpha = scalar(rates[name])
        tensors[f"{name}/theta"] = flat(theta)
        tensors[f"{name}/alpha"] = flat({n: a.expand_as(theta[n]) for n, a in alpha.items()})
        if (tensors[f"{name}/alpha"] == tensors[f"{name}/alpha"][0]).all():
            tensors[f"{name}/alpha"] = tensors[f"{name}/alpha"][:1]
        tensors[f"{name}/errors"] = lab.held_out(theta, alpha).mean(-1)
        print(f"{name:10}", *(f"{e:8.3g}" for e in tensors[f"{name}/errors"].tolist()))
    FOLDER.mkdir(exist_ok=True)
    save_checkpoint(FOLDER / "sine.safetensors", tensors, {
        "made": {"command": "python tools/figure_data.py sine", "torch": torch.__version__},
        "shots": lab.SHOTS, "iterations": lab.ITERATIONS, "first": FIRST, "training": TRAINING,
        "chosen rates": rates,
    })


def error_soon(shape: str) -> torch.Tensor:
    """Train the arms of a shape for 20 meta-iterations, not compiled, and return the error.

    The stored sweep holds it too, so that it can be told in a second whether the sweep still is
    what this code trains.
    """
    return alphalab.error_now(next(lab.train(
        alphalab.SWEEP[shape], seeds=alphalab.SEEDS, record_every=20
    )))


def alpha_lab() -> None:
    """Train the sweep of the alpha lab: each shape of alpha in one call, all starts and seeds."""
    tensors, began = {}, time.perf_counter()
    for shape, arms in alphalab.SWEEP.items():
        curve = {}
        for record in lab.train(
            arms, seeds=alphalab.SEEDS, record_every=alphalab.EVERY, compiled=True
        ):
            curve[record.iteration] = alphalab.error_now(record)
        _, first = lab.begin(arms, alphalab.SEEDS)
        scores = lab.held_out(record.theta, record.alpha).mean(-1)
        found = alphalab.trained(shape, list(alphalab.STARTS), first, record, curve, scores)
        tensors |= {
            f"{shape}/theta": torch.stack([arm.theta for arm in found]).half(),
            f"{shape}/alpha": torch.stack([arm.alpha for arm in found]).half(),
            f"{shape}/moved": torch.stack([arm.moved for arm in found]),
            f"{shape}/validation": torch.stack(list(curve.values()), -1),
            f"{shape}/test": scores,
            f"{shape}/soon": error_soon(shape),
        }
        seconds = time.perf_counter() - began
        print(shape, f"{seconds:.0f} s; after one step:", *(
            f"{start}: {error:.3f}" for start, error in zip(arms.starts, scores[..., 1].mean(1))
        ), sep="\n  ", flush=True)
    save_checkpoint(alphalab.DATA, tensors, {
        "made": {"command": "python tools/figure_data.py alpha-lab", "torch": torch.__version__},
        "iteration": list(curve), "seconds": round(seconds),
    })


def cartpole() -> None:
    """Take chapter 9's first policy, and the first seed of three rows of chapter 10."""
    source = FOLDER.parents[1] / "results" / "cartpole-secret.safetensors"
    tensors, notes = load_checkpoint(source)
    model = CartPole().model
    names = [name for name, _ in model.named_parameters()]
    data = {  # undecided at first, and the rate that chapter 9 begins with
        "random/theta": flat(init_theta(model, generator=generator(0), output_scale=0.1)),
        "random/alpha": torch.tensor([2.0]),
    }
    for name, row in {"MAML": "maml-3", "Meta-SGD": "metasgd-3", "joint": "joint"}.items():
        def whole(kind, row=row):
            return torch.cat([tensors[f"{row}/{kind}.{part}"][0].flatten() for part in names])

        data[f"{name}/theta"] = whole("theta")
        rate = notes["rows"][row].get("rate")  # fine-tuning's, chosen on validation tasks
        if rate is not None:
            data[f"{name}/alpha"] = torch.tensor([rate])
        elif f"{row}/alpha." in tensors:
            data[f"{name}/alpha"] = tensors[f"{row}/alpha."][:1]
        else:
            data[f"{name}/alpha"] = whole("alpha")
    save_checkpoint(FOLDER / "cartpole.safetensors", data, {
        "made": {"command": "python tools/figure_data.py cartpole", "from": notes["command"]},
    })


DATA = {"sine": sine, "alpha-lab": alpha_lab, "cartpole": cartpole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(DATA))
    names = parser.parse_args().names or list(DATA)
    if unknown := set(names) - set(DATA):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(DATA)}")
    torch.set_num_threads(1)
    for name in names:
        DATA[name]()


if __name__ == "__main__":
    main()
