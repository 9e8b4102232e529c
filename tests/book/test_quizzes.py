"""The quizzes: right, complete, shown in the page, and readable for Moodle."""

import ast
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
import quizzes
import torch
import yaml
from bs4 import BeautifulSoup
from conftest import CHAPTERS, HTML, ROOT
from notebooks import read

import metasgd_core

ALL = quizzes.load_all()
each_quiz = pytest.mark.parametrize("quiz", ALL, ids=lambda quiz: quiz.name)
CHECKED = [(quiz.name, one) for quiz in ALL for one in quiz.questions if one.check]


def test_every_chapter_has_a_quiz():
    """And is named where it has none."""
    have = {quiz.name for quiz in ALL}
    missing = [path.stem for path in CHAPTERS if path.stem not in have]
    assert not missing, f"write teach/quizzes/NAME.yml, 8 to 10 questions, for {missing}"


@each_quiz
def test_a_quiz_asks_for_understanding(quiz):
    """At least two numbers to work out and two guesses among 8 to 10 questions."""
    assert 8 <= len(quiz.questions) <= 10
    assert sum(one.kind == "number" for one in quiz.questions) >= 2
    assert sum(one.asks == "predict" for one in quiz.questions) >= 2
    assert quiz.title.startswith("Quiz: ")


@each_quiz
def test_the_right_answer_has_no_place_of_its_own(quiz):
    """Nobody finds it by its letter, nor by its length."""
    choices = [one.options for one in quiz.questions if one.kind in ("one", "several")]
    places = Counter([each.right for each in options].index(True) for options in choices)
    assert max(places.values()) <= 0.7 * len(choices) or len(choices) < 3, places
    longest = [max(options, key=lambda each: len(each.text)).right for options in choices]
    assert sum(longest) <= 0.6 * len(choices), "the right answers are the longest ones"


@each_quiz
def test_a_chapter_leads_to_its_quiz(quiz):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    (chapter,) = (c for c in chapters if c["file"] == f"book/{quiz.name}")
    assert {"file": f"teach/quizzes/{quiz.name}"} in chapter["sections"]
    last = read(ROOT / "book" / f"{quiz.name}.ipynb").cells[-1].source
    assert last.endswith(f"**Test yourself:** {{ref}}`quiz-{quiz.name[3:]}`.")


def value(check):
    """Run a check, and return what its last line says."""
    *body, last = ast.parse(check).body
    names = {**vars(metasgd_core), "torch": torch, "math": math}
    exec(compile(ast.Module(body, []), "check", "exec"), names)
    return eval(compile(ast.Expression(last.value), "check", "eval"), names)


@pytest.mark.parametrize(("name", "one"), CHECKED, ids=[f"{n}-{q.id}" for n, q in CHECKED])
def test_an_answer_is_derived_a_second_time(name, one):
    """By the book's own package where it can be: no number rests on one derivation."""
    found = value(one.check)
    if one.kind == "number":
        (right,) = (float(each.text) for each in one.options if each.right)
        assert abs(float(torch.as_tensor(found).detach()) - right) <= one.tolerance / 2
    else:
        assert found is True


# ------------------------------------------------------------------------------- a bad file

GOOD = """\
title: "Quiz: Meta-SGD"
questions:
  - id: first
    title: One
    kind: one
    asks: predict
    level: easy
    section: The algorithm
    question: What?
    options:
      - {right: a, because: Yes it is.}
      - {wrong: b, because: No.}
      - {wrong: c, because: Neither.}
  - id: second
    title: Two
    kind: number
    asks: compute
    level: easy
    section: The algorithm
    question: How much?
    tolerance: 0.1
    options:
      - {right: 2, because: It is.}
      - {wrong: 3, because: It is not.}
    check: 1 + 1
"""


def loaded(tmp_path, text, name="06-meta-sgd"):
    path = tmp_path / f"{name}.yml"
    path.write_text(text, encoding="utf-8")
    return quizzes.load(path)


