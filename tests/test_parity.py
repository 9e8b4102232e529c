"""Against another implementation: Facebook's `higher`, in float64, one task at a time."""

import pytest
import torch
from cases import STEP, gen, gradients, signed_alpha, sines, start, wanted
from torch.testing import assert_close

from metasgd_core import adapt, per_task

higher = pytest.importorskip("higher", reason="`higher` is not installed")


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("rates", ["one rate (MAML)", "one an entry (Meta-SGD)"])
def test_phi_loss_and_both_meta_gradients_equal_highers(steps, first_order, rates):
    """`higher` unrolls torch.optim.SGD on a patched module, with a rate for each tensor group.

    It shares no code with this package: the module, the optimiser and the loop are its own.
    """
    family = sines(1, 6, 5, 1, activation="tanh")
    theta, alpha = start(family, rate=0.05)
    if "Meta-SGD" in rates:
        alpha = signed_alpha(theta)
    theta, alpha = wanted(theta), wanted(alpha)
    tasks = family.sample_tasks(3, generator=gen(2))
    support = family.sample_data(tasks, None, 5, generator=gen(3))
    query = family.sample_data(tasks, None, 7, generator=gen(4))

    phi = adapt(family.loss, per_task(theta, (3,)), per_task(alpha, (3,)), support, steps=steps,
                first_order=first_order)
    ours = family.loss(phi, query)
    d_theta, d_alpha = gradients(ours.mean(), theta, alpha)

    model = family.model
    for name, p in model.named_parameters():
        p.data = theta[name].detach().clone()
    own = list(model.parameters())
    losses, phis = [], []
    their_theta, their_alpha = [torch.zeros_like(p) for p in own], 0
    for i in range(3):
        inner = torch.optim.SGD([{"params": [p]} for p in own], lr=0.1)
        with higher.innerloop_ctx(
            model, inner, copy_initial_weights=False, track_higher_grads=True,
            override={"lr": list(alpha.values())},
        ) as (patched, unrolled):
            for _ in range(steps):
                loss = (patched(support.x[i]) - support.y[i]).square().mean()
                unrolled.step(
                    loss,
                    grad_callback=lambda gs: [g.detach() for g in gs] if first_order else gs,
                )
            loss = (patched(query.x[i]) - query.y[i]).square().mean()
            grads = torch.autograd.grad(loss / 3, [*own, *alpha.values()])
            losses.append(loss.detach())
            phis.append([p.detach() for p in patched.parameters()])
        their_theta = [a + b for a, b in zip(their_theta, grads[: len(own)])]
        their_alpha = [a + b for a, b in zip(their_alpha, grads[len(own) :])] if i else list(
            grads[len(own) :]
        )

    for i in range(3):
        assert_close([p[i].detach() for p in phi.values()], phis[i], **STEP)
    assert_close(ours.detach(), torch.stack(losses), **STEP)
    assert_close(list(d_theta.values()), their_theta, **STEP)
    assert_close(list(d_alpha.values()), their_alpha, **STEP)
