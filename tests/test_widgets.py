"""The interactive figures as Python sees them: state, picture, refusals, and one palette."""

import json
import re
import tomllib
from base64 import b64decode
from fnmatch import fnmatch
from pathlib import Path

import pytest
import traitlets
from anywidget import AnyWidget

import metasgd_core.widgets
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import HERE, Figure, module_text

PUBLIC = [getattr(metasgd_core.widgets, name) for name in metasgd_core.widgets.__all__]
CLASSES = [cls for cls in PUBLIC if issubclass(cls, Figure)]
each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@each
def test_shows_a_picture_where_nothing_runs(cls):
    data, _ = cls()._repr_mimebundle_()
    assert data["text/plain"] == f"{cls.__name__}()"
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}


@each
def test_picture_is_the_same_each_time(cls):
    assert cls().picture() == cls().picture()


@each
def test_state_is_what_a_link_can_hold(cls):
    figure = cls()
    state = {name: getattr(figure, name) for name in figure._state}
    assert state
    assert not [name for name in state if name.startswith("_")]
    again = cls(**json.loads(json.dumps(state)))
    assert {name: getattr(again, name) for name in again._state} == state


@each
def test_a_notebook_stores_what_makes_it_again(cls):
    """Two words and a few numbers: no script, no weights, whatever the figure has grown to."""
    figure = cls(figure_id="second")
    _, metadata = figure._repr_mimebundle_()
    text = json.dumps(metadata)
    assert len(text) < 1000
    stored = json.loads(text)["metasgd_core"]
    assert stored["figure"] == cls.__name__
    assert {"figure_id", *figure._state} <= stored["arguments"].keys()
    again = cls(**stored["arguments"])
    names = set(figure.keys) - set(AnyWidget().keys)
    assert {name: getattr(again, name) for name in names} == {
        name: getattr(figure, name) for name in names
    }


@each
def test_unknown_names_are_refused(cls):
    with pytest.raises(TypeError, match=f"^{cls.__name__} has no nonsense; it has "):
        cls(nonsense=1)


@each
def test_a_second_one_has_a_name_of_its_own(cls):
    figure = cls(figure_id="second")
    assert figure._figure == "second"
    assert repr(figure) == f"{cls.__name__}(figure_id='second')"
    with pytest.raises(traitlets.TraitError):
        cls(figure_id=3)


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("theme", "least"), [("light", 3), ("dark", 4.5)])
def test_lines_stand_out(theme, least):
    """A contrast of 3 to 1 on white, as WCAG asks of graphics; thin lines on black need more."""
    colours = CONSTANTS["frame"]["themes"][theme]
    for name in colours.keys() - {"grid", "background"}:
        both = sorted(luminance(colours[part]) + 0.05 for part in (name, "background"))
        assert both[1] / both[0] >= least, name


@each
def test_module_is_whole(cls):
    """One scope for all sources: no imports, one export, no name declared twice."""
    text = module_text(cls.sources)
    assert cls()._esm == text
    assert not re.search(r"^import\b", text, flags=re.MULTILINE)
    assert re.findall(r"^export.*", text, flags=re.MULTILINE) == ["export default { render };"]
    names = re.findall(r"^(?:async )?(?:function\*?|const|let) (\w+)", text, flags=re.MULTILINE)
    assert len(names) == len(set(names))


def test_a_change_in_python_reaches_the_state():
    class Small(Figure):
        sources = ("shared/frame.js",)
        _figure_id = "small"
        rate = traitlets.Float(0.5).tag(sync=True)
        hidden = traitlets.Float(0.5)

        def picture(self):
            return b""

    figure = Small()
    figure.rate = 0.25
    assert figure._state == ["rate"]
    assert figure.get_state()["rate"] == 0.25
    assert "hidden" not in figure.get_state()


def test_all_files_are_package_data():
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["metasgd_core"]
    for path in Path(HERE).rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            name = path.relative_to(HERE.parent).as_posix()
            assert any(fnmatch(name, pattern) for pattern in patterns), name
