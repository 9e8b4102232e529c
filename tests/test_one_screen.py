"""What a reader must take in at once stays as short as it was when it was easy to read."""

import ast
import inspect
from pathlib import Path

import pytest
from conforming import EXAMPLES

from metasgd_core import adaptation, meta_training, objectives, rules


def body(function):
    """Return the lines of a function's body, without its docstring."""
    (node,) = ast.parse(inspect.getsource(function)).body
    statements = node.body[1:] if ast.get_docstring(node) else node.body
    return statements[-1].end_lineno - statements[0].lineno + 1


@pytest.mark.parametrize(
    ("function", "most"),
    [
        (meta_training.meta_train, 50),
        (adaptation.adapt, 10),
        (objectives.query, 10), (objectives.joint, 10), (objectives.reptile, 10),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_spine_fits_a_screen(function, most):
    assert body(function) <= most


@pytest.mark.parametrize("path", sorted(Path(rules.__path__[0]).glob("[!_]*.py")),
                         ids=lambda path: path.stem)
def test_the_step_of_every_rule_is_fifteen_lines(path):
    """Chapter 11 sets them side by side."""
    steps = [node for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.FunctionDef) and node.name in ("step", "move", "descend")]
    assert steps
    assert max(node.body[-1].end_lineno - node.body[0].lineno + 1 for node in steps) <= 15


def test_a_rule_and_a_family_of_ones_own_take_fifteen_lines_each():
    """CONTRIBUTING shows one of each; what they need beside them counts, all but the imports."""
    for code in EXAMPLES:
        nodes = [node for node in ast.parse(code).body if not hasattr(node, "names")]
        *_, last = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef))
        assert sum(map(bool, code.splitlines()[nodes[0].lineno - 1 : last.end_lineno])) <= 15
