"""Several processes train what one would: two of them here, on the CPU, forked or by torchrun."""

import json
import os
import random
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import shared_training
import torch
from cases import EXACT, TRAINING
from patience import PATIENCE
from safetensors.torch import load_file
from torch.testing import assert_close

from metasgd_core import META_SGD
from metasgd_core.checkpoint import load_checkpoint
from metasgd_core.training import gradient

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
import scale  # noqa: E402

pytestmark = pytest.mark.slow


def torchrun(*words, **environment):
    """Start two processes by the command of the README (``torchrun`` is this module)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node=2", *map(str, words)]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    return subprocess.run(command, env=os.environ | here | environment, timeout=PATIENCE,
                          capture_output=True, text=True)


def two(what, folder):
    """Train in two processes, both forks of this one where there are forks: torch is there."""
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    both = [context.Process(target=shared_training.part, args=(rank, what, folder))
            for rank in (0, 1)]  # fmt: skip
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
    assert [process.exitcode for process in both] == [0, 0]


SHARED = HERE / "shared_training.py"


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Train everything once in two processes; return the folder with what each found."""
    folder = tmp_path_factory.mktemp("together")
    one = shared_training.records(META_SGD, checkpoint=folder / "file.0")
    next(one)
    one.close()
    two("all", folder)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Kill the second of two processes at a random moment; return what torchrun said, and where."""
    folder = tmp_path_factory.mktemp("killed")
    # So that torchrun looks after the first process has had its say.
    done = torchrun("--monitor-interval=1", SHARED, "long", folder,
                    KILL_AFTER=str(random.Random(5).uniform(0, 0.3)))
    return done, folder


@pytest.mark.parametrize("name", shared_training.TRAININGS)
def test_two_processes_train_what_one_would(together, name, monkeypatch):
    """Every record: theta, alpha, loss. In float64 to 1e-9; in float32 to 1e-6 over five steps."""
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    alone = shared_training.train(name)
    first, second = (load_file(together / f"{name}.{rank}") for rank in (0, 1))
    assert_close(second, first, **EXACT)
    near = {"rtol": 0, "atol": 1e-6} if name == "float32" else TRAINING
    assert_close(first, alone, **near)
    # They did share the work: a sum in another order has other last digits.
    assert any(not torch.equal(first[key], alone[key]) for key in alone)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("seeds", "1 of 2 processes start from other parameters, another seed or another checkpoint"),
     ("starts", "1 of 2 processes start from other parameters, another seed or another checkpoint"),
     ("files", "1 of 2 processes start from other parameters, another seed or another checkpoint"),
     ("few tasks", "2 processes cannot share out meta-batches of 1 tasks of Sinusoid"),
     ("on-policy", "2 processes cannot share out meta-batches of 2 tasks of CartPole")],
)
def test_what_processes_cannot_train_together_is_refused_in_all_of_them(together, what, sentence):
    for rank in (0, 1):
        assert sentence in json.loads((together / f"refused.{rank}").read_text())[what]


def test_a_killed_worker_stops_the_run_and_the_message_says_how_to_go_on(killed):
    done, folder = killed
    assert done.returncode != 0
    assert ("RuntimeError: another process of this training has stopped, so this one stops too; "
            "start the same command again to go on from the checkpoint, with any number of "
            "processes") in done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["long.training"]
    assert 0 < load_checkpoint(folder / "long.training")[1]["done"] < 600


def test_the_checkpoint_of_a_killed_run_is_resumed_by_one_process(killed, together, tmp_path):
    shutil.copy(killed[1] / "long.training", tmp_path)
    rest = shared_training.train("long", checkpoint=tmp_path / "long.training")
    unbroken = load_file(together / "long.0")
    assert len(rest) < len(unbroken)
    assert "600.theta.layers.0.bias" in rest
    assert_close(rest, {key: unbroken[key] for key in rest}, **TRAINING)


def test_the_checkpoint_of_a_killed_run_is_resumed_bit_for_bit_by_two(killed, together, tmp_path):
    shutil.copy(killed[1] / "long.training", tmp_path)
    two("long", tmp_path)
    unbroken = load_file(together / "long.0")
    for rank in (0, 1):
        rest = load_file(tmp_path / f"resumed.{rank}")
        assert len(rest) < len(unbroken)
        assert "600.theta.layers.0.bias" in rest
        assert_close(rest, {key: unbroken[key] for key in rest}, **EXACT)


def test_the_documented_command_trains_what_one_process_would(tmp_path, monkeypatch, capsys):
    """tools/scale.py, compiled, in two processes, and by the uncompiled formula in this one."""
    settings = ["--iterations=6", "--record-every=3", "--meta-batch=4"]
    done = torchrun(HERE.parent / "tools" / "scale.py", *settings,
                    f"--checkpoint={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(gradient, "compile_gradient", lambda formula, learned, data: formula)
    scale.main([*settings, f"--checkpoint={tmp_path / 'one'}"])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "1 x cpu, 4 tasks an iteration"
    assert done.stdout.splitlines()[0] == "2 x cpu, 4 tasks an iteration"
    assert [line.split()[1] for line in told[1:3]] == ["3", "6"]
    # The same held-out error to its last printed digit but one.
    errors = [float(text.splitlines()[-1].split()[5]) for text in (done.stdout, told[-1])]
    assert errors[0] == pytest.approx(errors[1], abs=2e-4)
    two, one = (load_file(tmp_path / name) for name in ("two", "one"))
    for key in one:
        if key.startswith(("theta", "alpha")):
            assert_close(two[key], one[key], rtol=0, atol=1e-6)
