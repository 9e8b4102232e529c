"""The page's arithmetic is PyTorch's: network.js in Chromium against torch in float64."""

import base64
import math

import pytest
import torch

from metasgd_core import MLP, Data, Sinusoid, adapt, init_theta, per_task, predict
from metasgd_core.rules import DESCENT, curvature
from metasgd_core.widgets.figure import module_text

pytestmark = pytest.mark.browser

PARTS = ("words", "numbers", "network", "curvature")
SOURCE = module_text(tuple(f"shared/{name}.js" for name in PARTS))
CASES = 240
#: Relative to the largest entry of what is compared.
TOLERANCE = 1e-9
RUN = """(cases) => {
    const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const encode = (floats) => {
        const bytes = new Uint8Array(floats.buffer);
        let text = "";
        for (let i = 0; i < bytes.length; i += 8192) {
            text += String.fromCharCode(...bytes.subarray(i, i + 8192));
        }
        return btoa(text);
    };
    // As a widget's model holds them: a view that does not begin at a multiple of four.
    const floats = (text) => {
        const bytes = decode(text), buffer = new ArrayBuffer(bytes.length + 3);
        new Uint8Array(buffer).set(bytes, 1);
        return numbersFromBytes(new DataView(buffer, 1, bytes.length));
    };
    return cases.map((c) => {
        const net = makeNetwork(c.sizes, c.activation);
        const [theta, xs, ys, query, pull] =
            [c.theta, c.xs, c.ys, c.query, c.pull].map(floats);
        const alpha = typeof c.alpha === "number" ? c.alpha
            : c.matrices ? curvature(net, floats(c.alpha)) : floats(c.alpha);
        const phis = adaptSteps(net, theta, alpha, xs, ys, c.steps);
        const { loss, gradient } = squaredErrorGradient(net, theta, xs, ys);
        return {
            loss: encode(Float64Array.of(loss)), gradient: encode(gradient),
            pulled: encode(backward(net, theta, xs, pull)),
            before: encode(forward(net, theta, query)),
            after: encode(forward(net, phis.at(-1), query)),
            ...Object.fromEntries(phis.map((phi, i) => [`phi ${i}`, encode(phi)])),
        };
    });
}"""


def in_bytes(tensor):
    return base64.b64encode(tensor.float().contiguous().numpy().tobytes()).decode()


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def uniform(low, high, generator, *shape):
    return low + (high - low) * torch.rand(*shape, generator=generator)


def draw_case(seed):
    """Return what the page gets: float32 numbers, and the settings."""
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    activation = pick("relu", "tanh")
    inner = [pick(1, 2, 5, 8, 20, 40) for _ in range(pick(0, 1, 2, 3))]
    sizes = pick([1, 40, 40, 1], [pick(1, 1, 2, 4), *inner, pick(1, 1, 2)])
    shots = pick(1, 2, 5, 10, 20)
    theta = init_theta(MLP(sizes, activation), generator=generator)
    alpha, rule = pick(0.01, -0.003, 0.1, "entries", "entries", "matrices"), DESCENT
    if alpha == "entries":  # signed, and over three orders of magnitude
        alpha = {
            n: torch.randn(p.shape, generator=generator) * 10 ** pick(-3, -2, -1)
            for n, p in theta.items()
        }
    elif alpha == "matrices":
        rule = curvature(pick(0.001, 0.01))
        alpha = {
            n: a + 0.01 * torch.randn(a.shape, generator=generator)
            for n, a in rule.first(theta, generator).items()
        }
    amplitude, phase, frequency = (
        uniform(*limits, generator, 1) for limits in ((0.1, 5), (0, math.pi), (0.5, 2))
    )
    x = uniform(-5, 5, generator, shots, sizes[0])
    y = (amplitude * torch.sin(frequency * x[:, :1] + phase)).expand(-1, sizes[-1])
    return {
        "sizes": sizes, "activation": activation, "steps": pick(0, 1, 2, 3, 5, 10),
        "theta": theta, "alpha": alpha, "rule": rule, "x": x, "y": y,
        "query": uniform(-6, 6, generator, 30, sizes[0]),
        "pull": torch.randn(shots, sizes[-1], generator=generator),
    }


def nearest_kink(model, phi, x):
    """Return the least absolute value that meets a ReLU."""
    widths = [model.layers[0].in_features, *(layer.out_features for layer in model.layers)]
    nearest = math.inf
    for depth in range(1, len(model.layers)):  # what comes out of the first layers, unactivated
        front = MLP(widths[: depth + 1], "relu").double()
        own = {name: phi[name] for name, _ in front.named_parameters()}
        nearest = min(nearest, float(predict(front, own, x).abs().min()))
    return nearest


def by_torch(case):
    """Return the same numbers from the package in float64, and how near any ReLU is to its kink."""
    model = MLP(case["sizes"], case["activation"]).double()
    family = Sinusoid(model=model)
    theta = per_task({n: p.double() for n, p in case["theta"].items()}, (1,))
    alpha = case["alpha"]
    if isinstance(alpha, dict):
        alpha = per_task({n: a.double() for n, a in alpha.items()}, (1,))
    x, y, query, pull = (case[name].double()[None] for name in ("x", "y", "query", "pull"))
    phi = {n: p.clone().requires_grad_() for n, p in theta.items()}
    loss = family.loss(phi, Data(x, y))
    pulled = (predict(model, phi, x) * pull).sum()
    found = {
        "loss": loss, "before": predict(model, phi, query),
        "gradient": flat(torch.autograd.grad(loss.sum(), list(phi.values()))),
        "pulled": flat(torch.autograd.grad(pulled, list(phi.values()))),
    }
    nearest = math.inf
    for step in range(case["steps"] + 1):
        if step:
            phi = adapt(family.loss, phi, alpha, Data(x, y), first_order=True, rule=case["rule"])
        phi = {n: p.detach() for n, p in phi.items()}
        found[f"phi {step}"] = flat(phi.values())
        if case["activation"] == "relu":
            nearest = min(nearest, nearest_kink(model, phi, torch.cat([x, query], 1)))
    found["after"] = predict(model, phi, query)
    return {name: value.detach().flatten() for name, value in found.items()}, nearest


