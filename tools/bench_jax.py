"""The meta-step in JAX: the reference for what the machine can do. See ``bench_ways.py``.

The whole step is one compiled function, the drawing of its data included, which is more than
PyTorch compiles. ``jit`` is called from Python for every meta-step, as a training that looks at
its own progress would, with theta and alpha as trees of arrays or, packed, as one array; ``scan``
takes a block of meta-steps without coming back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from bench_ways import LR, QUERY_SHOTS, SHOTS, Way, start
from jax.flatten_util import ravel_pytree

from metasgd_core import Data, Params, Sinusoid

adam = optax.adam(LR)
family = Sinusoid()


def loss(phi: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    h = x
    for depth in range(len(phi) // 2):
        h = jax.nn.relu(h) if depth else h
        h = h @ phi[f"layers.{depth}.weight"].T + phi[f"layers.{depth}.bias"]
    return jnp.mean((h - y) ** 2)


def task_loss(theta: Any, alpha: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    grads = jax.grad(loss)(theta, x[:SHOTS], y[:SHOTS])
    phi = jax.tree.map(lambda p, a, g: p - a * g, theta, alpha, grads)
    return loss(phi, x[SHOTS:], y[SHOTS:])


def meta_loss(learned: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jax.vmap(partial(task_loss, *learned))(x, y).mean()


def draw(key: jax.Array, n_tasks: int) -> tuple[jax.Array, jax.Array]:
    a, b, c = jax.random.split(key, 3)
    amplitude = jax.random.uniform(a, (n_tasks, 1, 1), float, *family.amplitude)
    phase = jax.random.uniform(b, (n_tasks, 1, 1), float, *family.phase)
    x = jax.random.uniform(c, (n_tasks, SHOTS + QUERY_SHOTS, 1), float, *family.x)
    return x, amplitude * jnp.sin(x + phase)


def meta_step(state: Any, n_tasks: int, unpack: Callable[[Any], Any]) -> Any:
    learned, moments, key, total = state
    key, now = jax.random.split(key)
    points = draw(now, n_tasks)
    value, grads = jax.value_and_grad(lambda learned: meta_loss(unpack(learned), *points))(learned)
    updates, moments = adam.update(grads, moments)
    return optax.apply_updates(learned, updates), moments, key, total + value


def to_jax(*parts: Params) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.numpy()), parts)


def train(
    n_tasks: int, runs: int, block: int, scan: bool = False, packed: bool = False
) -> Iterator[None]:
    learned, key = to_jax(*start(torch.float32, runs)[:2]), jax.random.key(0)
    unpack = tuple  # as it is
    if packed:
        learned, unpack = ravel_pytree(learned)
    step, begin = partial(meta_step, n_tasks=n_tasks, unpack=unpack), adam.init
    if runs > 1:
        step, begin, key = jax.vmap(step), jax.vmap(begin), jax.random.split(key, runs)
    several = partial(jax.lax.scan, lambda state, _: (step(state), None), length=block)
    fast = jax.jit((lambda state: several(state)[0]) if scan else step, donate_argnums=0)
    state = learned, begin(learned), key, jnp.zeros(key.shape)
    while True:
        for _ in range(1 if scan else block):
            state = fast(state)
        jax.block_until_ready(state)
        yield


def gradient(theta: Params, alpha: Params, points: Data) -> torch.Tensor:
    with jax.enable_x64(points.x.dtype == torch.float64):
        grads = jax.jit(jax.grad(meta_loss))(to_jax(theta, alpha), *to_jax(*points))
        rows = [np.asarray(part[name]).ravel() for part in grads for name in theta]
    return torch.from_numpy(np.concatenate(rows))


WAYS = {
    "JAX jit": Way(train, gradient, block=64, runs=True, compiles=True),
    "JAX jit, packed": Way(partial(train, packed=True), gradient, block=64, compiles=True),
    "JAX scan": Way(partial(train, scan=True), gradient, block=64, runs=True, compiles=True),
}
