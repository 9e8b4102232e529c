"""The runner of all studies: kills, what a file says of its making, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from torch.testing import assert_close

from metasgd_core import studies
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.studies import Stored, cartpole, jobs, navigation, sine, table
from metasgd_core.studies.__main__ import known, main, one
from metasgd_core.studies.jobs import Job, Study

HERE = Path(__file__).resolve().parent
EXACT = {"rtol": 0, "atol": 0}
MADE = {
    "command", "seconds", "in_one_go", "processes", "torch", "python", "machine", "cores", "date",
    "version",
}
#: A study that takes no time: in this file, where the runner's other processes find it.
TINY = Study(
    "two numbers", "no time", ("a, 0.1", "b"), lambda job: None, lambda found: "the summary"
)


def tiny(job):
    if job.name == "bad":
        raise ValueError("a sentence that says why")
    if job.name == "long":
        time.sleep(60)
    return Stored({"x": torch.tensor([float(len(job.name))])}, {"quick": job.quick})


TINY = TINY._replace(work=tiny)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Let results be stored, and jobs kept, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "PACKAGE", tmp_path)
    (tmp_path / "results").mkdir()
    return tmp_path


@pytest.fixture
def forked(monkeypatch):
    """Let the runner's processes be forks: none imports torch again. One test has them as they are.
    """
    monkeypatch.setattr(jobs, "get_context", lambda kind: get_context("fork"))


# What is stored


@pytest.mark.parametrize("name", list(known()))
def test_every_study_has_its_stored_result(name):
    """Old headers, too, say command, date or torch; the tensors are those of its jobs."""
    stored = studies.load(name)
    assert stored.made["command"].startswith("python ")
    assert set(stored.made) <= MADE
    if stored.tensors:
        assert {key.partition("/")[0] for key in stored.tensors} == set(known()[name].jobs)


def test_other_results_are_loaded_by_their_name():
    assert studies.load("navigation-maml-origin").notes["seed"] == 0
    assert studies.load("ppo-cartpole").notes["episodes"] == 100


def test_no_such_result_is_one_sentence():
    with pytest.raises(ValueError, match=r"^there is no stored result 'tabel'; there are alpha-lab,"
                                         r".* figure-sine,.* table$"):
        studies.load("tabel")


def test_what_is_saved_is_loaded(elsewhere):
    stored = Stored({"a/x": torch.arange(3)}, {"made": {"command": "c"}, "n": [1, 2]})
    assert studies.save("mine", stored) == elsewhere / "results" / "mine.safetensors"
    again = studies.load("mine")
    assert_close(again.tensors, stored.tensors, **EXACT)
    assert again.notes == stored.notes
    assert again.made == {"command": "c"}
    path = studies.save("words", Stored({}, stored.notes))
    assert studies.load("words") == Stored({}, stored.notes)
    assert '"n": [ 1, 2 ]' in path.read_text()


def test_the_time_that_is_left_is_told_once_something_was_gained():
    """Jobs that go on where a kill left them have gained nothing yet, to the last digit."""
    done = {f"job {k}": 1.0 for k in range(26)} | {"a": 0.77, "b": 0.31, "c": 0.0}
    first = {"a": 0.77, "b": 0.31}
    assert jobs._line(done, first, 60.0).endswith("26 of 29 jobs done, starting")
    assert jobs._line(done | {"a": 0.87}, first, 60.0).endswith("about 18 min left")


# The command


def test_a_study_runs_stores_and_clears(elsewhere, capfd):
    one("mine", TINY, quick=False, processes=2)
    stored = studies.load("mine")
    assert {key: float(x) for key, x in stored.tensors.items()} == {"a, 0.1/x": 6, "b/x": 1}
    assert set(stored.made) == set(stored.notes["made"]) == MADE
    assert stored.made["command"] == "python -m metasgd_core.studies mine"
    assert stored.made["in_one_go"] is True
    assert stored.made["processes"] == 2
    out, err = capfd.readouterr()
    assert "the summary" in out
    assert "2 of 2 jobs done" in err
    assert not (elsewhere / "_build" / "studies" / "mine").exists()


def test_quick_stores_nothing(elsewhere, forked):
    one("mine", TINY, quick=True, processes=1)
    assert not list((elsewhere / "results").iterdir())
    assert not list((elsewhere / "_build" / "studies").iterdir())


def test_seconds_and_sessions_add_up_over_a_kill(elsewhere, forked):
    """The first session had taken 100 s, and left one job done and another killed."""
    folder = elsewhere / "_build" / "studies" / "mine"
    folder.mkdir(parents=True)
    save_checkpoint(folder / ".sessions", {}, {"seconds": 100.0, "sessions": 1})
    jobs.do(lambda job: Stored({"x": torch.tensor([7.0])}, {}), Job("b", folder))
    one("mine", TINY, quick=False, processes=1)
    stored = studies.load("mine")
    assert float(stored.tensors["b/x"]) == 7  # not done again
    assert stored.made["seconds"] >= 100
    assert stored.made["in_one_go"] is False


def test_a_folder_that_no_run_has_left_is_refused(elsewhere):
    folder = elsewhere / "_build" / "studies" / "table-quick"
    folder.mkdir(parents=True)
    (folder / "MAML, 5 shots.safetensors").write_bytes(b"?")
    with pytest.raises(SystemExit, match=r"^table: _build.*table-quick holds files, .* delete the"):
        main(["table", "--quick"])


def test_a_truncated_file_is_named(elsewhere):
    folder = elsewhere / "mine"
    folder.mkdir()
    save_checkpoint(folder / ".sessions", {}, {"seconds": 1.0, "sessions": 1})
    for name in TINY.jobs:
        jobs.do(tiny, Job(name, folder))
    (folder / "b.safetensors").write_bytes((folder / "b.safetensors").read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"mine/b.safetensors is not a whole checkpoint"):
        jobs.run(TINY, folder, quick=False, processes=1, say=print)


@pytest.mark.parametrize(("words", "sentence"), [
    (["tabel"], "there is no study tabel; there are cartpole-physics,"),
    (["table", "--processes", "0"], "--processes must be at least 1, got 0"),
])
def test_what_cannot_be_run_is_one_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit) as refusal:
        main(words)
    assert refusal.value.code == 2
    assert sentence in capsys.readouterr().err


def test_without_a_name_it_lists_what_there_is_and_how_long_it_takes(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(known())
    assert all(line.endswith(("minutes)", "seconds)")) for line in lines)


# Killed


def environment():
    """Return an environment in which a process finds this package and uses one thread."""
    return os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}


def test_a_job_killed_and_resumed_ends_as_the_unbroken_one(tmp_path):
    """Bit for bit: parameters, losses on the way, errors, counts of steps; see killed_study.py.

    Chapter 15 reports how many steps each policy has played, so a resumed row may lose none.
    """
    done = subprocess.run(
        [sys.executable, HERE / "killed_study.py", tmp_path], check=True, timeout=PATIENCE,
        stdout=subprocess.PIPE, env=environment(),
    )
    for line, iterations in zip(done.stdout.splitlines(), (120, 6), strict=True):
        first, second, third, fourth, fifth = json.loads(line)
        assert 0 < first < second < third
        # The third died between its two files, so the fourth began again.
        assert fourth == second < third < fifth == iterations
    table, cartpole = "Meta-SGD, rate 0.003 to 3e-05.safetensors", "metasgd-3.safetensors"
    for name in (table, cartpole):
        (unbroken, notes), (resumed, resumed_notes) = (
            studies.read(tmp_path / folder / name) for folder in ("unbroken", "resumed")
        )
        assert_close(resumed, unbroken, **EXACT)
        if name == table:
            assert unbroken["losses"].shape == (5, 60)
            assert unbroken["losses"].isfinite().all()
            assert unbroken["tested on 10"].shape == (5, 100)
        else:
            assert resumed_notes["steps"] == notes["steps"] > 300
            assert resumed_notes["seconds"] > 0.3 * notes["seconds"]


SCRIPT = """
from multiprocessing import get_context

