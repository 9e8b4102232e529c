"""The convolutional network: `conv2d` by other means, and who keeps whom company."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import EXACT, gen, signed_alpha, wanted
from conforming import tiny_images
from torch.testing import assert_close

from metasgd_core import META_SGD, Data, adapt, init_theta, meta_loss, meta_train, per_task, predict
from metasgd_core.models import ConvNet, PrototypeNet
from metasgd_core.readers import read
from metasgd_core.types import take

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))  # tools are scripts

from conv_ways import WAYS, By, one

NORMS = ("none", "layer", "batch")
#: Relative, of the greatest entry: what the issue asks of gradients.
CLOSE = 1e-10


def assert_near(mine, expected):
    for a, b in zip(mine, expected, strict=True):
        assert (a - b).abs().max() <= CLOSE * b.abs().max()


def theta_of(model, runs=()):
    """Return parameters none of which is zero or small."""
    theta = init_theta(model, generator=gen(1), runs=runs)
    return {name: p + 0.1 * torch.randn(p.shape, generator=gen(2), dtype=p.dtype)
            for name, p in theta.items()}


@pytest.mark.parametrize("way", [name for name in WAYS if name != "ours"])
@pytest.mark.parametrize("norm", NORMS)
def test_meta_losses_and_meta_gradients_are_those_of_conv2d(norm, way):
    """Through two inner steps with signed rates: values, first and second derivatives."""
    family = tiny_images(norm, filters=5)
    other = By(family.model, family.images, family.ways, way=WAYS[way])
    theta = theta_of(family.model)
    mine = wanted(theta), wanted(signed_alpha(theta))
    method = replace(META_SGD, inner_steps=2)
    found = []
    for each in (family, other):
        tasks = each.sample_tasks(4, generator=gen(3))
        loss = meta_loss(each, *mine, tasks, method, shots=2, query_shots=3, generator=gen(4))
        leaves = [p for part in mine for p in part.values()]
        found.append([loss, *torch.autograd.grad(loss, leaves)])
        assert all(g.abs().max() > 1e-10 for g in found[-1])  # no parameter is without effect
    assert_near(*found)


@pytest.mark.parametrize("size", [1, 5, 6, 13, 28])
def test_any_size_is_convolved_to_its_edge(size):
    """Odd and even sides end differently against a stride of 2."""
    model = ConvNet(3, filters=2, size=size, norm="layer").double()
    theta, x = theta_of(model), torch.randn(4, 1, size, size, generator=gen(), dtype=torch.float64)
    assert_near([predict(model, theta, x)], [one(model, theta, x)])


def test_theta_itself_two_axes_of_runs_and_the_module_agree():
    model = ConvNet(3, filters=2, size=6).double()
    theta = theta_of(model, runs=(2, 3))
    x = torch.randn(2, 3, 5, 1, 6, 6, generator=gen(), dtype=torch.float64)
    whole = predict(model, theta, x)
    assert whole.shape == (2, 3, 5, 3)
    of = {name: p[1, 2] for name, p in theta.items()}
    alone = predict(model, of, x[1, 2])
    assert_near([whole[1, 2]], [alone])
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(of[name])
    assert_close(model(x[1, 2]), alone, **EXACT)


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norm_minds_the_company(norm):
    """With it an image's logits change with the images beside it; an axis before the points keeps
    groups apart."""
    model = ConvNet(3, filters=2, size=6, norm=norm).double()
    theta, x = theta_of(model), torch.randn(8, 1, 6, 6, generator=gen(), dtype=torch.float64)
    together, halves = predict(model, theta, x), predict(model, theta, x.unflatten(0, (2, 4)))
    assert_near(halves, [predict(model, theta, half) for half in x.split(4)])
    gap = (together - halves.flatten(0, 1)).abs().max()
    assert gap > 0.01 if norm == "batch" else gap < 1e-12
    tasks = per_task(theta, (3,))
    groups = predict(model, tasks, x.expand(3, *x.shape).unflatten(1, (2, 4)))
    assert_near(groups, [halves] * 3)


def test_the_responses_have_mean_0_and_variance_1():
    model = ConvNet(norm="batch")
    h = 3 + 2 * torch.randn(7, 4, 5, generator=gen(), dtype=torch.float64)  # points, positions
    for norm, over in (("batch", (0, 1)), ("layer", (1, 2))):
        model.norm = norm
        variance, mean = torch.var_mean(model._normalised(h), over, correction=0)
        assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
        assert_close(variance, torch.ones_like(variance), rtol=0, atol=2e-3)


@pytest.mark.parametrize("x", [(5, 1, 7, 7), (5, 6, 6), (1, 6, 6), (5, 3, 6, 6)])
def test_images_of_another_size_are_refused_in_one_sentence(x):
    model = ConvNet(3, filters=2, size=6)
    with pytest.raises(ValueError, match=r"x has shape .* takes \(\.\.\., points, 1, 6, 6\)") as e:
        predict(model, init_theta(model, generator=gen()), torch.zeros(x))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"ways": 0}, "ways must be a whole number"), ({"filters": 2.5}, "filters must be a whole"),
     ({"size": -1}, "size must be a whole"), ({"norm": "group"}, 'must be "none", "layer" or')],
)
def test_a_network_that_cannot_be_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        ConvNet(**given)


def reading(shots=3, norm="batch"):
    """Return a family whose network reads, a theta for four tasks, and their support and query."""
    family = tiny_images(norm, filters=4, net=PrototypeNet)
    tasks = family.sample_tasks(4, generator=gen(3))
    data = family.sample_data(tasks, None, shots + 2, generator=gen(4))
    return family, per_task(theta_of(family.model), (4,)), take(data, 1, 0, shots), take(
        data, 1, shots, 2)  # fmt: skip


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_what_was_read_tells_the_nearest_mean(norm, shots):
    """Logits are minus the squared distance to each class's mean, but for what all share."""
    family, theta, support, query = reading(shots, norm)
    phi = read(family.loss, theta, 0.0, support, model=family.model)
    logits = family.logits(phi, query)
    for task in range(4):
        mine = {name: p[task] for name, p in theta.items()}
        seen, new = (family.model.features(mine, part.x[task].flatten(0, 1)).unflatten(
            0, (-1, family.ways)) for part in (support, query))  # fmt: skip
        gaps = torch.stack([  # class by class, by hand
            (new - seen[:, way].mean(0)).square().sum(-1) for way in range(family.ways)
        ], -1)  # fmt: skip
        assert_near([logits[task].diff(dim=-1)], [-gaps.diff(dim=-1)])
        assert_close(logits[task].argmax(-1), gaps.argmin(-1), **EXACT)


