"""The same code on any device: tensors follow the generator and the inputs, never a default.

A machine without a GPU can still catch most of what would fail on one. Inside
``torch.device("meta")`` every tensor that is made without saying where lands on the meta device,
which holds no numbers: mixed with the CPU tensors of a training, it raises, or shows in the
result's device. (It does not see ``.numpy()``, ``from_numpy``, ``device="cpu"`` or an in-place
operation with a new tensor on the right. A lint looks for the first three; nothing sees all.)
"""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import EXACT, carts, gen, sines, start, walks
from torch.testing import assert_close

import metasgd_core
from metasgd_core import (
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    REPTILE,
    LogUniform,
    PolicyGradient,
    Uniform,
    adapt,
    evaluate,
    init_alpha,
    init_theta,
    meta_train,
    per_task,
)
from metasgd_core.training import gradient

LOG = replace(META_SGD, alpha_form="log", name="log")
CREDIT = replace(MAML, credit_sampling=True, name="E-MAML")
METHODS = [JOINT, MAML, FOMAML, REPTILE, META_SGD, LOG,
           replace(META_SGD, alpha_shape="scalar", name="learned scalar")]
#: Families of every kind, and one that scores them.
PLAYED = {
    "cartpole": (carts(secret_side=True), LOG, carts(secret_side=True, greedy=True)),
    "cartpole, dice": (carts(objective=PolicyGradient("dice", normalize=False)), CREDIT, None),
    "navigation": (walks(reward="squared"), CREDIT, None),
    "navigation, uniform": (walks(start="uniform"), JOINT, None),
}


def a_whole_training(
    method, device="cpu", path=None, alpha=None, family=None, compiled=False, **scoring
):
    """Draw, train with a clip and a checkpoint, evaluate: return all tensors that come out."""
    family = family or sines()
    g = torch.Generator(device).manual_seed(1)
    theta = init_theta(family.model, generator=g, runs=(2,))
    if alpha is None:
        alpha = init_alpha(theta, method.alpha_shape, Uniform(0.01, 0.1), runs=(2,), generator=g)
    records = list(meta_train(family, theta, alpha, method, iterations=4, meta_batch=3, shots=5,
                              query_shots=6, generator=g, clip=1.0, record_every=2,
                              checkpoint=path, compiled=compiled))
    last = records[-1]
    ev = evaluate(family, last.theta, last.alpha, shots=5, steps=2, n_tasks=4, generator=g,
                  **scoring)
    return [last.loss, last.diverged, *last.theta.values(), *last.alpha.values(), ev.scores,
            ev.mean, ev.ci95]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_nothing_in_a_training_lands_on_the_default_device(method, tmp_path):
    expected = a_whole_training(method)
    with torch.device("meta"):
        got = a_whole_training(method, path=tmp_path / "a.safetensors")
    assert {tensor.device.type for tensor in got} == {"cpu"}
    assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("method", [MAML, META_SGD, LOG], ids=lambda m: m.name)
