"""The direct writer's OME-TIFF, driven directly: many files, reading while it is written, and frames side by side."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from rich.console import Console

import ome_writers as ow
from ome_writers.cli.show import plan_view
from ome_writers.documents import document_bytes
from ome_writers.writers import placed
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.direct_tiff import DirectTiff

STAMP = ow.Stamp(datetime(2026, 1, 2, tzinfo=UTC), tuple(f"{n:08}-0000-4000-8000-000000000000" for n in range(2000)))


def plan_of(sizes: dict[str, Any], mode: str = "redundant", single: str = "auto", **settings: Any) -> ow.Plan:
    dims = ow.dims_from_standard_axes(sizes if "y" in sizes else sizes | {"y": 3, "x": 4})
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode, prefer_single_file=single)
    given = {"root_path": "a.ome.tiff", "dtype": "uint8", "dimensions": dims, "format": format_} | settings
    return ow.compile(ow.AcquisitionSettings(**given))


def pages_of(path: Path) -> list[NDArray[Any]]:
    with tifffile.TiffFile(path, is_ome=False) as file:
        return [page.asarray() for page in file.pages]


def comments(plan: ow.Plan, text: str, shapes: tuple[tuple[int, ...], ...] = ()) -> list[ow.Document]:
    return [ow.Document(path, "comment", text, shapes=shapes) for path in plan.layout.files]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def block(plan: ow.Plan, place: int, value: int) -> ow.Block:
    row = plan.rows(place, place + 1)[0]
    pixels = np.full((*(1,) * row["index"].size, *plan.layout.arrays[0].shape[-2:]), value, np.uint8)
    return ow.Block((place,), int(row["array"]), tuple(row["index"].tolist()), pixels)


# ── many files ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["redundant", "master-tiff", "companion-file"])
def test_many_files_with_few_open(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"p": [f"{k:04}" for k in range(1536)], "c": 2}, mode)
    writer, most, made = DirectTiff(), [0], [0]
    create = placed.PlacedFiles.create

    def counted(self: placed.PlacedFiles, key: str, size: int, head: Any = (), **how: Any) -> int:
        made[0] += 1
        if made[0] % 64 == 0:
            most[0] = max(most[0], descriptors())
        return create(self, key, size, head, **how)

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
    for interval in (None, 0.5):
        dims = [ow.Dimension(name="t", count=60_000, scale=interval, unit="second")]
        single = plan_of({}, dimensions=[*dims, *ow.dims_from_standard_axes({"y": 3, "x": 4})])
        (end,) = ow.documents(single, STAMP, ow.Outcome(verdict="complete", cursor=60_000, placed=True))
        true = len(str(end.body).encode())
        assert true / 1.3 < document_bytes(single) < true * 1.3


def test_the_plan_command_says_how_much_metadata_there_will_be() -> None:
    sizes = {"p": [f"{k:04}" for k in range(40)], "t": 4000, "c": 2}
    for mode, said in (("redundant", True), ("master-tiff", False)):
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(plan_view(plan_of(sizes, mode), DirectWriter(), 3))
        text = console.export_text()
        assert ("of OME-XML in all files together" in text) is said


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


MEMORY = """
    import resource, sys
    import numpy as np
    import ome_writers as ow

    def run(root, count, frames):
        dims = [ow.Dimension(name=name, count=size) for name, size in (("y", 2), ("x", 2))]
        dims.insert(0, ow.Dimension(name="t", count=count, scale=0.5, unit="second"))
        settings = ow.AcquisitionSettings(root_path=root, dtype="uint8", dimensions=dims)
        with ow.create_stream(settings, "direct") as stream:
            for number in range(0, frames, frames // 4):
                stream.append(np.full((2, 2), number % 251, np.uint8))
                stream.skip(frames=frames // 4 - 1)

    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
    run(sys.argv[1] + "/first.ome.tiff", 8, 8)
    before = peak()
    for count in (300_000, None):
        run(f"{sys.argv[1]}/{count}.ome.tiff", count, 200_000)
    print(peak() - before)
"""


def test_a_run_of_any_length_takes_little_memory(tmp_path: Path) -> None:
    """With planes of all frames in the OME-XML, which has 30 MB."""
    pytest.importorskip("resource", reason="only POSIX tells how much memory a process had")
    program = [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 64e6
    for count in (300_000, None):
        with tifffile.TiffFile(tmp_path / f"{count}.ome.tiff", is_ome=False) as file:
            text = file.pages.first.description
            assert len(text) > 14e6
            assert text.count("<TiffData") == 200_000
            assert text.count("<Plane ") == 4
            assert int(file.pages[50_000].asarray()[0, 0]) == 50_000 % 251
