"""Architectures: batched prediction equals one network at a time; first parameters are right."""

import math

import numpy as np
import pytest
import torch
from cases import STEP, gen, of_task
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from metasgd_core import MLP, GaussianMLP, adapt, init_theta, per_task, predict
from metasgd_core.models import run_axes

F64 = torch.float64


class SmallConv(nn.Module):
    """8 x 8 pictures in, three numbers out."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(2 * 6 * 6, 3, bias=False)

    def forward(self, x):
        return self.head(self.features(x))


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_batched_mlp_is_one_network_a_task(batch, activation):
    model = MLP((2, 5, 4, 3), activation).double()
    phi = init_theta(model, generator=gen(1), runs=batch)
    x = torch.randn(*batch, 7, 2, generator=gen(2), dtype=F64)
    together = predict(model, phi, x)
    assert together.shape == (*batch, 7, 3)
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    for index in torch.cartesian_prod(*(torch.arange(n) for n in batch)).reshape(-1, len(batch)):
        at = tuple(index.tolist())
        plain = nn.Sequential(nn.Linear(2, 5), act(), nn.Linear(5, 4), act(), nn.Linear(4, 3))
        plain = plain.double()
        for own, value in zip(plain.parameters(), of_task(phi, *at).values()):
            own.data = value
        assert_close(together[at], plain(x[at]), **STEP)


def test_the_modules_own_numbers_play_no_part():
    """Two modules of one architecture predict the same: the values live in phi."""
    one, other = MLP((1, 4, 1)), MLP((1, 4, 1))
    phi = init_theta(one, generator=gen(1))
    x = torch.linspace(-1, 1, 5)[:, None]
    assert torch.equal(predict(one, phi, x), predict(other, phi, x))
    for name, p in one.named_parameters():
        p.data = phi[name]
    assert torch.equal(one(x), predict(other, phi, x))


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_any_module_joins_through_vmap_and_adapts_like_a_loop(batch):
    """`adapt` does not know what it adapts: a small conv net, with the same two lines."""
    model = SmallConv().double()
    theta = init_theta(model, generator=gen(1), runs=batch[:-1])
    x = torch.randn(*batch, 4, 1, 8, 8, generator=gen(2), dtype=F64)
    y = torch.randn(*batch, 4, 3, generator=gen(3), dtype=F64)

    def loss(phi, data):
        return (predict(model, phi, data[0]) - data[1]).square().mean(dim=(-2, -1))

    phi = adapt(loss, per_task(theta, batch), 0.1, (x, y), steps=2)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in batch)).reshape(-1, len(batch)):
        at = tuple(index.tolist())
        mine = {n: p.requires_grad_() for n, p in of_task(theta, *at[:-1]).items()}
        for _ in range(2):
            value = (functional_call(model, mine, (x[at],)) - y[at]).square().mean()
            grads = torch.autograd.grad(value, list(mine.values()))
            mine = {n: (p - 0.1 * g).detach().requires_grad_()
                    for (n, p), g in zip(mine.items(), grads)}
        assert_close(of_task(phi, *at), mine, **STEP)


def test_first_parameters_fill_plus_minus_one_over_root_fan_in():
    """nn.Linear's and nn.Conv2d's own scheme, for weights and biases, in every run anew."""
    for model, fan_in in ((MLP((16, 50)), 16), (nn.Conv2d(3, 20, 2), 12)):
        theta = init_theta(model, generator=gen(1), runs=(40,))
        for p in theta.values():
            bound = 1 / math.sqrt(fan_in)
            assert 0.99 * bound < p.abs().max() <= bound
            assert abs(p.double().mean()) < 4 * bound / math.sqrt(3 * p.numel())
            assert abs(p.double().std() / (bound / math.sqrt(3)) - 1) < 0.05
            assert not torch.equal(p[0], p[1])
    theta = init_theta(nn.Linear(4, 2), generator=gen(1), runs=(2, 3), dtype=F64)
    assert theta["weight"].shape == (2, 3, 2, 4)
    assert theta["weight"].dtype == F64
    assert not theta["weight"].requires_grad


def test_small_first_weights_are_a_truncated_normal_with_zero_biases():
    theta = init_theta(MLP((50, 50, 1)), generator=gen(1), runs=(4,), std=0.01)
    w = theta["layers.0.weight"]
    assert 0.0195 < w.abs().max() <= 0.02
    # A normal cut at two standard deviations keeps 0.8796 of one.
    assert abs(w.double().std() / 0.008796 - 1) < 0.03
    assert (theta["layers.0.bias"] == 0).all()


def test_first_parameters_follow_the_seed_and_nothing_else():
    model = MLP((1, 4, 1))
    first = init_theta(model, generator=gen(3))
    torch.manual_seed(12345)
    assert_close(init_theta(model, generator=gen(3)), first, rtol=0, atol=0)
    assert not torch.equal(init_theta(model, generator=gen(4))["layers.0.weight"],
                           first["layers.0.weight"])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_a_gaussian_policys_mean_is_its_network_and_its_spread_is_a_parameter(batch):
    """The spread plays no part in the mean, starts where the model says, and is each run's own."""
    model, plain = GaussianMLP((2, 5, 3), "tanh", -0.5).double(), MLP((2, 5, 3), "tanh").double()
    theta = init_theta(model, generator=gen(1), runs=batch)
    assert theta["log_std"].shape == (*batch, 3)
    assert (theta["log_std"] == -0.5).all()
    assert theta["log_std"].dtype == F64
    assert run_axes(model, theta) == batch
    network = {n: p for n, p in theta.items() if n != "log_std"}
    assert_close(network, init_theta(plain, generator=gen(1), runs=batch), rtol=0, atol=0)
    x = torch.randn(*batch, 7, 2, generator=gen(2), dtype=F64)
    assert_close(predict(model, theta, x), predict(plain, network, x), **STEP)
    other = theta | {"log_std": theta["log_std"] + 1}
    assert torch.equal(predict(model, other, x), predict(model, theta, x))
    # A copy: neither the module nor another run shares its memory.
    theta["log_std"][(0,) * len(batch)] += 1
    assert (model.log_std == -0.5).all()
    assert (theta["log_std"] == 0.5).sum() == 3
    assert init_theta(model, generator=gen(), dtype=torch.float32)["log_std"].dtype == torch.float32


