"""`make bench`: all that is timed computes the same; the page shows what is stored, and no more."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cases import STEP, gen, gradients, sines, start, wanted
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from metasgd_core import META_SGD, MLP, Data, Sinusoid, init_alpha, meta_loss, meta_train

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # the tools are scripts, and tested as modules

import bench  # noqa: E402
import bench_conv  # noqa: E402
import bench_report  # noqa: E402
import bench_ways  # noqa: E402
from bench_report import COMPILED, EAGER, ms, pays_after, ratio  # noqa: E402

PAGE = (ROOT / "book" / "speed.md").read_text(encoding="utf-8")
STORED = bench.stored()
STORED_CONV = bench_conv.stored()
GROUPS = ["4 tasks", "25 tasks", "100 tasks", "1000 tasks"]


@pytest.fixture(params=STORED, ids=lambda name: name.split("(")[0])
def report(request):
    """What is stored of each processor: the page claims only what holds on all."""
    return STORED[request.param]


@pytest.fixture
def times(report):
    return lambda group, over, under: ratio(report, group, over, under)[0]


def programs():
    """Return the page's Python, block by block."""
    return re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def torch_ways():
    """Return those that neither compile nor are JAX's."""
    return {name: way for name, way in bench_ways.ways().items() if not way.compiles}


def test_the_ways_at_hand_give_the_same_meta_gradient():
    ways = torch_ways()
    assert {EAGER, "plain loop", "lean loop", "torch.func"} <= {*ways}
    apart = bench.check_agreement(ways)
    assert apart.keys() == ways.keys()
    assert max(apart.values()) < 1e-13


def test_the_reference_is_the_gradient_of_the_meta_loss():
    theta, alpha, generator = bench_ways.start(torch.float64)
    theta, alpha = wanted(theta), wanted(alpha)
    family = Sinusoid(MLP().double())
    tasks = family.sample_tasks(3, generator=generator)
    points = family.sample_data(tasks, None, 20, generator=generator)
    loss = meta_loss(family, theta, alpha, tasks, META_SGD, shots=10, query_shots=10,
                     generator=generator, data=points)
    found = bench_ways.ours(compiled=False).gradient(theta, alpha, points)
    assert_close(found, bench_ways.flat(*gradients(loss, theta, alpha)), **STEP)


@pytest.mark.slow
def test_compiled_gives_it_too():
    ways = bench_ways.ways()
    apart = bench.check_agreement({name: ways[name] for name in (EAGER, COMPILED)})
    assert max(apart.values()) < 1e-13


def test_a_way_that_computes_something_else_is_not_timed():
    def first_order(net, alpha, points):
        """FOMAML under another name: the inner gradient without its graph."""
        theta = dict(net.named_parameters())
        losses = []
        for x, y in zip(*points, strict=True):
            loss = (torch.func.functional_call(net, theta, (x[:10],)) - y[:10]).square().mean()
            grads = torch.autograd.grad(loss, list(theta.values()))
            phi = {n: p - alpha[n] * g for (n, p), g in zip(theta.items(), grads, strict=True)}
            loss = torch.func.functional_call(net, phi, (x[10:],)) - y[10:]
            losses.append(loss.square().mean())
        return torch.stack(losses).mean()

    ways = torch_ways() | {"a bargain": bench_ways.by_backward(first_order)}
    with pytest.raises(SystemExit, match=r"^Not the meta-gradient of ours, eager.*: a bargain \("):
        bench.measure(ways, [2], [1], 1)

    def broken(theta, alpha, points):
        return torch.full((2 * bench_ways.flat(theta).numel(),), torch.nan)

    with pytest.raises(SystemExit, match=r"broken \(nan\)"):
        bench.check_agreement(torch_ways() | {"broken": bench_ways.Way(None, broken)})


