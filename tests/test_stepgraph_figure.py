"""The graph of a step from Python: its numbers are the package's, its methods those met so far."""

from dataclasses import replace

import pytest
import torch
import traitlets
from torch import nn
from torch.testing import assert_close

from metasgd_core import METHODS, Data, SineTasks, Sinusoid, meta_loss
from metasgd_core.widgets import StepGraph
from metasgd_core.widgets.stepgraph import NAMES, TASKS

BAD = {
    "method": "Adam", "parameters": "three", "stage": 9, "theta_1": 3.5, "theta_2": -2.5,
    "alpha_1": -0.1, "alpha_2": float("nan"),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_what_arrives_is_the_gradient_of_the_packages_meta_loss(name, kind):
    """For theta, and for alpha where it is learned; with the package's own model and method."""
    figure = StepGraph(method=name, parameters=kind, theta_1=0.7, theta_2=-0.4, alpha_1=0.3,
                       alpha_2=0.15)
    model = nn.Linear(1, 1, bias=kind == "two").double()
    family, method = Sinusoid(model), replace(METHODS[name], inner_steps=1)
    shapes = {key: p.shape for key, p in model.named_parameters()}

    def leaves(numbers):
        return {key: number.expand(shape).clone().requires_grad_()
                for (key, shape), number in zip(shapes.items(), numbers)}

    found = figure.numbers()
    theta = leaves(found["theta"])
    alpha = leaves(found["alpha"]) if name == "Meta-SGD" else float(found["alpha"])
    rows = [row for part in ("support", "query") for row in TASKS[kind][part]]
    x, y = (torch.tensor([[[row[k]] for row in rows]], dtype=torch.float64) for k in (0, -1))
    shots = len(TASKS[kind]["support"])
    loss = meta_loss(
        family, theta, alpha, SineTasks(*torch.ones(3, 1)), method, shots=shots,
        query_shots=len(rows) - shots, generator=torch.Generator(), data=Data(x, y),
    )
    assert_close(loss, found["distance" if name == "Reptile" else "query"][0], rtol=0, atol=1e-12)
    loss.backward()
    total = torch.cat([leaf.grad.flatten() for leaf in theta.values()])
    assert_close(total, found["total"], rtol=0, atol=1e-12)
    if name == "Meta-SGD":
        rates = torch.cat([leaf.grad.flatten() for leaf in alpha.values()])
        assert_close(rates, found["rates"], rtol=0, atol=1e-12)


def test_no_one_positive_rate_brings_the_query_loss_to_nothing_and_two_do():
    """The last goal: with one rate for both the loss only grows with it."""
    def query(method, first, second):
        figure = StepGraph(method=method, parameters="two", alpha_1=first, alpha_2=second)
        return float(figure.numbers()["query"])

    losses = [query("MAML", k / 20, 0.0) for k in range(21)]
    assert min(losses) == losses[0] > 2
    assert query("Meta-SGD", 0.0, 0.75) < 1e-12


@pytest.mark.parametrize(("name", "known"), [
    ("MAML", ["MAML"]), ("FOMAML", ["MAML", "FOMAML", "Reptile"]), ("Meta-SGD", list(NAMES)),
])
def test_a_chapter_lists_the_methods_that_it_has_met(name, known):
    figure = StepGraph(method=name)
    assert figure._methods == known
    assert "methods" not in figure.arguments()
    assert StepGraph(method=name, methods=["MAML", name])._methods == [
        n for n in NAMES if n in ("MAML", name)
    ]


def test_methods_that_were_given_are_stored_and_held():
    figure = StepGraph(methods=["Meta-SGD", "MAML"])
    assert StepGraph(**figure.arguments())._methods == ["MAML", "Meta-SGD"]
    with pytest.raises(traitlets.TraitError, match="one of MAML, Meta-SGD, got 'Reptile'"):
        figure.method = "Reptile"


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_a_bad_state_is_refused_and_named(name, value):
    figure = StepGraph()
    kept = getattr(figure, name)
    with pytest.raises(traitlets.TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept
    with pytest.raises(traitlets.TraitError, match=name):
        StepGraph(**{name: value})


def test_the_picture_shows_the_state():
    pictures = [StepGraph(method=name, parameters=kind).picture() for name in NAMES
                for kind in TASKS]
    assert len(set(pictures)) == 8
