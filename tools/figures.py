"""Make the figure of the landing page and the README: MAML and Meta-SGD adapt to one new curve.

    python tools/figures.py        (`make figures`; about a minute)

Both are meta-trained here, from the same start on the same tasks, and given the same five points
of a curve that neither has met.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch

from metasgd_core import (
    MAML,
    META_SGD,
    SineTasks,
    Sinusoid,
    adapt,
    init_alpha,
    init_theta,
    meta_train,
    per_task,
    plotting,
    predict,
)

FIGURE = Path(__file__).resolve().parents[1] / "book" / "images" / "adaptation.png"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def main() -> None:
    torch.set_num_threads(1)
    matplotlib.use("agg")
    plotting.use_style()
    family = Sinusoid()
    theta = init_theta(family.model, generator=generator(0))
    tasks = SineTasks(*(torch.tensor([value]) for value in (3.5, 1.0, 2.5)))
    support = family.sample_data(tasks, None, 5, generator=generator(2004))
    x = torch.linspace(-5, 5, 201).reshape(1, -1, 1)
    curves = {}
    for method, alpha in ((MAML, init_alpha(theta, "scalar", 0.01)),
                          (META_SGD, init_alpha(theta, "entry", 0.01))):
        *_, last = meta_train(
            family, theta, alpha, method, iterations=10_000, meta_batch=4, shots=5,
            query_shots=10, generator=generator(1), lr=2e-3, final_lr=0.1, record_every=1000,
        )
        start = per_task(last.theta, (1,))
        phi = adapt(family.loss, start, per_task(last.alpha, (1,)), support)
        curves[method.name] = predict(family.model, phi, x)[0]
        before = predict(family.model, start, x)[0]
    figure, ax = plt.subplots(figsize=(6.4, 4.0))
    ax.plot(x.flatten(), before.flatten().detach(), color=plotting.PALETTE["grey"], linestyle=":",
            label="Meta-SGD before the step")
    plotting.plot_adaptation(ax, x[0], curves, truth=tasks(x)[0], support=(support.x, support.y))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    ax.set_title("One gradient step on five points of a new curve")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Software": None})
    print(f"wrote {FIGURE.name}")


if __name__ == "__main__":
    main()
