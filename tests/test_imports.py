"""Who may import whom: the arrows of the package point one way, and this reads the imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "metasgd_core"

# types <- rules, models, policy_gradient, tasks <- alpha <- adaptation, methods <- readers
# <- objectives <- training <- meta_training, evaluation <- studies, plotting <- widgets;
# environments and characters stand alone
CORE = {"types", "models", "rules", "alpha", "adaptation", "methods", "readers"}
MAY_IMPORT = {
    "types": set(),
    "environments": set(),
    "characters": set(),
    "models": {"types", "models"},
    "rules": {"types", "rules"},
    "alpha": {"types", "rules"},
    "adaptation": {"types", "rules", "alpha"},
    "methods": {"types", "rules", "alpha"},
    "policy_gradient": {"types"},
    "tasks": {"types", "models", "policy_gradient", "tasks"},
    "readers": {"types", "models", "adaptation", "methods"},
    "objectives": CORE | {"policy_gradient"},
    "training": {"types", "models", "rules", "alpha", "methods", "objectives", "training"},
    **{name: {"training"} for name in ("checkpoint", "compiled", "processes")},  # where they were
    "meta_training": {"types", "methods", "training"},
    "evaluation": CORE,
    "floor": {"types", "tasks"},
    "trpo": set(),
    "theophylline": {"types", "tasks"},
    "studies": CORE | {
        "characters", "checkpoint", "policy_gradient", "objectives", "meta_training", "evaluation",
        "floor",
        "tasks", "theophylline", "training", "trpo", "studies",
    },
    "plotting": {"types", "methods", "meta_training", "evaluation"},
    "widgets": {
        "types", "models", "alpha", "adaptation", "environments", "methods", "evaluation", "floor",
        "policy_gradient", "rules", "tasks", "theophylline", "meta_training", "studies", "plotting",
        "widgets",
    },
}
# The packages that one module alone may know.
ONLY_IN = {
    "gymnasium": {"environments"},
    "anywidget": {"widgets"},
    "ipywidgets": {"widgets"},
    "matplotlib": {"plotting", "widgets", "characters"},
    "safetensors": {"training"},
    "scipy": {"evaluation", "theophylline"},
    "torchvision": {"characters"},
    "tqdm": {"meta_training"},
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Return the dotted names of all imports, also of those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: import by the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    module = module_of(path)
    assert module in MAY_IMPORT, f"{module} has no place in the order yet: give it one here"
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "metasgd_core":
            assert rest[0] in MAY_IMPORT[module], f"{module} may not import {name}"
        else:
            assert module in ONLY_IN.get(first, {module}), f"{module} may not import {first}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name != "__main__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_nothing_prints_but_a_command(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not [node.lineno for node in calls if getattr(node.func, "id", None) == "print"]
