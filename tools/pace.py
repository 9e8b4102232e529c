"""How slow this machine is just now, so that a limit can be kept on any of them.

Seconds on the wall depend on what else runs, and processor seconds on the processor. So a limit is
in processor seconds *of a usual machine*: those that were spent, over `slowness`, which is how long
a fixed piece of the same kind of work takes beside it. As a plugin (``pytest -p tools.pace``) it
notes with the last cell of each notebook what the notebook has cost.
"""

import os
import time
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pytest
import torch

#: Processor seconds of `piece` on a usual machine: two cores of an AMD EPYC of 2.6 GHz.
USUAL = 0.020
#: The processor seconds, as on a usual machine, that a chapter may take.
CHAPTER = 60.0

#: Milliseconds of the page's main thread for `PAGE_PIECE` on that machine.
USUAL_PAGE = 4.0
#: What a figure does as something is moved: arithmetic, and a picture drawn anew and measured.
PAGE_PIECE = """() => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.style.cssText = "position: fixed; contain: strict";  // however large the page is
    document.body.append(svg);
    for (let i = 0; i < 30; i++) {
        const corners = Array.from({ length: 100 }, (_, k) => `${k} ${Math.tanh(Math.sin(k + i))}`);
        const path = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
        path.setAttribute("d", `M${corners.join("L")}`);
        const text = svg.appendChild(document.createElementNS(svg.namespaceURI, "text"));
        text.textContent = `${i} of 30`;
        text.getBBox();
    }
    svg.remove();
}"""

_pieces: list[float] = []
_before = 0.0


def piece() -> float:
    """Do a fixed piece of a chapter's kind of work; return the processor seconds that it took.

    A small network, one copy a task, takes two inner steps that are differentiated through.
    """
    start = time.process_time()
    x, y = torch.linspace(-5, 5, 250).reshape(25, 10, 1), torch.ones(25, 10, 1)
    theta = [torch.full((25, *shape), 0.1) for shape in ((1, 40), (40, 40), (40, 1))]
    theta = [leaf.requires_grad_() for leaf in theta]
    for _ in range(10):
        phi = theta
        for _ in range(2):
            error = (x @ phi[0]).relu() @ phi[1]
            loss = (error.relu() @ phi[2] - y).square().mean((1, 2)).sum()
            steps = torch.autograd.grad(loss, phi, create_graph=True)
            phi = [leaf - 0.01 * step for leaf, step in zip(phi, steps, strict=True)]
        torch.autograd.grad(torch.stack([leaf.sum() for leaf in phi]).sum(), theta)
    return time.process_time() - start


def slowness(pieces: list[float]) -> float:
    """Return how many times as long as on a usual machine such pieces took."""
    return fmean(pieces) / USUAL


def of_children() -> float:
    """Return the processor seconds of all processes that this one has started and seen end."""
    return sum(os.times()[2:4])


def in_page(page: Any, work: str, argument: list[Any], times: int) -> list[float]:
    """Return, in order of size, what each call of `work` costs the main thread of a page.

    In milliseconds of its processor time, as on a usual machine. `work` is a function of the
    argument, to which the number of the call is added.
    """
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.evaluate(f"window.work = {work}, window.piece = {PAGE_PIECE}, undefined")

    def clock() -> float:
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return 1000 * next(m["value"] for m in metrics if m["name"] == "ThreadTime")

    took, pieces = [], []
    for k in range(times):
        begun = clock()
        page.evaluate("async (argument) => { await work(argument); }", [*argument, k])
        worked = clock()
        page.evaluate("() => { piece(); }")
        took.append(worked - begun)
        pieces.append(clock() - worked)
    devtools.detach()
    slowness = fmean(pieces) / USUAL_PAGE
    return sorted(each / slowness for each in took)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave SVG out of what nbval compares, as it leaves out PNG: last digits differ."""
    if skipped := getattr(item.parent, "skip_compare", None):
        item.parent.skip_compare = tuple({*skipped, "image/svg+xml"})  # type: ignore[union-attr]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """After each cell do a piece; after a notebook, whose kernel has now ended, add up."""
    global _before
    result = yield
    _pieces.append(piece())
    if nextitem is None or nextitem.parent is not item.parent:
        now = of_children()
        item.user_properties += [("processor", now - _before), ("slowness", slowness(_pieces))]
        _before = now
        _pieces.clear()
    return result
