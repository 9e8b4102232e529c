"""The quizzes: one file of YAML a chapter, shown as a page of the book and exported for Moodle.

python tools/quizzes.py                           counts them, or says what is wrong with a file
python tools/quizzes.py --export _build/quizzes   writes Moodle XML, a file a chapter

`teach/quizzes/NN-name.yml` is the quiz of `book/NN-name.ipynb`; CONTRIBUTING.md shows a question.
"""

import json
import re
import sys
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from myst_parser.mdit_to_docutils.base import default_slugify

ROOT = Path(__file__).resolve().parents[1]
QUIZZES = ROOT / "teach" / "quizzes"
KINDS = {  # each with what the page says above the answers
    "one": "*One answer is right.*",
    "several": "*Several answers are right.*",
    "true or false": "*True or false?*",
    "number": "*The answer is a number.*",
}
ASKS = ("predict", "compare", "find the fault", "compute")
LEVELS = ("easy", "medium", "hard")
INTRODUCTION = """\
Settle on an answer before you open it. Each one says whether it is right, and why. Where several
are right, choose them all first. For the numbers a pencil is enough. At the end of the page all
answers stand together."""


class Option(NamedTuple):
    text: str
    right: bool
    because: str


class Question(NamedTuple):
    """Attributes: `section` is a heading of the chapter; `check` derives a number once more."""

    id: str
    title: str
    kind: str
    asks: str
    level: str
    section: str
    question: str
    options: list[Option]
    tolerance: float = 0.0
    check: str = ""


class Quiz(NamedTuple):
    """Attributes: `sections` leads from a heading of the chapter to its page and its anchor."""

    name: str
    title: str
    chapter: str
    sections: dict[str, tuple[str, str]]
    questions: list[Question]


def headings(chapter: str) -> dict[str, tuple[str, str]]:
    """Return the headings of a chapter and of its companion page; the chapter's title is first."""
    found: dict[str, tuple[str, str]] = {}
    for page in (chapter, f"{chapter}-deeper"):
        if (path := ROOT / "book" / f"{page}.ipynb").exists():
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
            for heading in re.findall(r"^#{1,3} (.+?)\s*$", text, flags=re.MULTILINE):
                found.setdefault(heading, (page, default_slugify(heading)))
    return found


def need(truth: object, otherwise: str) -> None:
    if not truth:
        raise ValueError(otherwise)


def one_of(what: str, value: object, known: Any) -> None:
    need(value in known, f"{what} must be {', '.join(known)}; it is {value!r}")


def plain(text: str) -> str:
    """Check that a text is read alike by the book and by Moodle: Markdown, code and maths."""
    need(isinstance(text, str), f"this is no text: {text!r}")
    need(
        not re.search(r"\{[\w:-]+\}`|^[`:]{3,}\{|\]\(", text, flags=re.MULTILINE),
        f"a text holds no role, directive or link, which Moodle cannot follow: {text[:40]!r}",
    )
    need(not re.search(r"</?[a-zA-Z]", text), f"a text holds no HTML: {text[:40]!r}")
    return text.strip()


def option(entry: dict[str, Any], kind: str) -> Option:
    """Read an answer: `right` or `wrong` with its text, and `because`."""
    need(isinstance(entry, dict), f"an answer is right or wrong, because of something: {entry!r}")
    right = "right" in entry
    text: Any = entry.get("right", entry.get("wrong"))
    need(right != ("wrong" in entry), f"an answer is either right or wrong: {entry!r}")
    need(entry.get("because"), f"the answer {text!r} has no reason: write `because`")
    need(
        entry.keys() <= {"right", "wrong", "because"},
        f"the answer {text!r} has more than `because`: {', '.join(entry)}",
    )
    if kind == "number":
        need(
            isinstance(text, int | float) and not isinstance(text, bool),
            f"the answer {text!r} is no number",
        )
    elif kind == "true or false":
        need(isinstance(text, bool), f"the answer {text!r} is neither true nor false")
    else:
        need(isinstance(text, str) and text.strip(), f"the answer {text!r} is no text")
        need("\n" not in text.strip(), f"the answer {text[:40]!r} is longer than one paragraph")
    return Option(plain(str(text)), right, plain(entry["because"]))


