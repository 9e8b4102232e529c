"""The shape contracts are switched on in every test, and they catch what they are for."""

import pytest
import torch
from cases import gen, sines, start
from jaxtyping import TypeCheckError

from metasgd_core import META_SGD, Data, Sinusoid, meta_train


def test_a_loss_that_forgot_its_tasks_is_caught_in_the_middle_of_training(monkeypatch):
    """(4, 5, 1) - (4, 5, 1) averaged over one axis too many still trains, on the wrong numbers."""
    family = sines(1, 4, 1)
    theta, alpha = start(family)
    checked = Sinusoid.loss

    def total(self, phi, data):
        return checked(self, phi, Data(data.x[:1], data.y[:1]))

    right = next(meta_train(family, theta, alpha, META_SGD, iterations=1, meta_batch=1, shots=5,
                            query_shots=5, generator=gen()))
    assert right.loss.shape == ()
    data = family.sample_data(family.sample_tasks(4, generator=gen()), None, 5, generator=gen())
    many = {name: p.expand(4, *p.shape) for name, p in theta.items()}
    assert family.loss(many, data).shape == (4,)
    monkeypatch.setattr(
        torch.Tensor, "mean", lambda self, dim=None: torch.sum(self) / self.numel()
    )
    with pytest.raises(TypeCheckError, match="losses"):
        family.loss(many, data)
    assert total  # the wrapped method is the one in use