def test_a_good_file_loads(tmp_path):
    assert [one.id for one in loaded(tmp_path, GOOD).questions] == ["first", "second"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('title: "Quiz: Meta-SGD"\n', "", "a title and questions, and nothing else"),
        ('"Quiz: Meta-SGD"', '"Quiz', "it is not YAML"),
        ("id: second", "id: first", "two questions have the id first"),
        ("id: first", "id: First one", "an id is small letters, digits and hyphens"),
        ("    kind: one\n", "", "kind must be one, several, true or false, number; it is None"),
        ("kind: one", "kind: any", "kind must be one, several"),
        ("asks: predict", "asks: recall", "asks must be predict, compare"),
        ("level: easy", "level: trivial", "level must be easy, medium, hard"),
        ("section: The algorithm", "section: Elsewhere", "the chapter has no section 'Elsewhere'"),
        ("    title: One\n", "", "question first: it has no title"),
        ("    title: One\n", "    title: One\n    hint: none\n", "there is no such key: hint"),
        ("{right: a,", "{wrong: a,", "no answer is right"),
        ("{wrong: b,", "{right: b,", "more than one answer is right: its kind is `several`"),
        ("kind: one", "kind: several", "only one answer is right: its kind is `one`"),
        ("kind: one", "kind: true or false", "'a' is neither true nor false"),
        ("{wrong: b,", "{wrong: a,", "two answers are alike"),
        ("{wrong: b,", "{maybe: b,", "an answer is either right or wrong"),
        ("{wrong: b, because: No.}", "{wrong: b}", "'b' has no reason: write `because`"),
        ("{wrong: b, because: No.}", "b", "an answer is right or wrong, because of something: 'b'"),
        ("      - {wrong: b, because: No.}\n", "", "can be guessed: give a third"),
        ("    tolerance: 0.1\n", "", "question second: it has no tolerance"),
        ("tolerance: 0.1", "tolerance: 0", "its tolerance must be above 0"),
        ("tolerance: 0.1", "tolerance: 0.6", "the wrong answer 3 lies within the tolerance"),
        ("    check: 1 + 1\n", "", "question second: it has no check"),
        ("{right: 2,", "{right: two,", "the answer 'two' is no number"),
        ("question: What?", "question: See {ref}`ch-maml`.", "holds no role, directive or link"),
        ("question: What?", "question: 7", "this is no text: 7"),
        ("question: What?", "question: A <b>word</b>.", "holds no HTML"),
    ],
)
def test_a_fault_of_a_file_is_one_sentence(tmp_path, old, new, sentence):
    assert old in GOOD
    with pytest.raises(ValueError, match=r"^06-meta-sgd\.yml: ") as fault:
        loaded(tmp_path, GOOD.replace(old, new, 1))
    assert sentence in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_quiz_needs_its_chapter(tmp_path):
    with pytest.raises(ValueError, match=r"there is no chapter book/06-other\.ipynb"):
        loaded(tmp_path, GOOD, "06-other")


# -------------------------------------------------------------------------------- Moodle XML

#: What Moodle's importer (question/format/xml) reads of a question, and how often it may stand.
#: Moodle publishes no schema; this is written from its documentation and its importer.
ONCE = {
    "name", "questiontext", "generalfeedback", "defaultgrade", "penalty", "hidden", "idnumber",
    "tags",
}  # fmt: skip
KINDS = {
    "multichoice": {"single", "shuffleanswers", "answernumbering"},
    "truefalse": set(),
    "numerical": set(),
}
#: The shares of a mark that Moodle's editor knows; it refuses others.
GRADES = (100, 90, 83.33333, 80, 75, 70, 66.66667, 60, 50, 40, 33.33333, 30, 25, 20, 16.66667,
          14.28571, 12.5, 11.11111, 10, 5, 0)  # fmt: skip


def text_of(element, kind):
    """Return the text of an element that keeps it in one of its own, in a known format."""
    assert element.get("format") == kind, element.tag
    texts = element.findall("text")
    assert len(texts) == 1, element.tag
    said = texts[0].text or ""
    assert said == said.strip() != "", element.tag
    if kind == "html":
        ET.fromstring(f"<div>{said}</div>")  # else Moodle's editor would repair it
        assert "$" not in said, f"a formula is left as Markdown: {said}"
        assert said.count(r"\(") == said.count(r"\)"), said
        assert said.count(r"\[") == said.count(r"\]"), said
    return said