def question(entry: Any, sections: dict[str, tuple[str, str]]) -> Question:
    """Read one question; a ValueError says what is wrong with it."""
    need(isinstance(entry, dict), "it is no mapping of keys to values")
    kind = entry.get("kind")
    one_of("kind", kind, KINDS)
    wanted = set(Question._fields) - {"tolerance", "check"}
    if kind == "number":
        wanted |= {"tolerance", "check"}
    need(wanted <= entry.keys(), f"it has no {', '.join(sorted(wanted - entry.keys()))}")
    unknown = entry.keys() - set(Question._fields)
    need(not unknown, f"there is no such key: {', '.join(sorted(unknown))}")
    need(
        re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(entry["id"])),
        f"an id is small letters, digits and hyphens, not {entry['id']!r}",
    )
    one_of("asks", entry["asks"], ASKS)
    one_of("level", entry["level"], LEVELS)
    need(entry["section"] in sections, f"the chapter has no section {entry['section']!r}")
    need(isinstance(entry["options"], list), "its options are no list")
    options = [option(each, kind) for each in entry["options"]]
    need(len({each.text for each in options}) == len(options), "two answers are alike")
    right = [each for each in options if each.right]
    need(right, "no answer is right")
    if kind == "several":
        need(len(right) > 1, "only one answer is right: its kind is `one`")
        need(len(right) < len(options), "every answer is right: a wrong one is missing")
    else:
        need(len(right) == 1, "more than one answer is right: its kind is `several`")
    if kind == "one":
        need(len(options) > 2, "one of two answers can be guessed: give a third")
    if kind == "true or false":
        need(len(options) == 2, "it needs both answers, true and false, each with its reason")
    if kind == "number":
        tolerance = entry["tolerance"]
        need(isinstance(tolerance, int | float) and tolerance > 0, "its tolerance must be above 0")
        for one in options:
            off = abs(float(one.text) - float(right[0].text))
            need(
                one.right or off > 2 * tolerance,
                f"the wrong answer {one.text} lies within the tolerance of the right one",
            )
    texts = {key: plain(entry[key]) for key in ("title", "question")}
    return Question(**{**entry, **texts, "options": options})


def load(path: Path) -> Quiz:
    """Return the quiz of a file.

    Raises
    ------
    ValueError
        In one sentence: which file and which question, what is wrong, and what was wanted.
    """

    def stop(fault: str) -> NoReturn:
        raise ValueError(f"{path.name}: {fault}") from None

    if not (sections := headings(path.stem)):
        stop(f"there is no chapter book/{path.stem}.ipynb")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        stop(f"it is not YAML: {' '.join(str(error).split())}")
    if not isinstance(found, dict) or found.keys() != {"title", "questions"}:
        stop("a quiz has a title and questions, and nothing else")
    if not isinstance(found["questions"], list):
        stop("its questions are no list")
    questions: dict[str, Question] = {}
    for number, entry in enumerate(found["questions"], 1):
        try:
            one = question(entry, sections)
        except ValueError as fault:
            name = entry.get("id", number) if isinstance(entry, dict) else number
            stop(f"question {name}: {fault}")
        if one.id in questions:
            stop(f"two questions have the id {one.id}")
        questions[one.id] = one
    return Quiz(path.stem, found["title"], next(iter(sections)), sections, [*questions.values()])


def load_all() -> list[Quiz]:
    """Return all quizzes, in the order of the chapters."""
    return [load(path) for path in sorted(QUIZZES.glob("*.yml"))]


# ---------------------------------------------------------------------------------- the page


def number(text: str) -> str:
    """Return a number with a minus sign in place of a hyphen."""
    return text.replace("-", "−")


def short(one: Question) -> str:
    """Return the right answer as a number, or as the letters of the answers that are right."""
    if one.kind == "number":
        return next(number(each.text) for each in one.options if each.right)
    letters = zip("abcdefgh", one.options, strict=False)
    return ", ".join(letter for letter, each in letters if each.right)


def fold(title: str, body: str, kind: str) -> str:
    # With colons: a title after backticks may not hold any, and answers hold code.
    return f":::{{dropdown}} {title}\n:class-container: {kind}\n\n{body}\n:::"


def answers(one: Question) -> list[str]:
    """Return what can be opened under a question."""
    if one.kind != "number":
        verdicts = {True: "**Right.**", False: "**Not this one.**"}
        return [
            fold(each.text, f"{verdicts[each.right]}\n\n{each.because}", "quiz-answer")
            for each in one.options
        ]
    right_first = sorted(one.options, key=lambda each: not each.right)
    shown = [(number(each.text), each.right) for each in right_first]
    said = [f"**{text}**" if right else f"*{text}?*" for text, right in shown]
    body = [f"{text}\n\n{each.because}" for text, each in zip(said, right_first, strict=True)]
    return [fold("Answer", "\n\n".join(body), "quiz-number")]


def page(quiz: Quiz) -> str:
    """Return the quiz as a page of the book, in MyST."""
    _, _, name = quiz.name.partition("-")
    parts = [f"(quiz-{name})=\n# {quiz.title}", INTRODUCTION]
    for one in quiz.questions:
        where, slug = quiz.sections[one.section]
        parts += [
            f"(quiz-{name}-{one.id})=\n## {one.title}",
            one.question,
            f"{KINDS[one.kind]} *{one.level.capitalize()}.*",
            *answers(one),
            f"```{{div}} quiz-section\n[](../../book/{where}.ipynb#{slug})\n```",
        ]
    keys = []
    for one in quiz.questions:
        reasons = [f"**{short(one)}**", *(each.because for each in one.options if each.right)]
        keys.append("1. " + "\n\n".join(reasons).replace("\n", "\n   "))
    parts.append(fold("All answers", "\n\n".join(keys), "quiz-key"))
    return "\n\n".join(parts) + "\n"


