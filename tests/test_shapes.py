"""The shape contracts are switched on in the other tests, and they catch what they are for."""

import pytest
import shapes
import torch
from cases import gen, sines, start
from jaxtyping import TypeCheckError
from shapes import data_contract, loss_contract, meta_loss_contract

from metasgd_core import (
    META_SGD,
    CartPole,
    SineTasks,
    Sinusoid,
    evaluation,
    meta_train,
    meta_training,
)
from metasgd_core.policy_gradient import PolicyFamily


def test_a_task_that_loses_an_axis_is_caught_in_the_middle_of_training(monkeypatch):
    """y of shape (4, 11) beside x of shape (4, 11, 1) is how (K, 1) - (K,) begins."""
    family = sines(1, 4, 1)
    monkeypatch.setattr(SineTasks, "__call__", lambda self, x: x.squeeze(-1))
    with pytest.raises(TypeCheckError, match="data_contract"):
        next(meta_train(family, *start(family), META_SGD, iterations=1, meta_batch=4, shots=5,
                        query_shots=6, generator=gen()))


@pytest.mark.parametrize(
    ("contract", "shapes"),
    [
        (data_contract, [(4,), (4, 5, 1), (4, 6, 1)]),
        (data_contract, [(4,), (3, 5, 1), (3, 5, 1)]),
        (loss_contract, [(4, 5, 1), (4, 5, 1), (4, 1)]),
        (loss_contract, [(4, 5, 1), (4, 5, 1), ()]),
        (meta_loss_contract, [(3, 4), (4,)]),
        (meta_loss_contract, [(3, 4), ()]),
    ],
)
def test_a_contract_refuses_shapes_that_disagree(contract, shapes):
    with pytest.raises(TypeCheckError):
        contract(*(torch.zeros(shape) for shape in shapes))


def test_the_package_is_as_it_was_afterwards():
    """What is measured, pickled or compiled beside the tests is the package itself."""
    owners = [Sinusoid, CartPole, PolicyFamily, evaluation, meta_training]
    before = [dict(vars(owner)) for owner in owners]
    with shapes.enforced():
        assert [dict(vars(owner)) for owner in owners] != before
    assert [dict(vars(owner)) for owner in owners] == before
