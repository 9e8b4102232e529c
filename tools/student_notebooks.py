"""The notebooks behind the buttons of the pages, made from the chapters as the book is built.

Plain Markdown for Colab and any Jupyter, no outputs, and the package pinned. Students get an empty
cell in place of each solution; the same with the solutions, for teachers, is in a folder below.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from repository import PUBLISHED, published, readdressed, revision
from sphinx.addnodes import number_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import new_document
from sphinx.util.logging import getLogger

FOLDER = "notebooks"
TEACHERS = f"{FOLDER}/teacher"

ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
LABEL = re.compile(r"^ *\([\w-]+\)=\n+", re.MULTILINE)
EQUATION = re.compile(r"\$\$ *\(([\w-]+)\)$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./#-]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
# A fence of backticks or colons; a longer one may hold a shorter one.
BLOCK = re.compile(
    r"^ *(`{3,}|~{3,}|:{3,})(?:\{([\w:-]+)\})? *(.*)\n((?:.*\n)*?) *\1[`~:]*$", re.MULTILINE
)
OPTIONS = re.compile(r"\s*(?::(\w[\w-]*): *(.*)\n)*\s*")
SOLUTION = re.compile(
    r"^(?:`{3,}|:{3,})\{solution-(start|end)\} *(.*)\n(?:.*\n)*?(?:`{3,}|:{3,})$", re.MULTILINE
)
BOXES = {
    "admonition", "attention", "caution", "danger", "dropdown", "hint", "important", "note",
    "seealso", "tip", "warning",
}  # fmt: skip


def markdown(node: nodes.Node, here: str | None) -> str:
    """Return a resolved reference as Markdown; it links from `here`, or not where that is None."""
    inside = "".join(markdown(child, here) for child in node.children)
    match node:
        case nodes.reference() | number_reference() if here:
            place = node.get("refuri") or f"#{node['refid']}"
            return f"[{inside}]({urljoin(here, place)})"
        case nodes.math():
            return f"${node.astext()}$"
        case nodes.emphasis():
            return f"*{inside}*"
        case nodes.literal() if not isinstance(node.parent, number_reference):
            return f"`{inside}`"
        case nodes.Text():
            return node.astext()
    return inside


def notebooks(app: Sphinx) -> dict[str, Path]:
    """Return the files of the pages that are notebooks."""
    files = {page: Path(app.env.doc2path(page)) for page in sorted(app.env.found_docs)}
    return {page: file for page, file in files.items() if file.suffix == ".ipynb"}


def known(app: Sphinx) -> dict[str, str]:
    """Return what only the whole book knows.

    What each role says and links, by its text; the address of each page, by its name, and of each
    place, by what a link calls it; the number of what is numbered, by its label.
    """
    builder: Any = app.builder
    book, root = published(app.config.repository), app.config.root_doc
    here = book and urljoin(book, builder.get_target_uri(root))
    found, document = {}, new_document(root)
    for page in app.env.found_docs:
        address = book and urljoin(book, builder.get_target_uri(page))
        found[page] = address or app.config.repository
        for kind, numbers in app.env.toc_fignumbers.get(page, {}).items():
            form = app.config.numfig_format.get(kind, "%s")
            found |= {name: form % ".".join(map(str, number)) for name, number in numbers.items()}
    references = {}
    for page in notebooks(app):
        for reference in app.env.get_doctree(page).findall(pending_xref):
            target = f"{reference['reftarget']}#{reference.get('reftargetid') or ''}".strip("#")
            references[reference.rawsource or target] = reference
    for name, reference in references.items():
        document += nodes.paragraph("", "", reference.deepcopy(), name=name)
        document[-1][0]["refdoc"] = root
    app.env.resolve_references(document, root, builder)
    for paragraph in document.findall(nodes.paragraph):
        name = paragraph["name"]
        if name.startswith(":term:"):
            found[name] = paragraph.astext()
        elif name.startswith(":"):
            found[name] = markdown(paragraph, here)
        elif (link := next(paragraph.findall(nodes.reference), None)) and here:
            place = link.get("refuri") or f"#{link.get('refid', '')}"  # neither: it leads nowhere
            found[name] = urljoin(here, place)
    return found


def inline(text: str, page: str, known: dict[str, str]) -> str:
    """Return text between directives as plain Markdown."""

    def said(role: re.Match[str]) -> str:
        return known[f":{role[1]}:`{' '.join(role[2].split())}`"]

    def linked(link: re.Match[str]) -> str:
        path, _, place = link[1].partition("#")
        if path.endswith((".md", ".ipynb")):
            path = urljoin(page, path.rsplit(".", 1)[0])
        return f"]({known.get(f'{path}#{place}'.strip('#'), link[1])})"

    text = LABEL.sub("", text)
    text = EQUATION.sub(lambda found: f"\\tag{{{known[f'equation-{found[1]}']}}}$$", text)
    text = PICTURE.sub(lambda found: f"[{found[1]}]({known[page]})", text)
    return ROLE.sub(said, LINK.sub(linked, text))


def block(found: re.Match[str], page: str, known: dict[str, str]) -> str:
    """Return a directive as plain Markdown, and a piece of code as it is."""
    _, name, title, body = found.groups()
    if name is None:
        return found[0]
    options = OPTIONS.match(body)
    assert options is not None
    inside = plain(body[options.end() :], page, known).strip()
    label = re.search(r"^:(?:label|name): (\S+)$", options[0], re.MULTILINE)
    place = label[1] if label else ""
    if name in BOXES:
        title = inline(title, page, known) or name.capitalize()
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *inside.split("\n")])
    if name in ("exercise", "exercise-start"):
        return f"### {known[place]}\n\n{inside}".rstrip()
    if name == "exercise-end":
        return ""
    if name in ("figure", "image", "interactive"):
        here = urljoin(known[page], f"#{place}" if place else "")
        return f"[{known.get(place, 'The figure')}]({here})\n\n{inside}".rstrip()
    raise ValueError(f"no notebook for students can show {{{name}}}: teach tools/{__name__}.py how")


def plain(text: str, page: str, known: dict[str, str]) -> str:
    """Return MyST as plain Markdown, without blank lines at its ends."""
    done, end = [], 0
    for found in BLOCK.finditer(text):
        done += [inline(text[end : found.start()], page, known), block(found, page, known)]
        end = found.end()
    text = "".join([*done, inline(text[end:], page, known)])
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def code(cell: Any) -> Any:
    """Return a cell of code as it was before it ran; what the page folds to check is folded."""
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}}
    checks = "hide-cell" in cell.metadata.get("tags", [])
    return nbformat.v4.new_code_cell(cell.source, id=cell.id, metadata=folded if checks else {})


def notice(address: str, package: str) -> str:
    """Return what stands under the title."""
    return (
        f"*This notebook goes with [a page of the book]({address}), which has solutions of the "
        "exercises. On Colab the next cell installs what it needs. Elsewhere, install that first:* "
        f'`pip install "{package}"`'
    )


def convert(
    notebook: Any, page: str, known: dict[str, str], package: str, *, solutions: bool
) -> Any:
    """Return the notebook of a chapter for students, or with its solutions.

    Raises
    ------
    ValueError
        If it has a directive that has no plain form here.
    KeyError
        If a role or a label is none of `known`.
    """
    cells, inside = [], False

    def text(source: str, name: str) -> None:
        if source:
            cells.append(nbformat.v4.new_markdown_cell(source, id=name))

    for cell in notebook.cells:
        if cell.cell_type == "code":
            if inside and not solutions:
                continue
            cells.append(code(cell))
            figure = cell.metadata.get("mystnb", {}).get("figure")
            if figure and "hide-output" not in cell.metadata.get("tags", []):  # a guess comes first
                caption = plain(figure["caption"], page, known)
                text(f"**{known[figure['name']]}.** {caption}", figure["name"])
            continue
        first, *more = SOLUTION.split(cell.source)
        pieces = [("", "", first), *zip(more[::3], more[1::3], more[2::3], strict=True)]
        for k, (mark, exercise, source) in enumerate(pieces):
            if mark == "start":
                inside = True
                if solutions:
                    text(f"**Solution of {known[exercise]}**", f"solution-{exercise}")
                else:
                    empty = nbformat.v4.new_code_cell("# your code here", id=exercise)
                    cells.append(empty)
            elif mark == "end":
                inside = False
            if solutions or not inside:
                text(plain(source, page, known), f"{cell.id}-{k}" if k else cell.id)
    title, _, rest = cells[0].source.partition("\n")
    title += " (with solutions)" if solutions else ""
    cells[0].source = f"{title}\n\n{notice(known[page], package)}\n{rest}"
    made = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    made.nbformat_minor = 5
    nbformat.validate(made)
    return made


def write_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Write both notebooks of each chapter beside the pages, in place of its source."""
    if exception or app.builder.name != "html":
        return
    address, pin, book = app.config.repository, revision(), known(app)
    for page, source in notebooks(app).items():
        text = readdressed(source.read_text(encoding="utf-8"), address, pin)
        chapter = nbformat.v4.reads(text)
        for folder, solutions in ((FOLDER, False), (TEACHERS, True)):
            try:
                made = convert(chapter, page, book, f"git+{address}@{pin}", solutions=solutions)
            except (KeyError, ValueError) as error:
                getLogger(__name__).error(f"no notebook for students: {error}", location=page)
                break
            target = Path(app.outdir) / folder / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(nbformat.writes(made) + "\n", encoding="utf-8")
        (Path(app.outdir) / "_sources" / f"{page}.ipynb").unlink(missing_ok=True)


def lead_to_notebooks(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Let a chapter's buttons lead to the student's notebook.

    Colab reads notebooks from a branch on GitHub, so that is where the built book is published.
    """
    if not app.env.doc2path(page).endswith(".ipynb"):
        return
    file = f"{FOLDER}/{Path(page).name}.ipynb"
    groups = (group.get("buttons", []) for group in context.get("header_buttons", []))
    for button in (button for group in groups for button in group):
        if button.get("label") == "download-source-button":
            button["url"] = context["pathto"](file, resource=True)
            button["tooltip"] = "Download the notebook"
        elif button["text"] == "Colab":
            where = app.config.repository.removeprefix("https://github.com/")
            colab = app.config.html_theme_options["launch_buttons"]["colab_url"]
            button["url"] = f"{colab}/github/{where}/blob/{PUBLISHED}/{file}"