# -------------------------------------------------------------------------------- Moodle XML


def formula(tex: str, how: dict[str, bool]) -> str:
    """Return a formula as Moodle's MathJax filter finds it."""
    start, end = (r"\[", r"\]") if how["display_mode"] else (r"\(", r"\)")
    return f"{start}{escape(tex, quote=False)}{end}"


MARKDOWN = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=formula)
BOX = re.compile(r'<(span|div) class="math (?:inline|block)">\s*(.*?)\s*</\1>', re.DOTALL)


def as_html(text: str) -> str:
    """Return Markdown with maths as HTML in which the formulas are LaTeX."""
    return BOX.sub(r"\2", MARKDOWN.render(text)).strip()


def add(parent: ET.Element, tag: str, text: str, kind: str = "", **attributes: str) -> ET.Element:
    """Add an element with a text; one that is `html` or plain keeps it in an element of its own."""
    if not kind:
        child = ET.SubElement(parent, tag, attributes)
        child.text = text
        return child
    attributes |= {"format": kind} if kind != "name" else {}
    child = ET.SubElement(parent, tag, attributes)
    ET.SubElement(child, "text").text = as_html(text) if kind == "html" else text
    return child


def moodle_question(root: ET.Element, quiz: Quiz, one: Question) -> None:
    kinds = {"one": "multichoice", "several": "multichoice", "true or false": "truefalse",
             "number": "numerical"}  # fmt: skip
    item = ET.SubElement(root, "question", {"type": kinds[one.kind]})
    add(item, "name", one.title, "name")
    add(item, "questiontext", one.question, "html")
    right = [each for each in one.options if each.right]
    general = f"{quiz.chapter} · {one.section}"
    if one.kind == "number":
        general = f"**{number(right[0].text)}**\n\n{right[0].because}\n\n{general}"
    add(item, "generalfeedback", general, "html")
    add(item, "defaultgrade", "1")
    add(item, "penalty", "1" if one.kind == "true or false" else "0.3333333")
    add(item, "hidden", "0")
    add(item, "idnumber", f"{quiz.name}/{one.id}")
    if one.kind in ("one", "several"):
        add(item, "single", "true" if one.kind == "one" else "false")
        add(item, "shuffleanswers", "true")
        add(item, "answernumbering", "abc")
    wrong = len(one.options) - len(right)
    for each in one.options:
        share = 100 / len(right) if each.right else 0.0
        if one.kind == "several" and not each.right:
            share = -100 / wrong  # who ticks everything gets nothing
        how = "html" if one.kind in ("one", "several") else "moodle_auto_format"
        text = each.text.lower() if one.kind == "true or false" else each.text
        answer = add(item, "answer", text, how, fraction=f"{share:.7g}")
        add(answer, "feedback", each.because, "html")
        if one.kind == "number":
            add(answer, "tolerance", str(one.tolerance))
    tags = ET.SubElement(item, "tags")
    for tag in (one.level, one.asks):
        add(tags, "tag", tag, "name")


def moodle(quizzes: list[Quiz]) -> str:
    """Return quizzes as Moodle XML: a category a chapter, a reason with every answer."""
    root = ET.Element("quiz")
    for quiz in quizzes:
        item = ET.SubElement(root, "question", {"type": "category"})
        name = f"{quiz.name[:2]} {quiz.chapter}".replace("/", "//")  # a single one parts levels
        add(item, "category", f"$course$/top/Learning to learn with Meta-SGD/{name}", "name")
        for one in quiz.questions:
            moodle_question(root, quiz, one)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def export(folder: Path) -> None:
    """Write a file a chapter, and one with all of them."""
    quizzes = load_all()
    folder.mkdir(parents=True, exist_ok=True)
    parts = {quiz.name: [quiz] for quiz in quizzes} | {"all-chapters": quizzes}
    for name, those in parts.items():
        text = '<?xml version="1.0" encoding="UTF-8"?>\n' + moodle(those)
        (folder / f"{name}.xml").write_text(text, encoding="utf-8")
    count = sum(len(quiz.questions) for quiz in quizzes)
    print(f"{count} questions on {len(quizzes)} chapters, as Moodle XML: {folder}/all-chapters.xml")


def main(words: list[str]) -> int:
    try:
        match words:
            case []:
                for quiz in load_all():
                    asked = [one.asks for one in quiz.questions]
                    counts = ", ".join(f"{asked.count(kind)} {kind}" for kind in ASKS)
                    print(f"{quiz.name:<28} {len(asked):2}: {counts}")
            case ["--export", folder]:
                export(Path(folder))
            case _:
                print("python tools/quizzes.py [--export FOLDER]")
                return 2
    except ValueError as fault:
        print(fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