def test_nothing_of_a_training_by_the_compiled_formula_lands_there(method, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    expected = a_whole_training(method, compiled=True)
    with torch.device("meta"):
        got = a_whole_training(method, path=tmp_path / "a.safetensors", compiled=True)
    assert {tensor.device.type for tensor in got} == {"cpu"}
    assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("kind", PLAYED)
def test_no_episode_is_played_or_learned_from_on_the_default_device(kind, tmp_path):
    family, method, scorer = PLAYED[kind]
    settings = {"family": family, "scorer": scorer, "schedule": (1.0, 0.5)}
    expected = a_whole_training(method, **settings)
    with torch.device("meta"):
        got = a_whole_training(method, path=tmp_path / "a.safetensors", **settings)
    assert {tensor.device.type for tensor in got} == {"cpu"}
    assert_close(got, expected, **EXACT)


def test_a_resume_and_a_float_rate_do_not_land_there_either(tmp_path):
    path = tmp_path / "a.safetensors"
    expected = a_whole_training(MAML, alpha=0.05)
    a_whole_training(MAML, alpha=0.05, path=path)
    with torch.device("meta"):
        again = a_whole_training(MAML, alpha=0.05, path=path)
    assert_close(again[2:-3], expected[2:-3], **EXACT)  # but the loss and the later data


def test_the_inner_loop_and_every_first_alpha_follow_theta():
    family = sines()
    theta, _ = start(family)
    data = family.sample_data(family.sample_tasks(3, generator=gen()), None, 5, generator=gen())
    with torch.device("meta"):
        phi = adapt(family.loss, per_task(theta, (3,)), 0.1, data, steps=2)
        alphas = [init_alpha(theta, shape, first, generator=gen(), each_entry=True)
                  for shape in ("scalar", "tensor", "entry")
                  for first in (0.1, Uniform(0.01, 0.1), LogUniform(0.01, 0.1))]
    assert {p.device.type for params in [phi, *alphas] for p in params.values()} == {"cpu"}


SOURCES = sorted(Path(metasgd_core.__file__).parent.rglob("*.py"))
COMPUTING = [p for p in SOURCES if p.name != "plotting.py" and p.parent.name != "widgets"]


@pytest.mark.parametrize("path", COMPUTING, ids=lambda p: p.name)
def test_no_source_names_a_device_or_goes_through_numpy(path):
    """What the meta device cannot see. (Pictures are drawn from NumPy arrays: plotting may.)"""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{getattr(node, 'lineno', '?')}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("numpy", "from_numpy", "cuda", "set_default_device"), where
        if isinstance(node, ast.Constant):
            assert node.value not in ("cpu", "cuda"), where


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_training_on_a_gpu_stays_there_and_resumes_there(method, tmp_path):
    path = tmp_path / "a.safetensors"
    torch.backends.cuda.matmul.allow_tf32 = False
    got = a_whole_training(method, "cuda", path)
    assert {tensor.device.type for tensor in got} == {"cuda"}
    again = a_whole_training(method, "cuda", path)
    assert_close(again[2:-3], got[2:-3], **EXACT)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_training_compiled_for_a_gpu_stays_there_and_follows_the_formula(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    torch.backends.cuda.matmul.allow_tf32 = False
    got = a_whole_training(META_SGD, "cuda", path, compiled=True)
    assert {tensor.device.type for tensor in got} == {"cuda"}
    again = a_whole_training(META_SGD, "cuda", path, compiled=True)
    assert_close(again[2:-3], got[2:-3], **EXACT)
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    plain = a_whole_training(META_SGD, "cuda", compiled=True)
    assert_close(got[2:-3], plain[2:-3], rtol=1e-9, atol=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("kind", PLAYED)
def test_episodes_on_a_gpu_stay_there_and_a_training_resumes_there(kind, tmp_path):
    family, method, scorer = PLAYED[kind]
    settings = {"device": "cuda", "path": tmp_path / "a.safetensors", "family": family,
                "scorer": scorer, "schedule": (1.0, 0.5)}
    got = a_whole_training(method, **settings)
    assert {tensor.device.type for tensor in got} == {"cuda"}
    again = a_whole_training(method, **settings)
    assert_close(again[2:-3], got[2:-3], **EXACT)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_an_adaptation_on_a_gpu_is_that_of_the_cpu():
    family = sines()
    theta, alpha = start(family)
    data = family.sample_data(family.sample_tasks(3, generator=gen()), None, 5, generator=gen())

    def phi(device):
        moved = [{n: p.to(device) for n, p in group.items()} for group in (theta, alpha)]
        there = type(data)(*(part.to(device) for part in data))
        return adapt(family.loss, per_task(moved[0], (3,)), per_task(moved[1], (3,)), there,
                     steps=3)

    there = {n: p.cpu() for n, p in phi("cuda").items()}
    assert_close(there, phi("cpu"), rtol=1e-10, atol=1e-12)
