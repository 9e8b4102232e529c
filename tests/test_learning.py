"""What the book is about, as a statistical test: rates learned entry by entry adapt better."""

import pytest
import torch
from cases import gen

from metasgd_core import MAML, META_SGD, Sinusoid, evaluate, init_alpha, init_theta, meta_train

SEEDS = 3


@pytest.mark.slow
def test_meta_sgd_beats_maml_on_tasks_never_seen_beyond_the_interval_for_every_seed():
    """K = 5, omega = 1, one inner step, 500 meta-iterations, both from the same start and tasks.

    Each of the three runs has its own initialisation and its own tasks. On 1000 held-out tasks the
    paired difference of the errors lies above zero by more than its 95 % interval in every run,
    and both methods have learned: one step takes them below the untrained network's error.
    """
    torch.set_num_threads(1)
    family = Sinusoid()
    theta = init_theta(family.model, generator=gen(0), runs=(SEEDS,))
    held_out = {"shots": 5, "steps": 1, "n_tasks": 1000}
    evaluations = {"start": evaluate(family, theta, 0.01, generator=gen(2000), **held_out)}
    for method in (MAML, META_SGD):
        alpha = init_alpha(theta, method.alpha_shape, 0.01, runs=(SEEDS,))
        *_, last = meta_train(family, theta, alpha, method, iterations=500, meta_batch=4, shots=5,
                              query_shots=10, generator=gen(1), record_every=500)
        assert not last.diverged.any()
        evaluations[method.name] = evaluate(family, last.theta, last.alpha, generator=gen(2000),
                                            **held_out)
    maml, meta_sgd = evaluations["MAML"], evaluations["Meta-SGD"]
    gain = maml.minus(meta_sgd)
    assert (gain.mean[:, 1] > gain.ci95[:, 1]).all(), gain.mean[:, 1]
    for learned in (maml, meta_sgd):
        better = evaluations["start"].minus(learned)
        assert (better.mean[:, 1] > better.ci95[:, 1]).all()
