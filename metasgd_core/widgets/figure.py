"""What the interactive figures share: their JavaScript joined, a picture for where none runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from metasgd_core.widgets.constants import MET, constant

HERE = Path(__file__).parent


@cache
def module_text(sources: tuple[str, ...], given: Callable[[str], str] = constant) -> str:
    """Return the named files as one ES module: loaded from a blob, it cannot import others.

    Each script has the line before it that gives it its constant.
    """
    paths = [HERE / name for name in sources]
    return "\n".join(given(p.stem) + p.read_text(encoding="utf-8") for p in paths)


def within(ranges: Mapping[str, tuple[float, float]]) -> Any:
    """Return a validator that keeps the traits of these names within their ranges."""

    @traitlets.validate(*ranges)
    def check(self: Figure, proposal: dict[str, Any]) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = ranges[name]
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must be from {low:g} to {high:g}, got {value}")
        return float(value) if isinstance(low, float) else value

    return check


def met(*names: str) -> list[str]:
    """Return what a reader has met where these starts or methods stand, in the book's order."""
    last = max(k for k, group in enumerate(MET) if {*group} & {*names})
    return [name for group in MET[: last + 1] for name in group]


def png(picture: Picture) -> bytes:
    """Return a matplotlib figure as the bytes of a PNG, the same wherever it is drawn."""
    file = BytesIO()
    FigureCanvasAgg(picture).print_png(file, metadata={"Software": None})
    return file.getvalue()


class Figure(anywidget.AnyWidget):
    """An interactive figure that computes in the page, with or without a kernel.

    A subclass names its JavaScript in `sources`, a stable id in `_figure_id`, and draws its state
    with matplotlib in `picture`. Its public traits, tagged ``sync=True``, are its state: what Reset
    brings back and what a link holds.

    Parameters
    ----------
    figure_id : str, optional
        Names the figure in a link, when a page has two of one kind.
    **traits
        The state that the figure begins with.
    """

    sources: ClassVar[tuple[str, ...]] = ("shared/words.js", "shared/frame.js", "shared/draw.js")
    _figure_id: ClassVar[str] = "figure"
    _css = module_text(("shared/figure.css",))

    _figure = traitlets.Unicode().tag(sync=True)
    _state = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "sources" in cls.__dict__:  # not the class that anywidget makes of each instance
            cls._esm = module_text(cls.sources)
        super().__init_subclass__(**kwargs)

    def __init__(self, *, figure_id: str | None = None, **traits: Any) -> None:
        inherited = set(anywidget.AnyWidget.class_trait_names(sync=True))
        own = [name for name in self.class_trait_names(sync=True) if name not in inherited]
        unknown = set(traits) - set(self.class_trait_names())
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(sorted(unknown))}; "
                f"it has {', '.join(sorted(n for n in own if not n.startswith('_')))}"
            )
        super().__init__(
            _figure=figure_id or self._figure_id,
            _state=sorted(name for name in own if not name.startswith("_")),
            **traits,
        )

    def arguments(self) -> dict[str, Any]:
        """Return the keywords that make this figure again; none where no keywords can.

        A notebook stores them beside the picture, and no code: the built page makes the figure
        from them anew.
        """
        return {"figure_id": self._figure, **{name: getattr(self, name) for name in self._state}}

    def picture(self) -> bytes:
        """Return the present state as a PNG, for viewers that run no JavaScript."""
        raise NotImplementedError

    def __repr__(self) -> str:
        name = "" if self._figure == self._figure_id else f"figure_id={self._figure!r}"
        return f"{type(self).__name__}({name})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        pictured = {"text/plain": repr(self), "image/png": b64encode(self.picture()).decode()}
        if arguments := self.arguments():
            again = {"figure": type(self).__name__, "arguments": arguments}
            metadata = {**metadata, "metasgd_core": again}
        return {**data, **pictured}, metadata
