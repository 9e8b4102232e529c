"""What the figures show or say stands in one table: no script or module has its own words."""

import re
import shutil
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest

from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import HERE
from metasgd_core.widgets.words import WORDS, fill

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import check_js

SCRIPTS = {path.stem: path.read_text(encoding="utf-8") for path in HERE.rglob("*.js")}
MODULES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (*HERE.glob("*.py"), check_js.ROOT / "tools" / "figures_hook.py")
    if path.stem != "words"
}
# Comments are taken as well, so that an apostrophe in one opens nothing.
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""", re.DOTALL
)
BLANK = re.compile(r"\{(\w+)\}")
# What a reader would see: two words, or one with a capital letter; or a label of whatever form.
SHOWN = re.compile(r"[A-Za-z]{2,}[,.:;]? [A-Za-z]{2,}|^[A-Z][a-z]+$")
LABEL = re.compile(r"(?:label|text|title|goal|summary|textContent)\"?\s*[:=]\s*$")
# Selectors and keys; values that are compared, styles, and what is said to programmers alone.
NAMES = re.compile(r"^(?:[(.#\[]|use strict$|Delete$|Backspace$)")
INNER = re.compile(r"(?:=== |style: |new Error\([^;]*)$")
# Where Python shows something, a literal.
OWN = re.compile(
    r"""(?:\b(?:[xy]?label|title|description|options)=|\.said\.value = |Label\()[(\[\s]*[fr]?["']"""
)
# A name for a part of the table, and a place that asks for a word.
PART = re.compile(r"""^(_\w+) = WORDS((?:\["[^"]+"\])+)$""", re.MULTILINE)
ASKED = re.compile(r"""(WORDS|words\(\)|_\w+)((?:\["[^"]+"\])+)""")


def words_of(text):
    """Yield the literals of a script that look like words for a reader."""
    for found in TOKEN.finditer(text):
        literal, before = found[0], text[max(0, found.start() - 200) : found.start()]
        if literal.startswith("/") or INNER.search(before):
            continue
        bare = re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "", literal[1:-1])
        labelled = LABEL.search(before) and re.search("[A-Za-z]", bare)
        if labelled or (SHOWN.search(bare) and not NAMES.search(bare)):
            yield literal


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_no_words(name):
    """Else a translation would leave them in English."""
    assert list(words_of(SCRIPTS[name])) == []


@pytest.mark.parametrize("line", [
    'frame.note("One point must stay.");', "label: `Support point ${i + 1}`", 'addRow("Reset")',
    'title: "valley"', 'node.textContent = "m";',
])
def test_words_in_a_script_are_noticed(line):
    assert list(words_of(line))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_no_words(name):
    """Else the live panel, or the picture of a figure, would stay in English."""
    assert OWN.findall(MODULES[name]) == []


def leaves(table, path=()):
    for key, value in table.items():
        if isinstance(value, dict) and set(value) != {"one", "other"}:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


@pytest.mark.parametrize("name", [name for name in WORDS if name in SCRIPTS])
def test_every_word_is_used(name):
    """By the script of that name, or by one that asks its constant."""
    text = "\n".join(text for text in SCRIPTS.values() if re.search(rf"\b{name.upper()}\b", text))
    for (key, *_), _ in leaves(WORDS[name]):
        found = key in ("controls", "units") or re.search(rf"\b{key}\b", text)
        assert found, key


@pytest.mark.parametrize("name", WORDS)
def test_the_forms_of_a_sentence_have_the_same_blanks(name):
    for _, value in leaves(WORDS[name]):
        forms = value.values() if isinstance(value, dict) else [value]
        assert all(form.strip() == form != "" for form in forms)
        assert len({frozenset(BLANK.findall(form)) for form in forms}) == 1 or name == "alphalab"


def asked(text):
    """Yield the paths in the table that a module asks for, as far as it writes them out."""
    known = {"WORDS": "", "words()": "", **dict(PART.findall(text))}
    for name, keys in ASKED.findall(PART.sub("", text)):
        if name in known:
            yield tuple(re.findall(r'"([^"]+)"', known[name] + keys))


def test_python_asks_for_words_that_exist_and_for_each_that_no_script_shows():
    """Else a figure fails where it is drawn or trained, or a translator works for nobody."""
    paths = {path for text in MODULES.values() for path in asked(text)}
    for path in paths:
        assert reduce(getitem, path, WORDS)
    own = {name: table for name, table in WORDS.items() if name not in SCRIPTS}
    for path, _ in leaves(own):
        assert any(path[: len(start)] == start for start in paths), path


def test_python_chooses_the_form_by_the_count():
    forms = {"one": "{count} step", "other": "{count} steps"}
    assert [fill(forms, count=n) for n in range(3)] == ["0 steps", "1 step", "2 steps"]
    with pytest.raises(KeyError, match="reason"):
        fill("It stopped: {reason}.", count=1)


def test_random_numbers_have_one_source():
    """Else a seed would draw another task in one figure than in the others."""
    mulberry32 = re.compile("0x6d2b79f5|1831565813", re.IGNORECASE)
    assert [name for name, text in SCRIPTS.items() for _ in mulberry32.findall(text)] == ["numbers"]


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_control_has_a_label_and_every_label_a_control(name):
    ranges = CONSTANTS[name].get("ranges", {})
    controls = WORDS.get(name, {}).get("controls", {})
    assert set(WORDS.get(name, {}).get("units", {})) <= set(ranges) & set(controls)
    for trait in controls:
        assert re.search(rf"\b{trait}\b", SCRIPTS[name]), trait


@pytest.fixture
def valley():
    if shutil.which("node") is None or not check_js.MODULES.exists():
        pytest.skip("no Node here, or its tools are not installed")
    return check_js.programs()["Valley"]


@pytest.mark.parametrize(("right", "wrong", "said"), [
    ("words.bottom", "words.botom", "'botom' does not exist"),
    ("fill(words.landed, { count: landed })", "fill(words.landed, {})", "'count' is missing"),
    ("percent: valleyNumber", "per_cent: valleyNumber", "'per_cent' does not exist"),
    ("valleyLoss(H, point)", "valleyLoss(H)", "Expected 2 arguments"),
    ("losses.findIndex(", "losses.find(", "'number | undefined' is not assignable"),
])
def test_a_missing_word_blank_or_number_is_noticed(valley, right, wrong, said):
    """By TypeScript, in each figure's own program: tools/check_js.py finds nothing else."""
    assert right in valley["valley.js"]
    spoiled = {**valley, "valley.js": valley["valley.js"].replace(right, wrong)}
    assert said in "\n".join(check_js.types("Valley", spoiled))