def draw_cases(count):
    """Return `count` cases and their references: finite, and away from every kink."""
    cases, seed = [], 0
    while len(cases) < count:
        case = draw_case(seed)
        reference, nearest = by_torch(case)
        if nearest > 1e-6 and all(value.isfinite().all() for value in reference.values()):
            cases.append((case, reference))
        seed += 1
    assert seed < 2 * count, "most cases were left out"
    return cases


def by_page(chromium, cases, source):
    """Run the same cases in the page."""
    sent = [
        {"sizes": case["sizes"], "activation": case["activation"], "steps": case["steps"],
         "theta": in_bytes(flat(case["theta"].values())),
         "alpha": in_bytes(flat(case["alpha"].values()))
         if isinstance(case["alpha"], dict) else case["alpha"],
         "matrices": case["rule"] != DESCENT, "xs": in_bytes(case["x"]), "ys": in_bytes(case["y"]),
         "query": in_bytes(case["query"]), "pull": in_bytes(case["pull"])}
        for case, _ in cases
    ]
    page = chromium.new_page()
    page.add_script_tag(content=source)
    found = page.evaluate(RUN, sent)
    page.close()
    return [
        {name: torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float64)
         for name, text in numbers.items()}
        for numbers in found
    ]


def furthest(cases, found):
    """Return the greatest difference of any case, relative to max(1, the largest entry)."""
    worst = 0.0
    for (_, reference), numbers in zip(cases, found, strict=True):
        assert numbers.keys() == reference.keys()
        for name, value in reference.items():
            assert numbers[name].shape == value.shape, name
            scale = max(1.0, float(value.abs().max()))
            worst = max(worst, float((numbers[name] - value).abs().max()) / scale)
    return worst


@pytest.fixture(scope="module")
def cases():
    return draw_cases(CASES)


def test_the_cases_are_various(cases):
    """Both activations, negative and single rates, many steps, several inputs and outputs."""
    drawn = [case for case, _ in cases]
    assert {case["activation"] for case in drawn} == {"relu", "tanh"}
    assert {case["steps"] for case in drawn} == {0, 1, 2, 3, 5, 10}
    assert {len(case["x"]) for case in drawn} == {1, 2, 5, 10, 20}
    assert {len(case["sizes"]) for case in drawn} == {2, 3, 4, 5}
    assert {case["sizes"][0] for case in drawn} == {1, 2, 4}
    assert {case["sizes"][-1] for case in drawn} == {1, 2}
    bent = [case for case in drawn if case["rule"] != DESCENT]
    entries = [case["alpha"] for case in drawn
               if isinstance(case["alpha"], dict) and case["rule"] == DESCENT]
    signed = [a for a in entries if (flat(a.values()) < 0).any()]
    assert 50 < len(signed) <= len(entries) < len(drawn) - len(bent) - 50
    assert len(bent) > 20


def test_network_is_torchs(browser, cases):
    """Loss, both gradients, predictions, and the weights after every step, in every case."""
    found = by_page(browser, cases, SOURCE)
    assert furthest(cases, found) <= TOLERANCE


@pytest.mark.parametrize(("right", "wrong"), [
    ("1 - from[i] * from[i]", "1 - from[i]"),
    ("from[i] <= 0) below[i] = 0", "from[i] <= 0) below[i] *= 0.999999"),
    ("gradient[layer.bias + o] += g", "gradient[layer.bias + o] += 1.00000001 * g"),
    (": alpha[i]) * g", ": Math.abs(alpha[i])) * g"),
    ("left = next(layer.out), right = next(wide)", "right = next(wide), left = next(layer.out)"),
])
def test_a_wrong_network_is_noticed(browser, cases, right, wrong):
    assert SOURCE.count(right) == 1
    found = by_page(browser, cases, SOURCE.replace(right, wrong))
    assert furthest(cases, found) > 3 * TOLERANCE


def test_wrong_sizes_are_refused(browser):
    """A network meets only numbers of its own, and says what it got."""
    page = browser.new_page()
    page.add_script_tag(content=SOURCE)
    said = page.evaluate("""() => {
        const net = makeNetwork([2, 3, 1]), theta = new Float64Array(net.count);
        const tries = [
            () => makeNetwork([1]), () => makeNetwork([1, 1], "sine"),
            () => forward(net, theta.slice(1), [0, 0]), () => forward(net, theta, [0, 0, 0]),
            () => backward(net, theta, [0, 0], [1, 1]),
            () => squaredErrorGradient(net, theta, [0, 0], [1, 1]),
            () => adaptSteps(net, theta, new Float64Array(3), [0, 0], [1], 1),
            () => numbersFromBytes(new ArrayBuffer(6)),
        ];
        return tries.map((attempt) => {
            try { attempt(); return "no error"; } catch (error) { return error.message; }
        });
    }""")
    page.close()
    for message, word in zip(said, (
        "two or more", "relu or tanh", "has 13 numbers, got 12", "2 inputs", "got 2",
        "as many targets", "got 3", "6 bytes",
    ), strict=True):
        assert word in message
