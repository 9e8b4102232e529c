"""What the book's build needs and `_config.yml` cannot say."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import quizzes
from docutils import nodes
from figures_hook import Interactive, InteractiveLink, lean_assets, load_figures, make_figures
from pictures_hook import make_pictures, set_widths
from pybtex.backends.plaintext import Backend
from pybtex.plugin import register_plugin
from repository import DEFAULT, published, readdressed, repository
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError
from sphinx.util.logging import getLogger
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles
from student_notebooks import lead_to_notebooks, write_notebooks

# All that the pages ask for. The package carries 24 MB more.
MATHJAX_PARTS = ["tex-mml-chtml.js", "input/tex/extensions", "output/chtml/fonts"]
GLOSSARY = "book/glossary"
TERM = re.compile(r'<a class="reference internal" href="[^"]*glossary\.html#(term-[^"]+)"')


def set_theme_options(app: Sphinx, config: Config) -> None:
    """Add to Jupyter Book's theme options; in `_config.yml` they would replace them."""
    try:
        address = config.repository = repository()
        published(address)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    options = config.html_theme_options
    github = address.startswith("https://github.com/")
    if not github:
        options["launch_buttons"] = {}  # Colab opens notebooks from GitHub alone
    options.update(
        repository_url=address,
        repository_provider="github" if github else "gitlab",  # the theme knows no third
        use_repository_button=True,
        navbar_persistent=[],  # else the page has two search fields
        search_bar_text="Search this book",
    )


def number_by_file(app: Sphinx) -> None:
    """Give each chapter its file's number: one that is not written yet moves no other.

    Figures, equations and exercises of a companion page go on counting where the chapter ends.
    """
    in_order = TocTreeCollectorWithStyles.assign_section_numbers

    def assign(collector: TocTreeCollectorWithStyles, env: BuildEnvironment) -> list[str]:
        changed = in_order(collector, env)
        for page in env.found_docs:
            if not (name := re.match(r"(\d+)-", Path(page).name)):
                continue
            chapter = int(name[1])
            anchors = [place["anchorname"] for place in env.tocs[page].findall(nodes.reference)]
            alone = dict.fromkeys(anchors) | {"": (chapter,)}  # a companion: its title alone
            numbers: dict[str, Any] = env.toc_secnumbers.get(page, alone)
            env.toc_secnumbers[page] = {
                anchor: number and (chapter, *number[1:]) for anchor, number in numbers.items()
            }
            for node in (env.titles[page], *env.tocs[page].findall(nodes.reference)):
                if number := node.get("secnumber"):
                    node["secnumber"] = (chapter, *number[1:])
        return changed

    TocTreeCollectorWithStyles.assign_section_numbers = assign  # type: ignore[method-assign]


def set_address(app: Sphinx, page: str, source: list[str]) -> None:
    """Write this repository's address where a page has the default, as in the setup cells."""
    source[0] = readdressed(source[0], app.config.repository)


def set_address_in_copies(app: Sphinx, exception: Exception | None) -> None:
    """Do the same to the files that the pages offer, such as the citation."""
    for folder in ("_sources", "_downloads"):
        for path in (Path(app.outdir) / folder).rglob("*.*"):
            if DEFAULT.encode() in (data := path.read_bytes()):
                path.write_bytes(readdressed(data.decode(), app.config.repository).encode())