@pytest.mark.parametrize("model", [MLP((4, 5, 2)), GaussianMLP((4, 5, 2))], ids=["mlp", "gaussian"])
def test_output_scale_is_a_factor_on_the_last_layer_and_on_nothing_else(model):
    """A policy that begins undecided; the other numbers are those that the seed gives anyway."""
    usual = init_theta(model, generator=gen(1), runs=(2,))
    small = init_theta(model, generator=gen(1), runs=(2,), output_scale=0.1)
    for name, p in usual.items():
        factor = 0.1 if name.startswith("layers.1.") else 1.0
        assert torch.equal(small[name], p * factor), name


def test_layers_that_init_theta_does_not_know_are_named():
    with pytest.raises(ValueError, match=r"'1\.weight' belongs to a PReLU: give"):
        init_theta(nn.Sequential(nn.Linear(1, 2), nn.PReLU()), generator=gen())


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((1,), "sizes must be two or more widths"), ((), "sizes must be two or more widths"),
        ((1, 0, 1), "a width of sizes must be a whole number of at least 1, got 0"),
        ((1, 2.5), "got 2.5"), ((1, True, 1), "got True"),
    ],
)
@pytest.mark.parametrize("kind", [MLP, GaussianMLP])
def test_widths_that_make_no_network_are_refused(kind, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(sizes)


@pytest.mark.parametrize("kind", [MLP, GaussianMLP])
def test_numpys_widths_are_as_good_as_pythons(kind):
    plain, counted = kind((1, 4, 2)), kind(np.array([1, 4, 2]))
    assert repr(counted) == repr(plain)
    assert [p.shape for p in counted.parameters()] == [p.shape for p in plain.parameters()]


def test_an_unknown_activation_is_refused():
    init = getattr(MLP.__init__, "__wrapped__", MLP.__init__)  # past the check of the annotation
    with pytest.raises(ValueError, match=r"one of \['relu', 'tanh'\], got 'sigmoid'"):
        init(nn.Module.__new__(MLP), (1, 1), "sigmoid")


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(3, 5, 1), r"x has shape \(3, 5, 1\), but the parameters carry the leading "
                               r"axes \(4,\)"),
        (torch.zeros(5, 1), "x must be"),
        (torch.zeros(4, 5), "x must be"),
        (torch.zeros(4, 2, 5, 1), "x must be"),
        (torch.zeros(4, 5, 1, dtype=F64), "x is torch.float64 but the parameters are torch.float32"
                                          r"; convert one, for example x.to\(torch.float32\)"),
        (torch.zeros(4, 5, 1, device="meta"), "x is on meta but the parameters are on cpu"),
    ],
)
def test_inputs_that_do_not_fit_the_parameters_are_refused(x, sentence):
    model = MLP((1, 3, 1))
    phi = per_task(init_theta(model, generator=gen()), (4,))
    with pytest.raises(ValueError, match=sentence):
        predict(model, phi, x)


