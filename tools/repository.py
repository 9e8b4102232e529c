"""The addresses of the book's repository and of its pages, which a fork need not write anywhere.

python tools/repository.py     prints both
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEFAULT = str(PROJECT["urls"]["Repository"])
#: The branch that holds the built book, on which Colab finds the notebooks.
PUBLISHED = "gh-pages"
# A public host, then owner (on GitLab with subgroups) and name. No port, no user: readers see it.
FORGE = re.compile(
    r"https://(?:[a-z0-9-]+\.)+(?!(?:local|internal|localhost)/)[a-z]{2,}(?:/\w[\w.-]*){2,}",
    re.ASCII | re.IGNORECASE,
)
SSH = re.compile(r"^(?:ssh://git@([^:/]+)/|git@([^:/]+):)")


def cleaned(address: str) -> str:
    """Return a remote's address as a browser opens it: over https, without password and .git."""
    address = SSH.sub(r"https://\1\2/", address.strip())
    address = re.sub(r"^(\w+://)[^/]*@", r"\1", address)
    return address.rstrip("/").removesuffix(".git")


def git(*words: str) -> str:
    """Return what git says of this repository, or nothing where there is no git or no answer."""
    if not (ROOT / ".git").exists():  # unpacked inside another repository
        return ""
    try:
        said = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    except OSError:
        return ""
    return "" if said.returncode else said.stdout.strip()


def origin() -> str:
    """Return git's ``origin`` as it is set, or nothing."""
    return git("remote", "get-url", "origin")


def repository() -> str:
    """Return the repository's address, such as ``https://github.com/owner/name``.

    ``REPOSITORY`` or ``GITHUB_REPOSITORY`` in the environment says it, as an address or as
    owner/name on ``GITHUB_SERVER_URL``; else git's ``origin``, where that is on a public forge;
    else pyproject.toml.

    Raises
    ------
    ValueError
        If the environment names something that is no such address.
    """
    for variable in ("REPOSITORY", "GITHUB_REPOSITORY"):
        if given := os.environ.get(variable, "").strip():
            address = cleaned(given)
            if re.fullmatch(r"[^/:]+/[^/:]+", address):
                server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
                address = f"{server.rstrip('/')}/{address}"
            if not FORGE.fullmatch(address):
                raise ValueError(
                    f"{variable} must be owner/name or https://host/owner/name, got {address!r}"
                )
            return address
    address = cleaned(origin())
    return address if FORGE.fullmatch(address) else DEFAULT


def published(address: str) -> str | None:
    """Return where the pages of a repository are published, with a final slash, or None.

    ``BOOK_URL`` in the environment says it; GitHub's own place for them needs no saying.
    """
    if given := os.environ.get("BOOK_URL", "").strip():
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", given):
            raise ValueError(f"BOOK_URL must begin with https://, got {given!r}")
        return f"{given.rstrip('/')}/"
    if not (found := re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)", address)):
        return None
    host, name = f"{found[1].lower()}.github.io", found[2]
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def revision() -> str:
    """Return what the notebooks pin the package to: the release, or else the commit.

    The release, where its tag is checked out or there is no git. Between two releases chapters
    need the package beside them; and a fork may lack the tags.
    """
    release = f"v{PROJECT['version']}"
    tagged = git("describe", "--tags", "--exact-match", "--match", release)
    return tagged or git("rev-parse", "HEAD") or release


def readdressed(text: str, address: str, revision: str = "") -> str:
    """Return a text with an address in place of the default; what pip installs is pinned, too."""
    # Not where a longer name begins with it, as that of a translation may.
    default = re.compile(rf"(git\+)?{re.escape(DEFAULT)}(?![\w-])")
    package = f"git+{address}@{revision}" if revision else f"git+{address}"
    return default.sub(lambda found: package if found[1] else address, text)


if __name__ == "__main__":
    try:
        print(address := repository(), published(address), sep="\n")
    except ValueError as error:
        sys.exit(str(error))