def test_reading_has_adapts_place_and_leaves_the_features_alone():
    """One step reads, none leaves theta; the meta-gradient goes through the prototypes."""
    family, theta, support, query = reading()
    phi = read(family.loss, theta, 0.0, support, model=family.model, steps=1)
    assert {n: p.shape for n, p in phi.items()} == {n: p.shape for n, p in theta.items()}
    for name, p in theta.items():
        assert torch.equal(phi[name], p) is name.startswith("convs")
    assert read(family.loss, theta, 0.0, support, model=family.model, steps=0) == theta
    leaf = wanted(theta)
    family.loss(read(family.loss, leaf, 0.0, support, model=family.model), query).sum().backward()
    for name, p in leaf.items():
        assert (p.grad is not None and bool(p.grad.any())) is name.startswith("convs")


def test_what_cannot_be_read_is_refused_in_one_sentence():
    family, theta, support, _ = reading()
    with pytest.raises(ValueError, match="a model reads its support once: steps must be 0 or 1"):
        read(family.loss, theta, 0.0, support, model=family.model, steps=2)
    with pytest.raises(ValueError, match=r"takes \(\.\.\., points, 1, 6, 6\)"):
        read(family.loss, theta, 0.0, Data(support.x[..., :5], support.y), model=family.model)
    with pytest.raises(ValueError, match="a ConvNet cannot read its support: it needs a method"):
        read(family.loss, theta, 0.0, support, model=ConvNet(3, filters=4, size=6))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("norm", NORMS)
def test_on_a_gpu_it_adapts_as_on_the_cpu_and_trains_there(norm):
    torch.backends.cuda.matmul.allow_tf32 = False
    family = tiny_images(norm)
    theta = theta_of(family.model)
    data = family.sample_data(family.sample_tasks(4, generator=gen()), None, 2, generator=gen())

    def phi(device):
        moved = per_task({n: p.to(device) for n, p in theta.items()}, (4,))
        there = Data(*(part.to(device) for part in data))
        return {n: p.cpu() for n, p in adapt(family.loss, moved, 0.1, there, steps=3).items()}

    assert_close(phi("cuda"), phi("cpu"), rtol=1e-9, atol=1e-11)
    there = tiny_images(norm, device="cuda")
    start = {n: p.cuda() for n, p in theta.items()}
    alpha = {n: torch.full_like(p, 0.1) for n, p in start.items()}
    *_, record = meta_train(there, start, alpha, META_SGD, iterations=2, meta_batch=3, shots=1,
                            query_shots=2, generator=torch.Generator("cuda"))
    assert {p.device.type for p in [*record.theta.values(), *record.alpha.values()]} == {"cuda"}
