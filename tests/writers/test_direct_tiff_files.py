"""The files of the direct writer's OME-TIFF: their OME-XML, their growth and their end, also between two steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import growth
from ome_writers.documents import document_bytes
from ome_writers.placement_tiff import place_tiff
from ome_writers.writers import placed, tifffiles
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.direct_tiff import DirectTiff
from ome_writers.writers.tifffiles import TiffFiles

STAMP = ow.Stamp(datetime(2026, 1, 2, tzinfo=UTC), tuple(f"{n:08}-0000-4000-8000-000000000000" for n in range(2000)))


def plan_of(sizes: dict[str, Any], mode: str = "redundant", single: str = "auto", **settings: Any) -> ow.Plan:
    dims = ow.dims_from_standard_axes(sizes | {"y": 3, "x": 4})
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


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def block(plan: ow.Plan, place: int, value: int) -> ow.Block:
    row = plan.rows(place, place + 1)[0]
    lead = (None,) * row["index"].size
    return ow.Block((place,), int(row["array"]), tuple(row["index"].tolist()), frame(value)[lead])


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


@pytest.mark.parametrize("case", [*product((["t", "c"], ["c", "t"]), (6, None), ("a" * 20, "a" * 50_000))])
def test_a_run_is_continued(
    tmp_path: Path, step: int, case: tuple[list[str], int | None, str], watched: list[Callable[[], object]]
) -> None:
    """Also where the first part stopped in the middle, and its file was cut or its pages were put in order."""
    order, count, text = case
    plan = plan_of({"t": count, "c": 2}, storage_order=[*order, "y", "x"])
    axis = order.index("t")
    path, total = tmp_path / "a.ome.tiff", 2 * (count or 7)

    def shape(rounds: int) -> tuple[int, ...]:
        return (*(2, 2)[:axis], rounds, *(2, 2)[axis + 1 :], 3, 4)

    def carry_on(writer: DirectTiff, first: int, last: int) -> None:
        have = step if count is None else count
        for place in range(first, last):
            while count is None and place // 2 >= have:
                have += step
                writer.resize(0, shape(have))
            writer.write([block(plan, place, place + 1)])

    writer = DirectTiff()
    writer.open(str(path), plan, comments(plan, "<running/>"))
    carry_on(writer, 0, 4)
    writer.close(comments(plan, text, (shape(2),)))
    again = DirectTiff()
    again.open(str(path), plan, comments(plan, "<running again/>"), attach=True)
    assert text_of(path) == text
    watched.append(lambda: pages_of(path))
    carry_on(again, 4, total)
    again.flush(comments(plan, "<running again/>"))
    assert text_of(path) == "<running again/>"
    seen = {int(page[0, 0]) for page in pages_of(path)}
    assert set(range(1, total + 1)) <= seen <= set(range(total + 1))
    assert all((page == page[0, 0]).all() for page in pages_of(path)), "nothing of the cut-off end is left in the pages"
    again.close(comments(plan, "<complete/>", (shape(total // 2),)))
    expected = [2 * t + c + 1 for t in range(total // 2) for c in range(2)]
    if axis:
        expected = [2 * t + c + 1 for c in range(2) for t in range(total // 2)]
    assert [int(page[0, 0]) for page in pages_of(path)] == expected


# ── many files ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["redundant", "master-tiff", "companion-file"])
def test_many_files_with_few_open(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"p": [f"{k:04}" for k in range(1536)], "c": 2}, mode)
    writer, most, made = DirectTiff(), [0], [0]
    create = placed.PlacedFiles.create

    def counted(self: placed.PlacedFiles, key: str, size: int, head: Any = ()) -> int:
        made[0] += 1
        if made[0] % 64 == 0:
            most[0] = max(most[0], descriptors())
        return create(self, key, size, head)

    monkeypatch.setattr(placed.PlacedFiles, "create", counted)
    before = descriptors()
    docs = ow.documents(plan, STAMP, ow.Outcome(placed=True))
    writer.open(str(tmp_path / "a"), plan, docs)
    assert made == [1536]
    assert before + 32 < most[0] <= before + 66
    assert len(list(tmp_path.glob("a/*.tiff"))) == 1536
    for position in (0, 700, 1535):
        writer.write([block(plan, 2 * position, 7)])
    writer.abort()
    assert descriptors() == before
    for position in (0, 1, 700, 1535):
        values = [int(page[0, 0]) for page in pages_of(tmp_path / "a" / plan.layout.files[position])]
        assert values == [7 * (position in (0, 700, 1535)), 0]
    whole = sum(len(document.body.encode()) for document in docs)
    assert whole < 1536 * 32_768, "while the run lasts, no file tells of all the others"
    if mode == "redundant":
        assert document_bytes(plan) > 500 * whole


def test_what_the_documents_will_take_is_known_before() -> None:
    for mode in ("redundant", "master-tiff", "companion-file"):
        plan = plan_of({"p": [f"{k:04}" for k in range(40)], "t": 25, "c": 2}, mode)
        end = ow.documents(plan, STAMP, ow.Outcome(verdict="complete", cursor=plan.frames or 0, placed=True))
        true = sum(len(document.body.encode()) for document in end)
        assert true / 1.3 < document_bytes(plan) < true * 1.3
    many = plan_of({"p": [f"{k:04}" for k in range(40)], "t": 4000, "c": 2})
    assert 0.5 < document_bytes(many) / (40 * 320_000 * 180) < 2


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["uint16", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(6, 9), (1, 20)])
@pytest.mark.parametrize("positions", [["a"], ["a", "b"]])
def test_what_was_written_can_be_read_at_once(
    tmp_path: Path, dtype: str, shape: tuple[int, int], positions: list[str]
) -> None:
    dims = ow.dims_from_standard_axes({"p": positions, "t": 4, "c": 2, "y": shape[0], "x": shape[1]})
    plan = ow.compile(ow.AcquisitionSettings(root_path="a.ome.tiff", dtype=dtype, dimensions=dims))
    data = np.random.default_rng(0).integers(0, 2, (len(positions), 4, 2, *shape)).astype(dtype)
    data[:, 3] = 0
    writer = DirectTiff()
    writer.open(str(tmp_path / "a.ome.tiff"), plan, comments(plan, "<running/>"))
    for row in plan.table:
        array, (t, c) = int(row["array"]), row["index"].tolist()
        if t < 3:
            writer.write([ow.Block((int(row["frame"]),), array, (t, c), data[array, t, c][None, None])])
    for array in range(len(positions)):
        whole = (slice(None),) * 4
        assert writer.read(array, whole).dtype == dtype
        for selection in (whole, (1, slice(None), slice(0, 5), -1), (slice(1, 4), 0, 0, slice(2, 3)), (3, 1, 0, 0)):
            assert np.array_equal(writer.read(array, selection), data[array][selection])
    writer.abort()


def test_frames_that_are_neighbours_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"t": 300, "p": ["a", "b"]}, single="always")
    writer, calls = DirectTiff(), [0]
    writer.open(str(tmp_path / "a.ome.tiff"), plan, comments(plan, "<running/>"))
    writev = os.pwritev

    def counted(*args: Any) -> int:
        calls[0] += 1
        return writev(*args)

    monkeypatch.setattr(os, "pwritev", counted)
    blocks = [block(plan, place, place % 251) for place in range(600)]
    writer.write(blocks[0::2])
    writer.write(blocks[1:300:2])
    assert calls[0] <= 6
    writer.write(blocks[301::2])
    writer.close(comments(plan, "<complete/>", ((300, 3, 4), (300, 3, 4))))
    values = [int(page[0, 0]) for page in pages_of(tmp_path / "a.ome.tiff")]
    assert values == [place % 251 for place in [*range(0, 600, 2), *range(1, 600, 2)]]