def test_the_loops_train_as_meta_train_does():
    """Data, meta-gradient and Adam: after as many steps from the same seed, the same theta."""
    theta, alpha, generator = bench_ways.start(torch.float32)
    *_, end = meta_train(
        Sinusoid(), theta, alpha, META_SGD, iterations=5, meta_batch=3, shots=10, query_shots=10,
        generator=generator, lr=bench_ways.LR,
    )
    seen = []

    def watched(net, alpha, points):
        seen[:] = net.parameters()
        return bench_ways.plain_loop(net, alpha, points)

    next(bench_ways.by_backward(watched).train(3, 1, 5))
    assert_close([p.detach() for p in seen], list(end.theta.values()), rtol=1e-4, atol=1e-5)
    assert (seen[2] - theta["layers.1.weight"]).abs().max() > 1e-3


def test_parts_are_those_of_a_step():
    """As many numbers drawn, and as many stepped, singly as in chunks or packed."""
    for name, part in bench_ways.PARTS.items():
        steps = part.train(4, 1, part.block)
        assert [next(steps), next(steps)] == [None, None], name
    drawn = []

    class Watched(Sinusoid):
        def sample_data(self, *args, **settings):
            drawn.append(super().sample_data(*args, **settings))
            return drawn[-1]

    for chunks in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench_ways, "Sinusoid", Watched)
            next(bench_ways.data_alone(chunks).train(4, 1, 64))
    singly, (chunk,) = drawn[:-1], drawn[-1:]
    assert len(singly) == 64
    assert {data.x.shape for data in singly} == {(4, 20, 1)}
    assert chunk.x.shape == (64, 4, 20, 1)


