"""Bind the printed pages: a PDF for each page and one of the whole book, and hold them to what a
reader of paper needs. It needs pypdf (teach/requirements.txt) and nothing of the book's.

python tools/bind_book.py [--printed _build/.printed] [--out _build/pdf]

The students' files are in `--out`, the teacher's, with solutions, in its folder `teacher`.
"""

import argparse
import json
import logging
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    Fit,
    FloatObject,
    NameObject,
    NullObject,
    NumberObject,
    TextStringObject,
)

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"students": "", "teacher": "teacher"}
TEX = re.compile(r"\\(?:\(|\[|begin|end|frac|math\w+|nabla|theta|alpha|phi|text|sum|operatorname)")
FOOT, HEAD = 48, 795  # points: between them is the text of a sheet
FRAME = 24  # a frame of this height has room for a line


def squeezed(text: str) -> str:
    """Return a text without white space, and with ligatures taken apart."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


def at(matrix: Any, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def read(sheet: PageObject) -> tuple[list[tuple[float, float, str]], list[tuple[float, float]]]:
    """Return the texts of a sheet, as (x, y, text), and its coloured frames, as (bottom, top)."""
    texts: list[tuple[float, float, str]] = []
    frames: list[tuple[float, float]] = []
    drawn: dict[bytes, list[float]] = {}  # the last colour, the last rectangle

    def text(said: str, cm: Any, tm: Any, font: Any, size: Any) -> None:
        if said.strip():
            texts.append((*at(cm, tm[4], tm[5]), unicodedata.normalize("NFKC", said.strip())))

    def operator(name: bytes, values: Any, cm: Any, tm: Any) -> None:
        if name in (b"rg", b"re"):
            drawn[name] = [float(value) for value in values]
        elif name in (b"f", b"f*") and b"re" in drawn:
            x, y, width, height = drawn.pop(b"re")
            (left, one), (right, other) = at(cm, x, y), at(cm, x + width, y + height)
            low, high = max(FOOT, min(one, other)), min(HEAD, max(one, other))
            in_page = abs(cm[0] - 0.75) < 0.01  # and not in a picture, which has another scale
            if in_page and min(drawn.get(b"rg", [1])) < 0.999 and right - left > 250:
                frames.append((low, high))

    sheet.extract_text(visitor_text=text, visitor_operand_before=operator)
    return texts, [(low, high) for low, high in frames if high - low > FRAME]


def items(outline: DictionaryObject) -> Iterator[DictionaryObject]:
    """Yield the entries of an outline in their order."""
    item = outline.get("/First")
    while item is not None:
        entry = item.get_object()
        yield entry
        yield from items(entry)
        item = entry.get("/Next")


def examine(entry: dict[str, Any], kind: str, reader: PdfReader) -> Iterator[str]:
    """Yield what is wrong with the printed PDF of one page."""
    titles = {squeezed(title) for title in (*entry["titles"], *entry["headings"])}
    outline = list(items(reader.root_object.get("/Outlines", {})))
    if len(outline) != len(entry["headings"]):
        yield f"its outline has {len(outline)} entries for {len(entry['headings'])} headings"
    whole = ""
    for k, sheet in enumerate(reader.pages):
        number = entry["first"][kind] + k
        texts, frames = read(sheet)
        body = [text for text in texts if FOOT < text[1] <= HEAD]
        foot = "".join(text for x, y, text in texts if y <= FOOT and x > 400)
        if foot != str(number):
            yield f"sheet {k + 1} should have the number {number}, and has {foot!r}"
        if not any(y > HEAD for _, y, _ in texts):
            yield f"page {number} has no title at its head"
        if body:
            lowest = min(y for _, y, _ in body)
            last = squeezed("".join(text for _, y, text in body if y < lowest + 2))
            if last in titles and k + 1 < len(reader.pages):
                yield f"page {number} ends with the title {last!r}, cut from what it stands over"
        for low, high in frames:
            if not any(low - 1 < y < high + 1 for _, y, _ in body):
                yield f"page {number} has an empty frame, cut from what it should hold"
        said = " ".join(text for _, _, text in body)
        if found := TEX.search(said):
            yield f"page {number} has raw TeX: {said[found.start() :][:60]!r}"
        whole += squeezed(said)
    answers = [answer for answer in map(squeezed, entry["answers"]) if answer in whole]
    if kind == "students" and answers:
        yield f"the students' PDF tells a solution: {answers[0]!r}"
    if kind == "teacher" and len(answers) < 0.8 * len(entry["answers"]):
        yield f"of {len(entry['answers'])} lines of its solutions only {len(answers)} are there"


def places(reader: PdfReader) -> dict[str, tuple[int, float]]:
    """Return where each name of a PDF stands: the sheet, from 0, and the height."""
    found = {}
    for name, place in reader.named_destinations.items():
        sheet = reader.get_destination_page_number(place)
        if sheet is not None:
            found[unquote(name.removeprefix("/"))] = (sheet, float(place["/Top"]))
    return found


def links(sheet: PageObject) -> Iterator[tuple[Any, str]]:
    """Yield the links of a sheet, and where each leads: an address, or ``#`` and a name."""
    for annotation in sheet.get("/Annots", ()):
        link = annotation.get_object()
        if link.get("/Subtype") != "/Link":
            continue
        if "/Dest" in link:
            yield link, f"#{unquote(str(link['/Dest']).removeprefix('/'))}"
        elif "/URI" in link.get("/A", {}):
            yield link, str(link["/A"]["/URI"])


