"""Draw the figure of the landing page and the README: Meta-SGD adapts to a curve it has not met.

    python tools/figures.py        (`make figures`; about half a minute)

Meta-SGD is trained here, then given 1000 new curves, five points of each. The picture shows the
curve with the median error after one step, relative to the curve's height: half of them come out
better than this, half worse.
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch

from metasgd_core import (
    META_SGD,
    Sinusoid,
    adapt,
    init_alpha,
    init_theta,
    meta_train,
    per_task,
    plotting,
    predict,
)

FIGURE = Path(__file__).resolve().parents[1] / "book" / "images" / "adaptation"
CURVES, SHOTS = 1000, 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def main() -> None:
    torch.set_num_threads(1)
    matplotlib.use("agg")
    plotting.use_style()
    family = Sinusoid()
    theta = init_theta(family.model, generator=generator(0))
    *_, last = meta_train(
        family, theta, init_alpha(theta, "entry", 0.01), META_SGD, iterations=10_000,
        meta_batch=4, shots=SHOTS, query_shots=10, generator=generator(1), lr=2e-3, final_lr=0.1,
    )
    tasks = family.sample_tasks(CURVES, generator=generator(2000))
    support = family.sample_data(tasks, None, SHOTS, generator=generator(2001))
    start = per_task(last.theta, (CURVES,))
    phi = adapt(family.loss, start, per_task(last.alpha, (CURVES,)), support)
    x = torch.linspace(-5, 5, 201).reshape(1, -1, 1).expand(CURVES, -1, 1)
    before, after, truth = predict(family.model, start, x), predict(family.model, phi, x), tasks(x)
    errors = (after - truth).square().mean(dim=(-2, -1)) / tasks.amplitude**2
    median = int(errors.argsort()[CURVES // 2])
    figure, ax = plt.subplots(figsize=(5.2, 3.9))
    ax.plot(x[0].flatten(), before[0].flatten(), color=plotting.PALETTE["grey"], linestyle=":",
            label="before the step")
    plotting.plot_adaptation(
        ax, x[median], {"Meta-SGD": after[median]}, truth=truth[median],
        support=(support.x[median], support.y[median]),
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    ax.set_title("One gradient step on five new points")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE.with_suffix(".svg"), metadata={"Date": None})  # for the page
    figure.savefig(FIGURE.with_suffix(".png"), metadata={"Software": None})  # for GitHub
    print(f"median of the mean squared error over the squared amplitude: {errors[median]:.3f}")


if __name__ == "__main__":
    main()
