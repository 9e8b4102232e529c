"""Models that read: each is what its equations say, and linear attention is a gradient step."""

from dataclasses import replace

import pytest
import torch
from cases import STEP, gen, gradients, signed_alpha, wanted
from conforming import READERS, READS
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from metasgd_core import (
    META_SGD,
    MLP,
    Data,
    Sinusoid,
    adapt,
    init_alpha,
    init_theta,
    meta_loss,
    per_task,
    predict,
)
from metasgd_core.models import GRU, LinearAttention, MemoryNetwork, Transformer, step_as_attention
from metasgd_core.models.attention import attend
from metasgd_core.models.sequence import addressed
from metasgd_core.readers import read
from metasgd_core.rules import curvature

TASKS, SHOTS = 3, 6
each_reader = pytest.mark.parametrize("model", READERS.values(), ids=READERS.keys())


def begun(model, runs=()):
    """Return a theta in which even what is read has numbers, so that nothing hides behind zeros."""
    theta = init_theta(model, generator=gen(1), runs=runs)
    return {n: p + 0.1 * torch.rand(p.shape, generator=gen(2), dtype=p.dtype)
            for n, p in theta.items()}


def points(shots=SHOTS, tasks=TASKS, outputs=1, dtype=torch.float64):
    x, y = torch.randn(2, tasks, shots, 1, generator=gen(3), dtype=dtype).unbind()
    return Data(x, torch.cat([y + k for k in range(outputs)], -1))


def part(data, start, stop):
    return Data(*(leaf[..., start:stop, :] for leaf in data))


# ---- what all readers share


@each_reader
def test_a_task_is_read_and_predicted_as_if_it_were_alone(model):
    """No task sees another's points, through weights that are shared or each task's own."""
    theta, data, x = begun(model), points(), points(4).x
    together = per_task(theta, (TASKS,))
    own = {n: p.clone() for n, p in together.items()}
    phi = together | model.read(together, data)
    predictions = predict(model, phi, x)
    assert predictions.shape == (TASKS, 4, 1)
    assert_close(predict(model, own | model.read(own, data), x), predictions, **STEP)
    for k in range(TASKS):
        one = per_task(theta, (1,))
        alone = one | model.read(one, Data(*(leaf[k : k + 1] for leaf in data)))
        assert_close(predict(model, alone, x[k : k + 1])[0], predictions[k], **STEP)
        of_task = {n: p[k] for n, p in phi.items()}
        assert_close(predict(model, of_task, x[k]), predictions[k], **STEP)


@each_reader
def test_what_is_read_decides_the_prediction(model):
    theta, data = per_task(begun(model), (TASKS,)), points()
    before = predict(model, theta, data.x)
    after = predict(model, theta | model.read(theta, data), data.x)
    other = predict(model, theta | model.read(theta, Data(data.x, -data.y)), data.x)
    assert (after - before).abs().max() > 1e-3
    assert (after - other).abs().max() > 1e-3


@each_reader
def test_the_meta_gradient_over_shared_weights_is_that_over_copies(model):
    """A training holds the weights once for all tasks; the loss and its gradient stay the same."""
    family = Sinusoid(model)
    theta = wanted(begun(model, (2,)))
    tasks = family.sample_tasks(2, TASKS, generator=gen(4))
    loss = meta_loss(family, theta, 0.0, tasks, READS, shots=4, query_shots=5, generator=gen(5))
    data = family.sample_data(tasks, None, 9, generator=gen(5))
    copies = {n: p.clone() for n, p in per_task(theta, (2, TASKS)).items()}
    phi = read(family.loss, copies, 0.0, part(data, 0, 4), model=model)
    by_copies = family.loss(phi, part(data, 4, 9)).mean(-1)
    assert_close(loss, by_copies, **STEP)
    used = {n: p for n, p in theta.items()
            if torch.autograd.grad(loss.sum(), p, retain_graph=True, allow_unused=True)[0]
            is not None}
    assert used.keys() >= {n for n in theta if n.endswith(".weight")}
    assert_close(gradients(loss.sum(), used), gradients(by_copies.sum(), used), rtol=1e-9,
                 atol=1e-12)


SEVERAL = {
    # One pass: after every number of points.
    **{name: (READERS[name], READS, range(1, 6)) for name in ("neural process", "GRU",
                                                             "memory network")},
    # One pass for each of 1, 2 and 5 points; the last stands for 3 and 4, too.
    "attention": (READERS["attention"], READS, (1, 2, 5, 5, 5)),
    "Meta-SGD": (MLP((1, 4, 1)).double(), META_SGD, (1, 2, 5, 5, 5)),
}


