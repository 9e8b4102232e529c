"""The address of the book's repository, which a fork need not write anywhere.

python tools/repository.py     prints it
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = str(
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
        "Repository"
    ]
)
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


def origin() -> str:
    """Return git's ``origin`` as it is set, or nothing where there is no git or no such remote."""
    if not (ROOT / ".git").exists():  # unpacked inside another repository
        return ""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""


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


if __name__ == "__main__":
    try:
        print(repository())
    except ValueError as error:
        sys.exit(str(error))