def check_answers(kind, item):
    answers = item.findall("answer")
    shares = [float(answer.get("fraction")) for answer in answers]
    assert all(any(abs(abs(share) - g) < 1e-4 for g in GRADES) for share in shares)
    texts = []
    for answer in answers:
        texts.append(text_of(answer, "html" if kind == "multichoice" else "moodle_auto_format"))
        text_of(answer.find("feedback"), "html")
        within = ["text", "feedback"] + ["tolerance"] * (kind == "numerical")
        assert [part.tag for part in answer] == within
    assert len(set(texts)) == len(texts) >= 2 or kind == "numerical"
    positive = [share for share in shares if share > 0]
    if kind == "multichoice":
        assert abs(sum(positive) - 100) < 1e-3
        several = item.findtext("single") == "false"
        assert item.findtext("single") in ("true", "false")
        assert (len(positive) > 1) == several
        assert (min(shares) < 0) == several  # ticking everything must not pay
    else:
        assert positive == [100]
    if kind == "truefalse":
        assert sorted(texts) == ["false", "true"]
    if kind == "numerical":
        assert all(math.isfinite(float(text)) for text in texts)
        assert all(float(answer.findtext("tolerance")) > 0 for answer in answers)


def test_the_export_is_what_moodle_reads(tmp_path):
    quizzes.export(tmp_path)
    files = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert files.keys() == {"all-chapters", *(quiz.name for quiz in ALL)}
    for name, text in files.items():
        root = ET.fromstring(text)
        assert root.tag == "quiz"
        ids = []
        for item in root:
            assert item.tag == "question"
            if (kind := item.get("type")) == "category":
                category = item.findtext("category/text")
                assert re.fullmatch(r"\$course\$/top/[^/]+/\d\d [^/]+", category)
                continue
            counts = Counter(part.tag for part in item)
            assert counts.keys() == ONCE | KINDS[kind] | {"answer"}
            assert all(counts[tag] == 1 for tag in ONCE | KINDS[kind])
            assert len(item.findtext("name/text")) < 100
            for part in ("questiontext", "generalfeedback"):
                text_of(item.find(part), "html")
            check_answers(kind, item)
            ids.append(item.findtext("idnumber"))
        wanted = [f"{quiz.name}/{one.id}" for quiz in ALL for one in quiz.questions]
        assert ids == [i for i in wanted if name in ("all-chapters", i.partition("/")[0])]


def test_the_export_is_the_same_each_time():
    assert quizzes.moodle(ALL) == quizzes.moodle(quizzes.load_all())


def test_formulas_and_code_reach_moodle():
    said = quizzes.as_html("If $a < b$:\n\n$$\na_1 \\\\ a_2\n$$\n\n```python\nx = a * b\n```")
    assert r"\(a &lt; b\)" in said
    assert "\\[a_1 \\\\ a_2\\]" in said
    assert '<pre><code class="language-python">x = a * b\n</code></pre>' in said


# ----------------------------------------------------------------------------------- the page


def test_all_that_is_read_can_be_translated(tmp_path):
    """Sphinx's gettext finds each question, answer and reason as it stands."""
    (quiz,) = (quiz for quiz in ALL if quiz.name == "06-meta-sgd")
    source = tmp_path / "source"
    source.mkdir()
    (source / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx_design']\n"
        "myst_enable_extensions = ['colon_fence', 'dollarmath']\n"
    )
    (source / "index.md").write_text(quizzes.page(quiz), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "gettext", source, tmp_path / "pot"]
    subprocess.run(command, check=True, capture_output=True)
    text = (tmp_path / "pot" / "index.pot").read_text(encoding="utf-8")
    messages = re.findall(r'^msgid ((?:".*"\n)+)', text, flags=re.MULTILINE)
    known = {"".join(ast.literal_eval(line) for line in m.splitlines()) for m in messages}
    for one in quiz.questions:
        assert one.title in known
        paragraphs = [p for p in one.question.split("\n\n") if not p.startswith("```")]
        assert {" ".join(p.split("\n")) for p in paragraphs} <= known
        assert {each.because for each in one.options} <= known
        assert one.kind == "number" or {each.text for each in one.options} <= known


@pytest.mark.built
@each_quiz
def test_the_page_shows_it_without_a_script(quiz):
    """Each answer unfolds by itself, and leads to the section that it is about."""
    page = HTML / "teach" / "quizzes" / f"{quiz.name}.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert len(soup.select("article h2")) == len(quiz.questions)
    folds = [len(one.options) if one.kind != "number" else 1 for one in quiz.questions]
    assert len(soup.select("details.quiz-answer, details.quiz-number")) == sum(folds)
    assert len(soup.select("details.quiz-key > div > ol > li")) == len(quiz.questions)
    links = [link["href"] for link in soup.select(".quiz-section a")]
    for one, link in zip(quiz.questions, links, strict=True):
        where, slug = quiz.sections[one.section]
        assert link == f"../../book/{where}.html#{slug}"