@pytest.mark.parametrize(("model", "method", "numbers"), SEVERAL.values(), ids=SEVERAL)
def test_several_shots_are_a_mean_over_every_number_of_them(model, method, numbers):
    """Five support points, and two query points for each number of them."""
    family = Sinusoid(model)
    theta = begun(model, (2,))
    alpha = 0.0 if method.reads else init_alpha(theta, "entry", 0.05, runs=(2,))
    tasks = family.sample_tasks(2, TASKS, generator=gen(4))
    data = family.sample_data(tasks, None, 5 + 11, generator=gen(5))
    several = meta_loss(family, theta, alpha, tasks, replace(method, objective="shots"), shots=5,
                        query_shots=11, generator=gen(), data=data)
    alone = []
    for k, n in enumerate(numbers):
        points = [torch.cat([leaf[..., :n, :], leaf[..., 5 + 2 * k : 7 + 2 * k, :]], -2)
                  for leaf in data]
        alone.append(meta_loss(family, theta, alpha, tasks, method, shots=n, query_shots=2,
                               generator=gen(), data=Data(*points)))
    assert_close(several, torch.stack(alone).mean(0), **STEP)


def test_too_few_query_points_for_every_number_of_shots_are_said():
    family = Sinusoid(READERS["GRU"])
    tasks = family.sample_tasks(TASKS, generator=gen())
    with pytest.raises(ValueError, match=r"query_shots must be at least shots \(5\), got 4"):
        meta_loss(family, begun(family.model), 0.0, tasks, replace(READS, objective="shots"),
                  shots=5, query_shots=4, generator=gen())


# ---- recurrent


def test_the_cell_is_pytorchs():
    model = GRU(hidden=5, width=4).double()
    theta, data = begun(model), points()
    cell = torch.nn.GRUCell(2, 5, dtype=torch.float64)
    numbers = {"weight_ih": theta["point.weight"], "bias_ih": theta["point.bias"],
               "weight_hh": theta["past.weight"], "bias_hh": theta["past.bias"]}
    h = theta["state"].expand(TASKS, -1)
    for k in range(SHOTS):
        pair = torch.cat([data.x[:, k], data.y[:, k]], -1)
        h = torch.func.functional_call(cell, numbers, (pair, h))
    assert_close(model.read(per_task(theta, (TASKS,)), data)["state"], h, **STEP)


@pytest.mark.parametrize("name", ["GRU", "memory network"])
def test_a_recurrent_model_goes_on_where_it_was(name):
    """Its phi is all that it knows: from there the rest is read as in one go."""
    model = READERS[name]
    theta, data = per_task(begun(model), (TASKS,)), points(9)
    early = theta | model.read(theta, part(data, 0, 4))
    assert_close(model.read(early, part(data, 4, 9)), model.read(theta, data), **STEP)


def keeping():
    """Return a memory network whose gate writes to the least used slot alone, and its theta."""
    model = MemoryNetwork(hidden=4, width=4, slots=3, row=5).double()
    theta = init_theta(model, generator=gen(1))
    theta["write.weight"][-1], theta["write.bias"][-1] = 0.0, -60.0
    return model, per_task(theta, (TASKS,))


def test_an_external_memory_keeps_each_point_in_a_slot_of_its_own():
    """Three points, three slots: each holds the key made of its point, and only that."""
    model, theta = keeping()
    data = points(3)
    memory = model.read(theta, data)["memory"]
    for k in range(3):
        state = model.read(theta, part(data, 0, k + 1))["state"]
        key = torch.einsum("toi,ti->to", theta["write.weight"], state) + theta["write.bias"]
        assert_close(memory[:, k], torch.tanh(key[:, :5]), **STEP)


def test_the_fourth_point_takes_the_place_of_the_one_least_used():
    model, theta = keeping()
    data = points(4)
    before = theta | model.read(theta, part(data, 0, 3))
    after = model.read(theta, data)
    for k in range(TASKS):
        least = int(before["used"][k].argmin())
        kept = [slot for slot in range(3) if slot != least]
        assert_close(after["memory"][k, kept], before["memory"][k, kept], **STEP)
        assert (after["memory"][k, least] - before["memory"][k, least]).abs().max() > 1e-3


def test_a_sharp_key_finds_the_row_that_points_its_way():
    """By the angle: a row twice as long is no nearer."""
    memory = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.1]]])
    address = addressed(torch.tensor([[[0.0, 0.5, 50.0], [0.3, 0.0, 50.0]]]), memory)
    assert_close(address.argmax(-1), torch.tensor([[1, 0]]))
    assert_close(address.sum(-1), torch.ones(1, 2))
    assert address.amax(-1).min() > 0.99


# ---- attention


def test_attention_is_pytorchs():
    q, k, v = torch.randn(3, 2, 5, 8, generator=gen(), dtype=torch.float64).unbind()
    unseen = torch.ones(5, 5, dtype=torch.bool).triu(1)
    heads = [t.unflatten(-1, (2, 4)).transpose(-2, -3) for t in (q, k, v)]
    for mask, allowed in ((None, None), (unseen, ~unseen)):
        theirs = scaled_dot_product_attention(*heads, attn_mask=allowed)
        assert_close(attend(q, k, v, 2, mask), theirs.transpose(-2, -3).flatten(-2), **STEP)


def test_attention_over_the_set_does_not_care_for_the_order_and_the_causal_one_does():
    data, x = points(), points(4).x
    turned = Data(*(leaf.flip(-2) for leaf in data))
    for causal in (False, True):
        model = Transformer(causal, width=4, heads=2, hidden=5).double()
        theta = per_task(begun(model), (TASKS,))
        one, other = (predict(model, theta | model.read(theta, d), x) for d in (data, turned))
        if causal:
            assert (one - other).abs().max() > 1e-3
        else:
            assert_close(one, other, **STEP)