from metasgd_core.studies import jobs, table
from metasgd_core.studies.__main__ import main

table.QUICK_ITERATIONS = {iterations}
table.SHOTS, table.SEEDS = (5,), 2
study = table.STUDIES["table"]
table.STUDIES = {{"table": study._replace(jobs={names!r})}}
table.JOBS = {{name: table.JOBS[name] for name in {names!r}}}
jobs.get_context = lambda kind: get_context("fork")
main(["table", "--quick", "--processes", "1"])
"""


@pytest.mark.slow
def test_the_command_killed_and_resumed_prints_what_the_unbroken_one_does(tmp_path, monkeypatch):
    """Killed with its worker in the second of two trainings; no checkpoint is left at the end, and
    nothing is written into the package."""
    names = ("MAML, 5 shots", "Meta-SGD, 5 shots")
    script, folder = tmp_path / "script.py", tmp_path / "there"
    script.write_text(SCRIPT.format(iterations=600, names=names))
    folder.mkdir()
    before = written()

    def command():
        return subprocess.Popen(
            [sys.executable, script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment(), start_new_session=True,
        )

    killed = command()
    noted = folder / "_build" / "studies" / "table-quick" / f"{names[1]}.noted"
    while not noted.exists():
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    assert [path.stem for path in noted.parent.glob("*.safetensors")] == [names[0]]
    assert 0 < load_checkpoint(noted.with_suffix(".training"))[1]["done"] < 600

    resumed = command()
    out, err = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, err
    assert "2 of 2 jobs done" in err
    assert sorted(path.name for path in folder.rglob("*")) == ["_build", "studies"]
    assert written() == before

    # The unbroken one, in this process.
    for name, value in {"QUICK_ITERATIONS": 600, "SHOTS": (5,), "SEEDS": 2,
                        "JOBS": {name: table.JOBS[name] for name in names}}.items():
        monkeypatch.setattr(table, name, value)
    parts = {}
    for name in names:
        jobs.do(table.STUDIES["table"].work, Job(name, tmp_path, quick=True))
        parts[name] = studies.read(tmp_path / f"{name}.safetensors")
    *lines, took = out.splitlines()
    assert " s with 1 processes" in took
    assert lines == table.STUDIES["table"].summary(jobs.together(parts)).splitlines()
    assert [line.partition("  ")[0] for line in lines] == list(names)


def written():
    """Return when each file of the package was written."""
    return {path: path.stat().st_mtime_ns for path in studies.PACKAGE.rglob("*.*")
            if "__pycache__" not in path.parts}  # fmt: skip


#: The settings with which a quick study is quicker still: none of them names a tensor or a note.
QUICKER = {
    "cartpole-physics": (cartpole, {"SEEDS": 2, "EPISODES": 2, "FINE_TUNING_RATES": (0.1,)}),
    "navigation": (navigation, {"SEEDS": range(2), "TEST_TASKS": 4}),
    "figure-sine": (sine, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICKER)
def test_a_result_made_again_holds_what_the_stored_one_holds(name, tmp_path, monkeypatch):
    """The same tensors of the same type under the same names, and the same notes."""
    module, settings = QUICKER[name]
    for setting, value in settings.items():
        monkeypatch.setattr(module, setting, value)
    study = known()[name]
    parts = {}
    for job in study.jobs:
        if name == "navigation" and navigation.JOBS[job].seed not in navigation.SEEDS:
            continue
        jobs.do(study.work, Job(job, tmp_path, quick=True))
        parts[job] = studies.read(tmp_path / f"{job}.safetensors")
    found = study.results(parts) if study.results else {name: jobs.together(parts)}
    assert study.summary(found[name])
    for result, (tensors, notes) in found.items():
        stored = studies.load(result)
        assert {key: value.dtype for key, value in tensors.items()} == {
            key: value.dtype for key, value in stored.tensors.items()
        }
        # How it was made stood among the rest before, or in other words.
        assert set(stored.notes) - MADE - {"made", "versions", "format", "seconds"} <= set(notes)


def test_a_job_that_fails_is_named_with_its_reason(tmp_path, forked):
    """And the others stop: the second of two processes would have had a minute to do."""
    study = TINY._replace(jobs=("bad", "long"))
    with pytest.raises(RuntimeError, match=r"^stopped: bad: a sentence that says why$"):
        jobs.run(study, tmp_path, quick=True, processes=2, say=print)
    assert not (tmp_path / "long.safetensors").exists()
