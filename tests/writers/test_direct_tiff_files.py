"""The files of the direct writer's OME-TIFF: their OME-XML, their growth and their end, also between two steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import growth, tiffblocks
from ome_writers.documents import Text
from ome_writers.placement_tiff import place_tiff
from ome_writers.writers import tifffiles
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.direct_tiff import DirectTiff
from ome_writers.writers.tifffiles import TiffFiles


def plan_of(sizes: dict[str, Any], mode: str = "redundant", single: str = "auto", **settings: Any) -> ow.Plan:
    dims = ow.dims_from_standard_axes(sizes if "y" in sizes else sizes | {"y": 3, "x": 4})
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode, prefer_single_file=single)
    given = {"root_path": "a.ome.tiff", "dtype": "uint8", "dimensions": dims, "format": format_} | settings
    return ow.compile(ow.AcquisitionSettings(**given))


def text_of(path: Path) -> str:
    with tifffile.TiffFile(path, is_ome=False) as file:
        return str(file.pages.first.description)


def pages_of(path: Path) -> list[NDArray[Any]]:
    with tifffile.TiffFile(path, is_ome=False) as file:
        return [page.asarray() for page in file.pages]


def frame(value: int) -> NDArray[Any]:
    return np.full((3, 4), value, np.uint8)


def comments(plan: ow.Plan, text: str, shapes: tuple[tuple[int, ...], ...] = ()) -> list[ow.Document]:
    return [ow.Document(path, "comment", text, shapes=shapes) for path in plan.layout.files]


def block(plan: ow.Plan, place: int, value: int) -> ow.Block:
    row = plan.rows(place, place + 1)[0]
    pixels = np.full((*(1,) * row["index"].size, *plan.layout.arrays[0].shape[-2:]), value, np.uint8)
    return ow.Block((place,), int(row["array"]), tuple(row["index"].tolist()), pixels)


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rounds of two frames that a step of growth has."""
    monkeypatch.setattr(growth, "STEP_BYTES", 3 * 2 * 12)
    return 3


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What is called before and after every write to a file, as if the process died there."""
    checks: list[Callable[[], object]] = []
    write, cut = tifffiles.put, os.ftruncate

    def put(*args: Any) -> None:
        for check in checks:
            check()
        write(*args)
        for check in checks:
            check()

    def ftruncate(*args: Any) -> None:
        cut(*args)
        for check in checks:
            check()

    monkeypatch.setattr(tifffiles, "put", put)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    yield checks
    checks.clear()


def test_a_text_is_replaced_in_one_step(tmp_path: Path, watched: list[Callable[[], object]]) -> None:
    plan = plan_of({"t": 2})
    path, files = tmp_path / "a.ome.tiff", TiffFiles(tmp_path / "a.ome.tiff", place_tiff(plan))
    files.create(0, b"<first/>")
    room = place_tiff(plan).room(0)[1]
    said = ["<first/>"]
    watched.append(lambda: said.append(text_of(path)))
    texts = [
        letter * size
        for letter, size in zip(
            "abcdefghij", (10, room // 2, room, 5, room * 3, room * 2, 9, room - 1, 30, room * 4), strict=True
        )
    ]
    for text in texts:
        files.say(0, text.encode())
        assert len(pages_of(path)) == 2
        assert not any(page.any() for page in pages_of(path))
    files.close()
    assert list(dict.fromkeys(said)) == ["<first/>", *texts], "there is always one whole text"
    size = path.stat().st_size
    assert size < place_tiff(plan).size(0) + 10 * room


@pytest.mark.parametrize("stops", [3, 30])
def test_a_long_text_is_written_piece_by_piece(
    tmp_path: Path, stops: int, watched: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the file, and then where the pixels end, if it fits there without touching itself."""
    monkeypatch.setattr(tifffiles, "_TOGETHER", 1000)
    plan = plan_of({"t": 30, "y": 16, "x": 16})
    path, files = tmp_path / "a.ome.tiff", TiffFiles(tmp_path / "a.ome.tiff", place_tiff(plan))
    texts = {name: [name] + [f"{name} {number} ".ljust(900, "µ") for number in range(40)] for name in ("first", "last")}
    files.create(0, Text(lambda: iter(texts["first"])))
    assert text_of(path) == "".join(texts["first"])
    assert len(pages_of(path)) == 30
    said: list[str] = []
    watched.append(lambda: said.append(text_of(path)))
    files.finish(0, Text(lambda: iter(texts["last"])), ((stops, 16, 16),))
    files.close()
    assert set(said) == {"".join(texts["first"]), "".join(texts["last"])}
    assert text_of(path) == "".join(texts["last"])
    assert len(pages_of(path)) == stops
    end, length = place_tiff(plan).pixels_end(0, [(stops, 16, 16)]), len("".join(texts["last"]).encode())
    assert path.stat().st_size <= end + length + 4096 + (length if stops == 30 else 0)