def test_what_a_causal_transformer_read_of_a_point_stays():
    """So the memory of fewer points is the beginning of the memory of more."""
    model = READERS["causal transformer"]
    theta, data = per_task(begun(model), (TASKS,)), points()
    whole = model.read(theta, data)["memory"]
    assert whole.shape[1] == SHOTS
    assert_close(model.read(theta, part(data, 0, 4))["memory"], whole[:, :4], **STEP)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 6 and 4"):
        Transformer(True, width=6, heads=4)


# ---- linear attention is a gradient step

SIZES = {"linear model": (1, 1), "network": (1, 7, 5, 1)}
TO = {torch.float32: {"rtol": 0, "atol": 1e-6}, torch.float64: {"rtol": 0, "atol": 1e-12}}
last = "layers.{}".format


def rates(kind, theta, depth):
    """Return rates for the last layer alone as adapt and as the attention take them."""
    weight, bias = f"{last(depth)}.weight", f"{last(depth)}.bias"
    if kind == "one rate":
        alpha = {n: torch.full_like(p, 0.05 if n in (weight, bias) else 0.0)
                 for n, p in theta.items()}
        return alpha, 0.05
    signed = signed_alpha(theta)
    alpha = {n: a if n in (weight, bias) else 0 * a for n, a in signed.items()}
    return alpha, alpha


@pytest.mark.parametrize("dtype", TO, ids=str)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("kind", ["one rate", "a rate an entry"])
def test_one_linear_attention_layer_is_one_gradient_step(sizes, kind, dtype):
    """The weights written down by hand predict what the network predicts after adapt's step."""
    family, data = Sinusoid(MLP(sizes).to(dtype)), points(dtype=dtype)
    theta = init_theta(family.model, generator=gen(1))
    alpha, same = rates(kind, theta, len(sizes) - 2)
    phi = adapt(family.loss, per_task(theta, (TASKS,)), per_task(alpha, (TASKS,)), data)
    stepped = predict(family.model, phi, points(9).x.to(dtype))
    assert (stepped - predict(family.model, per_task(theta, (TASKS,)), points(9).x.to(dtype))
            ).abs().max() > 1e-2
    assert_close(attended(sizes, theta, same, data), stepped.detach(), **TO[dtype])


def attended(sizes, theta, alpha, data):
    """Return the attention's predictions, with the weights that are written down."""
    dtype = data.x.dtype
    model = LinearAttention(sizes).to(dtype)
    by_hand = step_as_attention(theta, alpha)
    assert {n: p.shape for n, p in by_hand.items()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    by_hand = per_task(by_hand, (TASKS,))
    phi = read(Sinusoid(model).loss, by_hand, 0.0, data, model=model)
    return predict(model, phi, points(9).x.to(dtype))


@pytest.mark.parametrize("dtype", TO, ids=str)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_with_a_matrix_it_is_a_preconditioned_step(sizes, dtype):
    """Meta-Curvature's step of the last layer, its matrix on the side of the inputs."""
    family, data = Sinusoid(MLP(sizes).to(dtype)), points(dtype=dtype)
    theta, layer = init_theta(family.model, generator=gen(1)), last(len(sizes) - 2)
    size = sizes[-2] + 1
    matrix = 0.1 * torch.randn(size, size, generator=gen(7), dtype=dtype)
    alpha = {n: 0 * a for n, a in curvature().first(theta, gen()).items()}
    alpha |= {f"{layer}.in": matrix, f"{layer}.out": torch.ones(1, 1, dtype=dtype)}
    phi = adapt(family.loss, per_task(theta, (TASKS,)), per_task(alpha, (TASKS,)), data,
                rule=curvature())
    stepped = predict(family.model, phi, points(9).x.to(dtype))
    assert_close(attended(sizes, theta, matrix, data), stepped.detach(), **TO[dtype])


def test_with_two_outputs_there_is_one_matrix_for_both():
    sizes, data = (1, 6, 2), points(outputs=2)
    family = Sinusoid(MLP(sizes).double())
    theta = init_theta(family.model, generator=gen(1))
    alpha, rate = rates("one rate", theta, 1)
    phi = adapt(family.loss, per_task(theta, (TASKS,)), per_task(alpha, (TASKS,)), data)
    stepped = predict(family.model, phi, points(9).x)
    assert_close(attended(sizes, theta, rate, data), stepped.detach(), **TO[torch.float64])
    with pytest.raises(ValueError, match="an attention of their own for each of the 2 outputs"):
        step_as_attention(theta, alpha)


def test_runs_get_their_own_attention():
    theta = init_theta(MLP((1, 3, 1)).double(), generator=gen(), runs=(2,))
    both = step_as_attention(theta, init_alpha(theta, "entry", 0.1, runs=(2,)))
    for run in range(2):
        one = {n: p[run] for n, p in theta.items()}
        assert_close({n: p[run] for n, p in both.items()}, step_as_attention(one, 0.1), **STEP)
