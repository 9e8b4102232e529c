"""What GitHub runs: with no more rights than it needs, and of things that are there.

Its syntax is actionlint's to judge (tools/check_js.py).
"""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from repository import PUBLISHED

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: path for path in sorted(FOLDER.glob("*.yml"))}
#: Majors that are known to work together; a new one is tried first.
ACTIONS = {
    "actions/checkout@v6", "actions/setup-python@v6", "actions/upload-artifact@v7",
    "actions/download-artifact@v8",
}  # fmt: skip
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, flags=re.MULTILINE))
each = pytest.mark.parametrize("name", WORKFLOWS)


def load(name):
    return yaml.load(WORKFLOWS[name].read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def commands(workflow):
    return "\n".join(
        step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]
    )


def test_what_the_readme_promises():
    assert set(WORKFLOWS) == {"test", "publish", "release", "colab"}


@each
def test_no_more_rights_than_it_needs(name):
    """What builds, and so runs what it has downloaded, can only read."""
    workflow = load(name)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert int(job["timeout-minutes"]) <= 90
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert set(uses) <= ACTIONS
        if "permissions" in job:
            assert job["permissions"] == {"contents": "write"}
            assert not re.search(r"\b(make|pip|python)\b", commands({"jobs": {"": job}}))
            assert "actions/checkout@v6" not in uses
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] == "false"


@each
def test_what_it_calls_is_there(name):
    text = commands(load(name))
    for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", text):
        assert set(line.split()) <= TARGETS, line
    for path in re.findall(r"(?<![\w/])(?:\.ci|tools|teach)/[\w./-]+", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "book/teaching.md", "book/class-of-100.md"]
)
def test_a_command_that_is_promised_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    said = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, flags=re.MULTILINE))
    assert said <= TARGETS, said - TARGETS


def test_it_runs_each_python_that_is_promised():
    asked = load("test")["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={asked[0]}"
    said = (ROOT / "tools" / "install.sh").read_text(encoding="utf-8")
    assert f"Python {', '.join(asked[:-1])} or {asked[-1]} is needed" in said


def test_what_is_published_is_where_colab_looks():
    assert f"git init -q -b {PUBLISHED}" in commands(load("publish"))
    assert load("test")["on"]["push"]["branches-ignore"] == [PUBLISHED]
