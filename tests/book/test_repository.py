"""A fork's book leads to the fork: its address from the environment, git, or pyproject.toml."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import repository as tool
from conftest import ROOT
from figures import build
from repository import DEFAULT, PROJECT, cleaned, published, readdressed, repository, revision
from sphinx.errors import ConfigError
from sphinx_hooks import set_theme_options

FORK = "https://github.com/someone/fork"


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    """No address in the environment, and no origin."""
    for variable in ("REPOSITORY", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "BOOK_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tool, "origin", lambda: "")


def test_each_source_comes_before_the_next(monkeypatch):
    assert repository() == DEFAULT
    monkeypatch.setattr(tool, "origin", lambda: "https://github.com/from/git\n")
    assert repository() == "https://github.com/from/git"
    monkeypatch.setenv("GITHUB_REPOSITORY", "from/actions")
    assert repository() == "https://github.com/from/actions"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example.org/")
    assert repository() == "https://github.example.org/from/actions"
    monkeypatch.setenv("REPOSITORY", "https://example.org/from/me/")
    assert repository() == "https://example.org/from/me"
    monkeypatch.setenv("REPOSITORY", "")  # as `make` hands on what is not set
    assert repository() == "https://github.example.org/from/actions"


@pytest.mark.parametrize(
    "remote",
    [
        FORK,
        FORK + "/",
        FORK + ".git",
        FORK + ".git/\n",
        "git@github.com:someone/fork.git",
        "ssh://git@github.com/someone/fork",
        "https://someone:secret@github.com/someone/fork",
        "https://someone:s:e@cret@github.com/someone/fork",
    ],
)
def test_a_forges_remote_is_the_address_readers_open(monkeypatch, remote):
    monkeypatch.setattr(tool, "origin", lambda: remote)
    assert repository() == FORK


@pytest.mark.parametrize("host", ["gitlab.com", "codeberg.org", "git.example.ac.uk"])
def test_other_forges(monkeypatch, host):
    monkeypatch.setattr(tool, "origin", lambda: f"git@{host}:group/sub-group/fork.git")
    assert repository() == f"https://{host}/group/sub-group/fork"


@pytest.mark.parametrize(
    "remote",
    [
        "/home/someone/fork",
        "../fork.git",
        "file:///home/someone/fork",
        "C:\\Users\\someone\\fork",
        "C:/Users/someone/fork",
        "http://github.com/someone/fork",
        "git://github.com/someone/fork",
        "https://github.com",
        "https://github.com/fork",
        "https://github.com/../fork",
        "https://localhost/someone/fork",
        "https://forge/someone/fork",
        "https://forge.internal/someone/fork",
        "https://10.0.0.5/someone/fork",
        "https://git.example.org:8443/someone/fork",
        "https://some/one:secret@github.com/someone/fork",
        "git@work:someone/fork.git",
        "ssh://git@ssh.github.com:443/someone/fork.git",
    ],
)
def test_no_other_remote_is_shown_to_readers(monkeypatch, remote):
    """A path of someone's machine, an inner host, a password."""
    monkeypatch.setattr(tool, "origin", lambda: remote)
    assert repository() == DEFAULT


@pytest.mark.parametrize("given", ["fork", "a/b/c", "http://example.org/a/b", "/home/a/b", "a b/c"])
def test_a_malformed_address_is_said_in_one_sentence(monkeypatch, given):
    monkeypatch.setenv("REPOSITORY", given)
    with pytest.raises(ConfigError) as error:
        set_theme_options(None, SimpleNamespace(html_theme_options={}))
    assert str(error.value).startswith("REPOSITORY must be owner/name or https://host/owner/name")
    assert given in str(error.value)


def test_a_password_is_not_repeated_in_the_sentence(monkeypatch):
    monkeypatch.setenv("REPOSITORY", "http://someone:secret@example.org/a/b")
    with pytest.raises(ValueError, match=r"got 'http://example\.org/a/b'"):
        repository()