def mend_icon(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Give the button of a forge that the theme does not know git's sign, in GitLab's place."""
    for button in context.get("header_buttons", []):
        if button.get("icon") == "fab fa-gitlab" and "gitlab" not in button["url"]:
            button["icon"] = "fab fa-git-alt"


def mend_roles(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Mend what the pages tell a screen reader."""
    body = context.get("body", "")
    # docutils' role of a bibliography's entries, which ARIA has deprecated
    body = body.replace('role="doc-biblioentry"', 'role="listitem"')
    # MyST-NB's name for every folded cell, in place of the text that is seen
    context["body"] = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def name_folds(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Name each fold of the table of contents by its chapter: the theme gives it no name."""
    if contents := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *which, **options: re.sub(
            r"(>([^<]+)</a><details[^>]*><summary)>",
            r'\1 aria-label="\2">',
            str(contents(*which, **options)),
        )


def meanings(app: Sphinx) -> dict[str, nodes.definition]:
    """Return what the glossary says of each term, by the term's anchor, without its citations."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        meaning = next(item.findall(nodes.definition))
        for link in list(meaning.findall(pending_xref)):
            place = link.parent.index(link)
            link.parent[place : place + 1] = [] if link["refdomain"] == "cite" else link.children
        found.update(dict.fromkeys((name["ids"][0] for name in item.findall(nodes.term)), meaning))
    return found


def explain_terms(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Put beside a page the meaning of each term that it links; `book.js` shows it in place."""
    body = context.get("body", "")
    if page == GLOSSARY or GLOSSARY not in app.env.found_docs:
        return
    builder: Any = app.builder
    if linked := TERM.findall(body):
        known = meanings(app)
        body = TERM.sub(r'\g<0> aria-describedby="meaning-\1"', body)
    for term in dict.fromkeys(linked):
        text = "".join(builder.render_partial(part)["fragment"] for part in known[term])
        text = re.sub(r"\s+(?=[.,;])", "", text)  # where a citation stood
        body += f'<div class="meaning" role="tooltip" id="meaning-{term}" hidden>{text}</div>'
    context["body"] = body


def make_quiz(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make a page of a quiz, whose source is YAML."""
    if (path := Path(app.env.doc2path(docname))).suffix == ".yml":
        try:
            source[0] = quizzes.page(quizzes.load(path))
        except ValueError as fault:
            getLogger(__name__).error(str(fault), location=docname)
            source[0] = f"# {path.stem}\n"


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax beside the pages, from the package that carries it (it needs no Django)."""
    spec = find_spec("mathjax")
    if exception or app.builder.format != "html":
        return
    if spec is None or spec.origin is None:
        raise RuntimeError("MathJax is missing: pip install django-static-mathjax")
    source = Path(spec.origin).parent / "static" / "mathjax" / "es5"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def skip_tuple_fields(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out "Alias for field number 0": the class describes its fields under Attributes."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field") else None


def style_quiz(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Load the style of quizzes on the pages that hold one, and on no other."""
    if "quiz-key" in context.get("body", ""):
        app.add_css_file("quiz.css")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("comments_config", {}, "html")  # Jupyter Book sets it for sphinx_comments
    app.add_config_value("repository", DEFAULT, "env")  # pages are read again when it changes
    # Else pybtex looks for it in all packages, once for each citation: two seconds.
    register_plugin("pybtex.backends", "plaintext", Backend, force=True)
    app.add_directive("interactive", Interactive)
    app.add_role("interactive", InteractiveLink())
    app.add_source_suffix(".yml", "myst-nb")
    app.connect("config-inited", set_theme_options, priority=100)
    app.connect("builder-inited", number_by_file)
    app.connect("source-read", make_quiz)
    app.connect("source-read", set_address)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("html-page-context", mend_roles)
    app.connect("html-page-context", explain_terms)
    app.connect("source-read", make_figures)
    app.connect("html-page-context", load_figures)
    app.connect("html-page-context", style_quiz)
    app.connect("doctree-read", make_pictures, priority=400)  # before Sphinx collects images
    app.connect("html-page-context", set_widths)
    app.connect("html-page-context", name_folds, priority=502)
    app.connect("html-page-context", mend_icon, priority=502)  # after the theme's buttons
    app.connect("html-page-context", lead_to_notebooks, priority=502)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", set_address_in_copies)
    app.connect("build-finished", write_notebooks)
    app.connect("build-finished", lean_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