def single(entry: dict[str, Any], kind: str, reader: PdfReader, told: dict[str, Any]) -> PdfWriter:
    """Return a page's own PDF: links into the book lead to where it is published."""
    # Chromium writes a title twice that begins a page, and joins the words where one has two lines.
    outline = items(reader.root_object.get("/Outlines", {}))
    for item, title in zip(outline, entry["headings"], strict=False):
        item[NameObject("/Title")] = TextStringObject(title)
    writer = PdfWriter(clone_from=reader)
    root = f"{told['html']}/"
    for sheet in writer.pages:
        for link, target in links(sheet):
            if target.startswith(root):
                if told["published"]:
                    address = told["published"] + target.removeprefix(root)
                    link["/A"][NameObject("/URI")] = TextStringObject(address)
                else:
                    del link["/A"]
    last, first = len(writer.pages) - 1, entry["first"][kind]
    writer.set_page_label(0, last, style=PageLabelStyle.DECIMAL, start=first)
    return writer


def whole(kind: str, readers: dict[str, PdfReader], told: dict[str, Any]) -> PdfWriter:
    """Return the book: one outline, running numbers, links that lead inside it."""
    writer = PdfWriter()
    front = readers["contents"]
    starts, named, led = {}, {}, []
    for name, reader in readers.items():
        starts[name] = len(writer.pages)
        named[name] = places(reader)
        for sheet in reader.pages:
            led.append((name, [(link["/Rect"], target) for link, target in links(sheet)]))
            for key in ("/Annots", "/StructParents"):  # the links are made anew below
                sheet.pop(key, None)
            writer.add_page(sheet)
    root = f"{told['html']}/"
    names = {f"{entry['page']}.html": entry["name"] for entry in told["pages"]}

    def inside(name: str, place: str) -> tuple[int, float]:
        sheet, top = named[name].get(place, (0, 842.0))
        return starts[name] + sheet, top

    for copied, (name, found) in zip(writer.pages, led, strict=True):
        made = ArrayObject()
        for rect, target in found:
            new = DictionaryObject(
                {
                    NameObject("/Type"): NameObject("/Annot"),
                    NameObject("/Subtype"): NameObject("/Link"),
                    NameObject("/Border"): ArrayObject([NumberObject(0)] * 3),
                    NameObject("/Rect"): ArrayObject(FloatObject(value) for value in rect),
                }
            )
            page, _, place = target.removeprefix(root).partition("#")
            if target.startswith("#") or (target.startswith(root) and page in names):
                number, top = inside(names.get(page, name), unquote(place))
                where = [writer.pages[number].indirect_reference, NameObject("/XYZ"),
                         NullObject(), FloatObject(top), NullObject()]  # fmt: skip
                new[NameObject("/Dest")] = ArrayObject(where)
            elif target.startswith(root) and not told["published"]:
                continue
            else:
                if target.startswith(root):
                    target = told["published"] + target.removeprefix(root)
                action = {NameObject("/S"): NameObject("/URI"),
                          NameObject("/URI"): TextStringObject(target)}  # fmt: skip
                new[NameObject("/A")] = DictionaryObject(action)
            made.append(new)
        if made:
            copied[NameObject("/Annots")] = made

    part = chapter = None
    writer.add_outline_item(title="Contents", page_number=0)
    for entry in told["pages"]:
        if entry["part"] is None:
            part = chapter = None
        elif part is None or part[0] != entry["part"]:
            item = writer.add_outline_item(title=entry["part"], page_number=starts[entry["name"]])
            part = (entry["part"], item)
        parent = chapter if entry["level"] else part and part[1]
        item = copy(readers[entry["name"]], starts[entry["name"]], writer, parent)
        if not entry["level"]:
            chapter = item
    last = len(writer.pages) - 1
    writer.set_page_label(0, len(front.pages) - 1, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(len(front.pages), last, style=PageLabelStyle.DECIMAL, start=1)
    title = front.metadata.title if front.metadata else None
    writer.add_metadata({"/Title": str(title)})
    writer.root_object[NameObject("/Lang")] = TextStringObject("en")
    return writer


def copy(reader: PdfReader, start: int, writer: PdfWriter, parent: Any) -> Any:
    """Put the outline of a part under `parent`, and return its first item."""
    top = None

    def below(items: Any, parent: Any) -> None:
        nonlocal top
        last = parent
        for item in items:
            if isinstance(item, list):
                below(item, last)
                continue
            sheet = reader.get_destination_page_number(item) or 0
            fit = Fit.xyz(top=float(item.top or 842))
            last = writer.add_outline_item(
                title=str(item.title), page_number=start + sheet, parent=parent, fit=fit
            )
            top = top or last

    below(reader.outline, parent)
    return top


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--printed", type=Path, default=ROOT / "_build" / ".printed")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "pdf")
    options = parser.parse_args()
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # else it counts Chromium's objects aloud
    told = json.loads((options.printed / "pages.json").read_text(encoding="utf-8"))
    if told["whole"]:
        shutil.rmtree(options.out, ignore_errors=True)
    faults = []
    for kind, folder in FOLDERS.items():
        target = options.out / folder
        target.mkdir(parents=True, exist_ok=True)
        names = [entry["name"] for entry in told["pages"]]
        files = [*(["contents"] if told["whole"] else []), *names]
        readers = {name: PdfReader(options.printed / kind / f"{name}.pdf") for name in files}
        for entry in told["pages"]:
            name = entry["name"]
            faults += [
                f"{target / name}.pdf: {fault}" for fault in examine(entry, kind, readers[name])
            ]
            single(entry, kind, readers[name], told).write(target / f"{name}.pdf")
        if told["whole"]:
            book = whole(kind, readers, told)
            book.write(target / "book.pdf")
            print(f"{target / 'book.pdf'}: {len(book.pages)} pages")
    for fault in faults:
        print(f"Not fit to hand out. {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