def test_git_is_asked_in_this_repository_alone(tmp_path):
    """An unpacked zip inside another repository has no origin, nor has a folder without git."""
    script = tmp_path / "book" / "tools" / "repository.py"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "repository.py", script)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "book")

    def said():
        return subprocess.check_output([sys.executable, script], text=True).splitlines()[0]

    def git(folder, *words):
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)

    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "origin", "https://github.com/another/repository")
    assert said() == DEFAULT
    git(tmp_path / "book", "init")
    assert said() == DEFAULT
    git(tmp_path / "book", "remote", "add", "origin", "git@github.com:someone/fork.git")
    assert said() == FORK


def test_cleaning_twice_changes_nothing():
    assert cleaned(cleaned(f"{FORK}.git/")) == cleaned(FORK) == FORK


def test_the_pages_are_where_the_forge_publishes_them(monkeypatch):
    assert published(FORK) == "https://someone.github.io/fork/"
    assert published("https://github.com/Someone/Someone.github.io") == "https://someone.github.io/"
    assert published("https://codeberg.org/a/b") is None  # not known: nothing is linked
    monkeypatch.setenv("BOOK_URL", "https://book.example.org/meta")
    for address in (FORK, "https://codeberg.org/a/b"):
        assert published(address) == "https://book.example.org/meta/"
    monkeypatch.setenv("BOOK_URL", "book.example.org")
    with pytest.raises(ConfigError, match=r"BOOK_URL must begin with https://, got 'book\.ex"):
        set_theme_options(None, SimpleNamespace(html_theme_options={}))


def test_the_package_is_pinned_to_the_release_or_else_to_the_commit(tmp_path, monkeypatch):
    """Chapters between two releases need what no release has; a fork may lack the tags."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    release = f"v{PROJECT['version']}"
    assert revision() == release  # an unpacked zip

    def git(*words):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", "-C", tmp_path, *who, *words]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()

    def commit():
        git("commit", "--allow-empty", "-m", "A change")
        return git("rev-parse", "HEAD")

    git("init")
    first = commit()
    assert revision() == first
    git("tag", "v0.0.0")
    assert revision() == first
    git("tag", release)
    assert revision() == release
    second = commit()
    assert revision() == second


def test_a_longer_name_that_begins_with_the_default_is_kept():
    """As that of a translation may: written once more, it would grow."""
    longer = f"{DEFAULT}-zh"
    text = f"[here]({DEFAULT}), {DEFAULT}. pip install 'git+{DEFAULT}' {DEFAULT}/issues"
    once = readdressed(text, longer, "v1")
    assert once == f"[here]({longer}), {longer}. pip install 'git+{longer}@v1' {longer}/issues"
    assert readdressed(once, longer) == once
    assert readdressed(text, DEFAULT) == text


def test_colab_is_offered_where_it_can_open_the_notebooks(monkeypatch):
    def launch_buttons(given):
        monkeypatch.setenv("REPOSITORY", given)
        config = SimpleNamespace(html_theme_options={"launch_buttons": {"colab_url": "..."}})
        set_theme_options(None, config)
        return config.html_theme_options["launch_buttons"]

    assert launch_buttons("someone/fork")
    assert not launch_buttons("https://gitlab.com/someone/fork")


@pytest.mark.slow
def test_a_forks_book_names_the_fork_alone(tmp_path, monkeypatch):
    """In the pages, the cells they show, the notebooks and the citation that they offer."""
    monkeypatch.setenv("REPOSITORY", "https://example.org/someone/fork")
    setup = f'package = "git+{DEFAULT}"'
    index = f"# A book\n\n[Its source]({DEFAULT}), {{download}}`to cite it <../CITATION.cff>`.\n"
    notebooks = {"figures": [("markdown", "# A chapter"), ("code", setup)]}
    html = build(tmp_path, notebooks, index)
    stored = (tmp_path / "book" / "figures.ipynb").read_text(encoding="utf-8")
    assert DEFAULT in stored  # no difference in git
    texts = {path: path.read_bytes() for path in html.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if DEFAULT.encode() in text]
    of_fork = {path.name for path, text in texts.items() if b"example.org/someone/fork" in text}
    assert of_fork >= {"index.html", "figures.html", "figures.ipynb", "index.md", "CITATION.cff"}
    page = (html / "book" / "figures.html").read_text(encoding="utf-8")
    assert "colab.research" not in page
    assert "fa-gitlab" not in page