def test_a_short_text(tmp_path: Path) -> None:
    files = TiffFiles(tmp_path / "a.ome.tiff", place_tiff(plan_of({"t": 2})))
    files.create(0, b"")
    assert text_of(tmp_path / "a.ome.tiff").strip() == ""
    files.say(0, "µ".encode())
    assert text_of(tmp_path / "a.ome.tiff").strip() == "µ"
    files.close()


@pytest.mark.parametrize("single", ["auto", "always"])
@pytest.mark.parametrize("long", [False, True])
def test_every_step_of_growth_and_of_the_end_leaves_a_whole_file(
    tmp_path: Path, step: int, single: str, watched: list[Callable[[], object]], *, long: bool
) -> None:
    plan = plan_of({"t": None, "p": ["a", "b"]} if single == "always" else {"t": None, "c": 2}, single=single)
    arrays = len(plan.layout.arrays)
    path, writer, came = tmp_path / "a.ome.tiff", DirectTiff(), set[int]()
    texts = [letter * (150_000 if long else 20) for letter in "abcd"]
    writer.open(str(path), plan, comments(plan, texts[0]))
    allowed = texts[:1]

    def check() -> None:
        assert text_of(path) in allowed
        seen = {tuple(np.unique(page).tolist()) for page in pages_of(path)}
        assert {(value,) for value in came} <= seen
        assert seen <= {(value,) for value in came | {0}}

    watched.append(check)
    for place in range(2 * 5 * step):
        turn = place // 2
        if turn % step == 0 and turn:
            for array, shape in enumerate(plan.first_shapes):
                writer.resize(array, (turn + step, *shape[1:]))
            allowed = [allowed[-1], texts[(turn // step) % 4]]
            writer.flush(comments(plan, allowed[-1]))
        writer.write([block(plan, place, place + 1)])
        came.add(place + 1)
    shapes = tuple((5 * step, *shape[1:]) for shape in plan.first_shapes)
    allowed = [allowed[-1], "z" * (200_000 if long else 30)]
    writer.close(comments(plan, allowed[-1], shapes))
    # One image after the other, each in the order in which its frames came.
    expected = [place + 1 for array in range(arrays) for place in range(array, 2 * 5 * step, arrays)]
    assert [int(page[0, 0]) for page in pages_of(path)] == expected
    assert text_of(path) == allowed[-1]


@pytest.mark.parametrize("text", ["a" * 20, "a" * 100_000])
@pytest.mark.parametrize(("order", "ends"), [(["t", "c"], [0, 1, 2, 3]), (["c", "t"], [0, 2, 1, 3])])
def test_a_stopped_file_is_cut(tmp_path: Path, text: str, order: list[str], ends: list[int]) -> None:
    plan = plan_of({"t": 1000, "c": 2}, storage_order=[*order, "y", "x"])
    path, writer = tmp_path / "a.ome.tiff", DirectTiff()
    writer.open(str(path), plan, comments(plan, "<running/>"))
    before = path.stat().st_size
    for place in range(4):
        writer.write([block(plan, place, place + 1)])
    shape = (2, 2, 3, 4)
    writer.close(comments(plan, text, (shape,)))
    assert [int(page[0, 0]) - 1 for page in pages_of(path)] == ends
    assert text_of(path) == text
    # With c outermost, the pixels that came lie at both ends of what was reserved for them.
    assert path.stat().st_size < before - 900 * 12 + len(text) + 20_000 * (order[0] == "c")


@pytest.mark.parametrize("together", [False, True])
def test_nothing_is_left_of_what_was_reserved(tmp_path: Path, *, together: bool) -> None:
    """Neither where a long text stood behind it, nor where the pages were put in order."""
    dims = ow.dims_from_standard_axes({"t": 600, "p": ["a", "b"] if together else ["a"], "y": 64, "x": 64})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.tiff"),
        dtype="uint8",
        dimensions=dims,
        format=ow.OmeTiffFormat(prefer_single_file="always"),
    )
    path = tmp_path / "a.ome.tiff"
    with ow.create_stream(settings, backend=DirectWriter()) as stream:
        for value in range(1, 5):
            stream.append(np.full((64, 64), value, np.uint8))
        stream.set_global_metadata("mine", {"words": "long " * 160_000})
        reserved = path.stat().st_size
    assert len(text_of(path)) > place_tiff(ow.compile(settings)).room(0)[1] // 2
    assert [int(page[0, 0]) for page in pages_of(path)] == ([1, 3, 2, 4] if together else [1, 2, 3, 4])
    # Of two images the second begins in the middle of what was reserved.
    assert path.stat().st_size < reserved - 590 * 4096


@pytest.mark.parametrize("width", [4, 4096])
def test_pages_are_put_in_order_where_the_pixels_end_with_the_file(tmp_path: Path, width: int) -> None:
    dims = ow.dims_from_standard_axes({"t": 2, "c": 2, "y": 3, "x": width})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.tiff"), dtype="uint8", dimensions=dims, storage_order=["c", "t", "y", "x"]
    )
    with ow.create_stream(settings, backend=DirectWriter()) as stream:
        for value in (1, 2):
            stream.append(np.full((3, width), value, np.uint8))
    assert [int(page[0, 0]) for page in pages_of(tmp_path / "a.ome.tiff")] == [1, 2]


def test_growth_with_few_files_open(tmp_path: Path, step: int) -> None:
    plan = plan_of({"t": None, "p": ["a", "b"]})
    writer = DirectTiff(open_files=1)
    writer.open(str(tmp_path / "a"), plan, comments(plan, "<running/>"))
    for place in range(6 * step):
        turn, array = divmod(place, 2)
        if array == 0 and turn and turn % step == 0:
            # The file of the frame that came last is closed by this.
            for other in (1, 0):
                writer.resize(other, (turn + step, 3, 4))
                writer.write([block(plan, place - 1, place)])
            writer.flush(comments(plan, "<longer/>"))
        writer.write([block(plan, place, 99)])
        assert writer.read(1 - array, (0, 0, 0)) == 2 - array or place == 0
        writer.write([block(plan, place, place + 1)])
    writer.resize(0, (4 * step, 3, 4))
    writer.close(comments(plan, "<complete/>", ((3 * step, 3, 4),)))
    for array, name in enumerate(plan.layout.files):
        values = [int(page[0, 0]) for page in pages_of(tmp_path / "a" / name)]
        assert values == [place + 1 for place in range(array, 6 * step, 2)]


# ── files that stand ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sizes", [{"t": 4, "c": 2}, {"t": None, "c": 2}, {"t": 2, "p": ["a", "b"]}])
@pytest.mark.usefixtures("step")
def test_documents_are_replaced_after_the_end(tmp_path: Path, sizes: dict[str, Any]) -> None:
    dims = ow.dims_from_standard_axes(sizes | {"y": 3, "x": 4})
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.tiff"), dtype="uint8", dimensions=dims)
    with ow.create_stream(settings, backend=DirectWriter()) as stream:
        for value in range(1, 4):
            stream.append(frame(value))
    paths = [path for path in tmp_path.rglob("*") if path.suffix == ".tiff" and path.is_file()]
    before = {path: [page.tolist() for page in pages_of(path)] for path in paths}
    sizes_before = {path: path.stat().st_size for path in paths}
    for turn in range(4):
        stream.set_global_metadata("mine", {"turn": turn, "words": "long " * 20_000})
        for path in paths:
            assert f'<M K="turn">{turn}' in text_of(path)
            assert [page.tolist() for page in pages_of(path)] == before[path]
            assert path.stat().st_size < sizes_before[path] + 3 * 100_000, "it does not grow each time"


@pytest.mark.parametrize("case", [*product((["t", "c"], ["c", "t"]), (6, 60, None), ("a" * 20, "a" * 50_000))])
def test_a_run_is_continued(
    tmp_path: Path,
    step: int,
    case: tuple[list[str], int | None, str],
    watched: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the first part stopped in the middle, and its file was cut or its pages were put in order."""
    order, count, text = case
    size = 64 if count == 60 else 4
    monkeypatch.setattr(tiffblocks, "_PAGES", 7 if size == 4 else 8192)
    plan = plan_of({"t": count, "c": 2, "y": size, "x": size}, storage_order=[*order, "y", "x"])
    axis = order.index("t")
    path, total = tmp_path / "a.ome.tiff", 2 * min(count or 9, 9)

    def shape(rounds: int) -> tuple[int, ...]:
        return (*(2, 2)[:axis], rounds, *(2, 2)[axis + 1 :], size, size)

    def carry_on(writer: DirectTiff, first: int, last: int) -> None:
        have = step if count is None else count
        for place in range(first, last):
            while count is None and place // 2 >= have:
                have += step
                writer.resize(0, shape(have))
            writer.write([block(plan, place, place + 1)])

    writer = DirectTiff()
    writer.open(str(path), plan, comments(plan, "<running/>"))
    carry_on(writer, 0, 8)
    writer.close(comments(plan, text, (shape(4),)))
    again = DirectTiff()
    again.open(str(path), plan, comments(plan, "<running again/>"), attach=True)
    assert text_of(path) == text
    said: list[str] = []
    watched.append(lambda: said.append(text_of(path)))
    watched.append(lambda: said.append(str(len(pages_of(path)) >= 8)))
    carry_on(again, 8, total)
    again.flush(comments(plan, "<running again/>"))
    assert text_of(path) == "<running again/>"
    assert set(said) == {text, "<running again/>", "True"}, "it is whole in between, too"
    seen = {int(page[0, 0]) for page in pages_of(path)}
    assert set(range(1, total + 1)) <= seen <= set(range(total + 1))
    assert all((page == page[0, 0]).all() for page in pages_of(path)), "nothing of the cut-off end is left in the pages"
    again.close(comments(plan, "<complete/>", (shape(total // 2),)))
    expected = [2 * t + c + 1 for t in range(total // 2) for c in range(2)]
    if axis:
        expected = [2 * t + c + 1 for c in range(2) for t in range(total // 2)]
    assert [int(page[0, 0]) for page in pages_of(path)] == expected


@pytest.mark.parametrize("order", [["t", "c"], ["c", "t"]])
@pytest.mark.parametrize("count", [6, 60, None])
def test_a_run_that_was_left_is_finished_by_another_process(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path,
    step: int,
    order: list[str],
    count: int | None,
    watched: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 64 if count == 60 else 4
    monkeypatch.setattr(tiffblocks, "_PAGES", 7 if size == 64 else 8192)
    plan = plan_of({"t": count, "c": 2, "y": size, "x": size}, storage_order=[*order, "y", "x"])
    path, writer = tmp_path / "a.ome.tiff", DirectTiff()
    writer.open(str(path), plan, comments(plan, "<running/>"))
    if count is None:
        shape = list(plan.first_shapes[0])
        shape[order.index("t")] = 2 * step
        writer.resize(0, tuple(shape))
    for place in range(8):
        writer.write([block(plan, place, place + 1)])
    writer.abort()
    sizes = {"t": 4, "c": 2}
    left = ((*(sizes[name] for name in order), size, size),)
    expected = [2 * t + c + 1 for t in range(4) for c in range(2)]
    if order[0] == "c":
        expected = [2 * t + c + 1 for c in range(2) for t in range(4)]

    def check() -> None:
        if text_of(path) == "<running/>":
            assert {tuple(np.unique(page)) for page in pages_of(path)} <= {(value,) for value in range(9)}

    watched.append(check)
    ends, length = list[int](), 65_000 if count == 60 else 40
    for turn in range(3):
        other = DirectTiff()
        other.open(str(path), plan, [], attach=True)
        other.close(comments(plan, f"{turn} is complete".ljust(length, "."), left))
        assert [int(page[0, 0]) for page in pages_of(path)] == expected
        assert text_of(path) == f"{turn} is complete".ljust(length, ".")
        ends.append(path.stat().st_size)
    # A text behind the pixels has two places, in turn.
    assert abs(ends[1] - ends[2]) < length + 100, "once more changes nothing"