def test_run_axes_are_what_theta_carries_in_front_of_the_model():
    model = MLP((1, 3, 1))
    assert run_axes(model, init_theta(model, generator=gen())) == ()
    theta = init_theta(model, generator=gen(), runs=(2, 5))
    assert run_axes(model, theta) == (2, 5)
    with pytest.raises(ValueError, match=r"layers.1.bias'\] has shape \(5, 1\), but the model "
                                         r"needs \(2, 5, 1\)"):
        run_axes(model, theta | {"layers.1.bias": theta["layers.1.bias"][0]})
    with pytest.raises(ValueError, match=r"layers.0.weight'\] has shape \(3, 1\), but the model "
                                         r"needs \(4, 1\), with run axes in front"):
        run_axes(MLP((1, 4, 1)), init_theta(model, generator=gen()))
    with pytest.raises(ValueError, match=r"theta must have the model's names \['layers.0.bias'"):
        run_axes(model, {"w": torch.zeros(1)})


# ---- models beyond the papers' networks


class Scaled(MLP):
    """Its ``forward`` is no longer that which ``run`` was written for."""

    def forward(self, x):
        return 3 * super().forward(x)


class ScaledBoth(Scaled):
    def run(self, phi, x):
        return 3 * super().run(phi, x)


@pytest.mark.parametrize("kind", [Scaled, ScaledBoth])
def test_a_subclass_is_predicted_with_its_own_forward(kind):
    """Its parent's ``run`` would train one network in eager mode and another when compiled."""
    model, plain = kind((1, 4, 1)).double(), MLP((1, 4, 1)).double()
    theta = per_task(init_theta(model, generator=gen()), (3,))
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5, 1)
    assert_close(predict(model, theta, x), 3 * predict(plain, theta, x))


@pytest.mark.parametrize(
    "model",
    [nn.Linear(2, 3), nn.Linear(2, 3, bias=False), nn.Sequential(nn.Linear(2, 3, bias=False))],
    ids=["bare", "bare, no bias", "no bias"],
)
def test_the_last_layer_is_scaled_whatever_it_holds(model):
    theta = init_theta(model, generator=gen(), output_scale=0.1)
    plain = init_theta(model, generator=gen())
    assert_close(theta, {n: 0.1 * p for n, p in plain.items()})


def test_norms_and_recurrent_layers_begin_as_torch_begins_them():
    """A norm at 1 and 0, a GRU within one over the root of its width, each run on its own."""
    model = nn.ModuleDict({"norm": nn.LayerNorm(4), "gru": nn.GRU(3, 16)})
    theta = init_theta(model, generator=gen(), runs=(2,), output_scale=1.0)
    assert (theta["norm.weight"] == 1).all()
    assert (theta["norm.bias"] == 0).all()
    for name, p in theta.items():
        if name.startswith("gru"):
            assert 0.2 < p.abs().max() <= 0.25
            assert not torch.equal(p[0], p[1])


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))

    def first_parameter(self, name, generator):
        return torch.rand(3, generator=generator) + 5

    def forward(self, x):
        return self.scale * x


def test_a_module_brings_its_own_first_parameters():
    theta = init_theta(Own(), generator=gen(), runs=(2,))
    assert theta["scale"].shape == (2, 3)
    assert (theta["scale"] >= 5).all()
    assert not torch.equal(*theta["scale"])
    with pytest.raises(ValueError, match="ReLU has no parameters, so there is nothing to learn"):
        init_theta(nn.ReLU(), generator=gen())


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (nn.BatchNorm1d(4), "1 is a BatchNorm1d that keeps running statistics.*"
                            "track_running_stats=False"),
        (nn.LSTM(4, 4), "1 is a LSTM, which PyTorch cannot carry over tasks; write it with"),
        (nn.Dropout(0.5), "1 is a Dropout, which draws at random in every pass.*model.eval"),
    ],
    ids=["running statistics", "recurrent", "dropout"],
)
def test_layers_that_tasks_cannot_share_are_named(layer, sentence):
    model = nn.Sequential(nn.Linear(1, 4), layer, nn.Linear(4, 1))
    theta = per_task(init_theta(model, generator=gen()), (3,))
    with pytest.raises(ValueError, match=sentence):
        predict(model, theta, torch.zeros(3, 5, 1))


def test_a_batch_norm_without_running_statistics_works():
    """Each task is normalised by its own batch, and no other task's."""
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    model = nn.Sequential(nn.Linear(1, 4), norm, nn.Linear(4, 1)).double()
    theta = per_task(init_theta(model, generator=gen()), (3,))
    x = torch.rand(3, 5, 1, generator=gen(), dtype=torch.float64)
    one = predict(model, {n: p[:1] for n, p in theta.items()}, x[:1])
    assert_close(predict(model, theta, x)[:1], one)