def test_a_short_bench_writes_every_field(tmp_path):
    """As a user runs it; what is left out is left out of the tables too."""
    command = [sys.executable, "tools/bench.py", "--rounds", "1", "--tasks", "2", "--runs", "1",
               "2", "--ways", EAGER, "plain loop", "--out", str(tmp_path / "speed.json")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert all(report.keys() == other.keys() for other in STORED.values())
    assert report["groups"].keys() == {"2 tasks", "runs", "parts"}
    assert report["groups"]["2 tasks"].keys() == {EAGER, "plain loop"}
    assert report["groups"]["runs"].keys() == {f"{EAGER}, 1 runs", f"{EAGER}, 2 runs"}
    for rows in report["groups"].values():
        for row in rows.values():
            assert row["compiling"] is None
            assert len(row["seconds"]) == 1
            assert 0 < row["seconds"][0] < 1
    for block in filter(None, bench_report.tables(report).values()):
        assert block in result.stdout
    assert not bench_report.tables(report)["compiling"]
    for absent in bench_ways.missing():
        assert absent in result.stdout
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    bench_report.write_page({report["processor"]: report}, page)
    assert bench_report.tables(report)["steps"] in page.read_text(encoding="utf-8")
    assert bench_report.blocks(STORED)["steps"] not in page.read_text(encoding="utf-8")
    bench_report.write_page(STORED, page)
    assert page.read_text(encoding="utf-8") == PAGE


def test_absent_peers_are_named_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(bench_ways, "find_spec", lambda name: None)
    assert bench_ways.missing() == ["higher", "torchopt", "jax", "optax"]
    assert not {*bench_ways.ways()} & {*bench_ways.PEERS}
    monkeypatch.setattr(bench, "pin", lambda: None)
    with pytest.raises(SystemExit):
        bench.main(["--ways", "JAX jit"])
    said = capsys.readouterr()
    assert "not timed: higher, torchopt, jax, optax. `make bench` installs" in said.out
    assert "no way 'JAX jit' here; there are: 'ours, eager', " in said.err


@pytest.fixture
def clock():
    """A clock that goes on only where it is told to."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    return clock


def test_turns_are_taken_by_all_in_every_round(clock, monkeypatch):
    monkeypatch.setattr(bench, "time", clock)
    order = []

    def way(name, seconds, compiling=0.0):
        def train(tasks, runs, block):
            clock.now += compiling
            while True:
                order.append(name)
                clock.now += seconds * block
                assert (tasks, runs, block) == (4, 3, 2)
                yield

        return bench_ways.Way(train, None, block=2, compiles=bool(compiling))

    trainings = {"a": (way("a", 0.03, compiling=5.0), 4, 3), "b": (way("b", 0.5), 4, 3)}
    rows = bench.take_turns(trainings, rounds=2)
    turn = "a" * 5  # blocks of 0.06 s, in 0.3 s
    assert "".join(order) == "aabb" + f"{turn}b{turn}b"
    assert rows["a"]["compiling"] == pytest.approx(5)
    assert rows["b"]["compiling"] is None
    assert rows["a"]["seconds"] == pytest.approx([0.03, 0.03])
    assert rows["b"]["seconds"] == pytest.approx([0.5, 0.5])


def test_the_interval_holds_the_median_19_times_in_20():
    draws = torch.rand(20_000, 12, generator=gen()).exp().tolist()
    true = torch.tensor(0.5).exp()
    held = sum(low <= true <= high for _, low, high in map(bench_report.interval, draws)) / 20_000
    assert 0.955 < held < 0.97  # of the binomial: 0.961
    assert bench_report.interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert bench_report.interval([float(i) for i in range(12)]) == (5.5, 2.0, 9.0)


def test_ratios_are_of_the_same_round():
    report = {"groups": {"g": {"a": {"seconds": [1.0, 20.0, 3.0]}, "b": {"seconds": [0.5, 10, 1]}}}}
    assert ratio(report, "g", "a", "b") == (2.0, 2.0, 3.0)
    assert ms(report, "g", "b") == 1000.0


def test_the_page_shows_what_is_stored():
    """Every table in its place, once, and no block that is not made from the figures."""
    blocks = bench_report.blocks(STORED) | bench_conv.blocks(STORED_CONV)
    for name, block in blocks.items():
        assert block
        begin, end = bench_report.BEGIN.format(name), bench_report.END
        assert PAGE.count(f"{begin}\n\n{block}\n\n{end}") == 1, name
    assert PAGE.count("<!--") == 2 * len(blocks)


def test_a_processor_measured_again_replaces_its_own_figures(tmp_path, monkeypatch, report):
    """And no other's: `--write` on a second machine adds to the page."""
    page, result = tmp_path / "page.md", tmp_path / "speed.json"
    page.write_text(PAGE, encoding="utf-8")
    result.write_text(json.dumps(STORED), encoding="utf-8")
    monkeypatch.setattr(bench, "RESULT", result)
    monkeypatch.setattr(bench, "write_page", lambda kept: bench_report.write_page(kept, page))
    again = report | {"rounds": 99}
    bench.store(again)
    bench.store(report | {"processor": "another"})
    assert bench.stored() == STORED | {
        report["processor"]: again, "another": report | {"processor": "another"}
    }
    for kept in bench.stored().values():
        assert bench_report.tables(kept)["steps"] in page.read_text(encoding="utf-8")


def test_what_is_stored_is_a_whole_bench(report):
    assert [f"{n} tasks" for n in report["tasks"]] == GROUPS
    assert report["runs"] == [1, 5, 20]
    ways = [EAGER, COMPILED, "plain loop", "lean loop", "torch.func", *bench_ways.PEERS]
    assert max(report["apart"].values()) <= bench.SAME
    for group in GROUPS:
        assert list(report["groups"][group]) == ways
    for rows in report["groups"].values():
        assert {len(row["seconds"]) for row in rows.values()} == {report["rounds"]}


def test_speed_against_the_plain_loop(times):
    """Compiled; and what the page says of the eager step."""
    for group, least in {"4 tasks": 3, "25 tasks": 9, "100 tasks": 20}.items():
        assert times(group, "plain loop", COMPILED) > least, group
    assert 1.6 < times("4 tasks", "plain loop", EAGER) < 2.5
    assert times("100 tasks", "plain loop", EAGER) > 10


def test_speed_against_jax(times):
    """Compiled, against `jit` called at every meta-step."""
    for group, most in zip(GROUPS, [1.5, 1.25, 1.1, 1.1], strict=True):
        assert times(group, COMPILED, "JAX jit") <= most, group


def test_twenty_runs_cost_about_as_much_as_three(times):
    assert 2.5 < times("runs", f"{EAGER}, 20 runs", f"{EAGER}, 1 runs") < 3.5


def test_what_the_page_says_of_few_tasks(report, times):
    counts = report["operations"]
    assert len({*counts[EAGER]}) == 1
    assert len({*counts["torch.func"]}) == 1
    assert counts["torch.func"][0] < 1.2 * counts[EAGER][0]
    for loop in ("plain loop", "lean loop", "higher", "TorchOpt"):
        four, twenty_five, _, thousand = counts[loop]
        assert thousand - four == 996 * ((twenty_five - four) / 21), loop
    assert counts["lean loop"] == counts["plain loop"]
    assert times("4 tasks", "lean loop", "plain loop") > 0.7
    assert times("4 tasks", "torch.func", EAGER) > 1.1
    each = 1e3 * ms(report, "4 tasks", EAGER) / counts[EAGER][0]
    assert 2 < each < 10, "microseconds"
    arithmetic = ms(report, "1000 tasks", COMPILED) * 4 / 1000
    assert arithmetic < 0.1 * ms(report, "4 tasks", EAGER)


def test_what_the_page_says_of_many_tasks(times):
    assert 0.75 < times("1000 tasks", "torch.func", EAGER) < 1.33
    assert times("1000 tasks", COMPILED, EAGER) < 0.75
    numbers = sum(p.numel() for p in MLP().parameters())
    assert numbers == 1761
    assert round(1000 * numbers * 4 / 1e6) == 7


def test_what_the_page_says_of_compiling_and_runs(report, times):
    assert times("4 tasks", "JAX scan", COMPILED) < 1
    assert times("4 tasks", "JAX scan", "JAX jit, packed") < 1
    assert times("4 tasks", "JAX jit, packed", "JAX jit") < 1
    for group in GROUPS[2:]:
        assert times(group, COMPILED, "JAX jit") < 1.05
    assert 0.1 < ms(report, "4 tasks", COMPILED) < 0.4  # "a fifth of a millisecond" and the like
    assert times("parts", f"data, {COMPILED}", f"data, {EAGER}") < 0.2
    assert times("parts", f"Adam, {COMPILED}", f"Adam, {EAGER}") < 0.8
    assert times("runs", f"{COMPILED}, 20 runs", f"{EAGER}, 1 runs") < 1.25
    assert times("runs", f"{COMPILED}, 20 runs", f"{COMPILED}, 1 runs") > 3
    after = [pays_after(report, group) for group in GROUPS]
    assert all(after[i] > after[i + 1] for i in range(3))
    assert after[0] > 1000
    assert max(after) < 60_000 / 2


@pytest.mark.parametrize("report", STORED_CONV.values(), ids=STORED_CONV)
def test_what_the_page_says_of_convolutions(report):
    groups = ["4 tasks", "16 tasks"]
    assert list(report["groups"]) == groups
    assert max(report["apart"].values()) <= bench.SAME
    loops = [ratio(report, group, "loop", "ours") for group in groups]
    assert all(2 < low < high < 4.2 for _, low, high in loops)
    assert loops[0][2] < loops[1][1]  # the handicap grows
    for group in groups:
        for way in ("vmap", "grouped"):
            assert ratio(report, group, way, "ours")[1] > 1, (group, way)
            assert 1.25 < ratio(report, group, way, "ours")[0] < 1.75, (group, way)


def test_the_bench_of_convolutions_measures_and_stores(tmp_path, monkeypatch, capsys):
    """With a small network: all ways give one meta-gradient, and one that does not is not timed."""
    small, page, result = bench_conv.family, tmp_path / "page.md", tmp_path / "speed.json"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(bench_conv, "RESULT", result)
    monkeypatch.setattr(bench_conv, "pin", lambda: None)
    monkeypatch.setattr(bench, "TURN", 0.0)
    monkeypatch.setattr(bench_conv, "family", lambda way, *rest, filters=2: small(
        way, *rest, filters=2))
    monkeypatch.setattr(bench_conv, "put", lambda blocks: bench_report.put(blocks, page))
    bench_conv.main(["--tasks", "2", "--rounds", "1", "--write"])
    (report,) = bench_conv.stored().values()
    assert all(report.keys() == other.keys() for other in STORED_CONV.values())
    assert report["groups"]["2 tasks"].keys() == bench_conv.WAYS.keys()
    assert bench_conv.tables(report) in page.read_text(encoding="utf-8")
    assert bench_conv.tables(report) in capsys.readouterr().out
    monkeypatch.setitem(bench_conv.WAYS, "loop", lambda *args: 2 * bench_conv.WAYS["vmap"](*args))
    with pytest.raises(SystemExit, match=r"^Not the meta-gradient of ours .*: loop \("):
        bench_conv.main(["--tasks", "2", "--rounds", "1"])


def test_arithmetic_of_a_meta_step():
    """398 400 a task, in every way (and not only in those that can be counted here)."""
    assert "398 400 additions and multiplications a task" in PAGE
    for name, way in torch_ways().items():
        steps = way.train(3, 1, 1)
        with FlopCounterMode(display=False) as counted:
            next(steps)
        assert counted.get_total_flops() == 3 * 398_400, name


def test_operations_do_not_depend_on_the_number_of_tasks():
    """Here too: what is stored was counted elsewhere."""
    ways = torch_ways()
    assert bench_ways.operations(ways[EAGER], 2) == bench_ways.operations(ways[EAGER], 9)
    loop = [bench_ways.operations(ways["plain loop"], n) for n in (1, 2, 3)]
    assert loop[1] - loop[0] == loop[2] - loop[1] > 100


def solution():
    (code,) = [code for code in programs() if "def by_hand" in code]
    names = {}
    exec(code, names)
    return names["by_hand"]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_exercise_is_solved(activation):
    family = sines(1, 8, 8, 1, activation=activation)
    theta, _ = start(family)
    alpha = {n: a * torch.randn(a.shape, generator=gen(5), dtype=a.dtype)
             for n, a in init_alpha(theta, "entry", 0.1).items()}
    theta, alpha = wanted(theta), wanted(alpha)
    tasks = family.sample_tasks(5, generator=gen(2))
    points = family.sample_data(tasks, None, 9, generator=gen(3))
    support, query = Data(*(d[:, :4] for d in points)), Data(*(d[:, 4:] for d in points))
    loss = meta_loss(family, theta, alpha, tasks, META_SGD, shots=4, query_shots=5,
                     generator=gen(), data=points)
    expected = gradients(loss, theta, alpha)
    with bench_ways.Dispatched() as by_autograd:
        loss = meta_loss(family, theta, alpha, tasks, META_SGD, shots=4, query_shots=5,
                         generator=gen(), data=points)
        torch.autograd.grad(loss, [*theta.values(), *alpha.values()])
    with bench_ways.Dispatched() as by_hand:
        found = solution()(family, theta, alpha, support, query)
    for part, right in zip(found, expected, strict=True):
        assert_close(part, right, **STEP)
        assert not any(leaf.requires_grad for leaf in part.values())
    assert by_autograd.count < by_hand.count < 1.5 * by_autograd.count  # the solution says so


def test_the_program_for_the_reader_measures(clock):
    (code,) = [code for code in programs() if "def compare" in code]
    names = {}
    exec(code, names)
    names["time"] = clock
    taken = {"a": 0, "b": 0}

    def step(name, seconds):
        def go():
            taken[name] += 1
            # The first is slow, and so is one in the middle; both must leave no trace.
            clock.now += seconds * (100 if taken[name] in (1, 150) else 1)

        return go

    middle, low, high = names["compare"](step("a", 0.012), step("b", 0.003), rounds=20)
    assert middle == pytest.approx(4)
    assert low < 4 < high
    assert taken == {"a": 2 + 20 * 25, "b": 2 + 20 * 100}
