"""The study of chapter 7: what it stores is what it measures, and linear means linear."""

import torch

from metasgd_core.floor import floor
from metasgd_core.studies import load, onestep
from metasgd_core.studies.lab import SHOTS


def stored(kind):
    found = load("one-step").tensors
    start = f"{onestep.WHOLE}/{kind}."
    return {key.removeprefix(start): p for key, p in found.items() if key.startswith(start)}


def test_the_stored_errors_are_those_of_the_stored_networks():
    found, own = load("one-step").tensors, onestep.SHOTS.index(SHOTS)
    again = onestep.errors(stored("theta"), stored("alpha"), SHOTS)
    for kind, errors in (("network", again.network), ("linear", again.linear),
                         ("excess", again.network - again.best)):
        kept = found[f"{onestep.WHOLE}/{kind}"][:, own]
        torch.testing.assert_close(errors.mean(-1), kept, rtol=2e-3, atol=1e-4)


def test_a_short_step_is_linear_and_costs_what_the_start_costs():
    alpha = {name: 1e-4 * a for name, a in stored("alpha").items()}
    short = onestep.errors(stored("theta"), alpha, SHOTS, n_tasks=500)
    torch.testing.assert_close(short.network, short.linear, rtol=1e-3, atol=1e-4)
    assert (short.network.mean(-1) > 6 * floor(SHOTS)).all()


def test_all_meet_the_same_curves():
    """The best step's errors depend on the curves and points alone."""
    one, other = (
        onestep.errors(*onestep.chapter_8(group), 2, n_tasks=500).best
        for group in ("start", "fixed")
    )
    assert torch.equal(one, other)
