"""The tifffile writer where something goes wrong: full disks, killed processes, resumed and aborted runs."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers.testing.tiffs import comments as comment
from ome_writers.testing.tiffs import single_frames as frames
from ome_writers.testing.tiffs import tiff_description as description
from ome_writers.testing.tiffs import tiff_pages as pages
from ome_writers.testing.tiffs import tiff_pixels as pixels
from ome_writers.testing.tiffs import tiff_plan as plan_of
from ome_writers.writers.pagefile import PageFile
from ome_writers.writers.tiff import TiffWriter


def opened(root: Path, plan: ow.Plan, docs: Sequence[ow.Document] | None = None, **options: Any) -> TiffWriter:
    writer = TiffWriter(**options)
    writer.open(str(root), plan, comment("<running/>", *plan.layout.files) if docs is None else docs)
    return writer


@contextmanager
def disk_of(nbytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("settings", [{}, {"compression": "zstd"}, {"p": 2}])
def test_a_full_disk_is_an_error_of_the_frame_and_takes_no_page_with_it(tmp_path: Path, settings: Any) -> None:
    positions = {"p": settings.pop("p")} if "p" in settings else {}
    plan = plan_of({"t": 4, **positions, "y": 64, "x": 64}, **settings)
    data = np.random.default_rng(0).integers(0, 2**16, (4, 64, 64)).astype("uint16")  # cannot be compressed
    root = tmp_path / "a"
    writer, path = opened(root, plan), root / plan.layout.files[0] if positions else root
    frames = 2 if positions else 1  # in a round
    blocks = [ow.Block((frames * t,), 0, (t,), data[t : t + 1]) for t in range(4)]
    with disk_of(24_000):
        writer.write(blocks[:2])
        size = path.stat().st_size
        with pytest.raises(OSError, match="File too large"):
            writer.write([blocks[2]])
        assert path.stat().st_size == size
        assert np.array_equal(np.stack(pages(path)), data[:2])
    writer.write([blocks[3]])
    data[2] = 0
    assert np.array_equal(np.stack(pages(path)), data)
    writer.close(comment("<failed/>", plan.layout.files[0]))
    assert description(path) == "<failed/>"
    assert np.array_equal(imagecodecs.tiff_decode(path.read_bytes(), index=3), data[3])


def test_a_comment_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    plan = plan_of({"t": 1, "y": 4, "x": 5})
    writer = opened(tmp_path / "a.tiff", plan)
    writer.write(list(frames(plan, pixels((1, 4, 5)))))
    with disk_of(2000), pytest.raises(OSError, match="File too large"):
        writer.close(comment("x" * 5000))
    assert description(tmp_path / "a.tiff") == "<running/>"
    assert len(pages(tmp_path / "a.tiff")) == 1


def test_a_page_is_no_part_of_the_file_before_all_of_it_is_there(tmp_path: Path) -> None:
    file = PageFile(tmp_path / "a.tiff")
    writer = tifffile.TiffWriter(cast(BinaryIO, file), bigtiff=True)
    file.commit()
    for count in range(3):
        assert file.has_pages() == (count > 0)
        before = (tmp_path / "a.tiff").read_bytes()
        file.seek(0, 2)
        writer.write(np.full((4, 5), count, "uint8"), contiguous=False)
        assert (tmp_path / "a.tiff").read_bytes()[: len(before)] == before, "no one refers to the new page yet"
        file.commit()
        assert (tmp_path / "a.tiff").read_bytes()[: len(before)] != before
        assert len(pages(tmp_path / "a.tiff")) == count + 1
    file.release()


_CHILD = """
import sys
import numpy as np
import ome_writers as ow
from ome_writers.writers.tiff import TiffWriter

dims = ow.dims_from_standard_axes({"t": 100_000, "y": 32, "x": 32})
plan = ow.compile(ow.AcquisitionSettings(root_path="a.tiff", dtype="uint16", dimensions=dims, compression=CODEC))
writer = TiffWriter()
writer.open(sys.argv[1], plan, [ow.Document("", "comment", "<running/>")])
for t in range(100_000):
    writer.write([ow.Block((t,), 0, (t,), np.full((1, 32, 32), t % 60_000, "uint16"))])
    print(t, flush=True)
"""


@pytest.mark.parametrize("codec", [None, "zlib"])
def test_a_killed_process_loses_no_frame_that_was_taken(tmp_path: Path, codec: str | None) -> None:
    command = [sys.executable, "-c", _CHILD.replace("CODEC", repr(codec)), str(tmp_path / "a.tiff")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        taken = -1
        while taken < 150:
            taken = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        taken = max([taken, *map(int, child.stdout.read().split())])
    seen = pages(tmp_path / "a.tiff")
    assert len(seen) in (taken + 1, taken + 2)
    assert all((page == t).all() for t, page in enumerate(seen))
    assert description(tmp_path / "a.tiff") == "<running/>"


@pytest.mark.parametrize("cut", [0, 100])
def test_attaching_goes_on_behind_what_stands(tmp_path: Path, cut: int) -> None:
    plan = plan_of({"t": 5, "p": 2, "y": 4, "x": 5})
    root, data = tmp_path / "a", pixels((10, 4, 5))
    blocks = [block._replace(data=block.data.copy()) for block in frames(plan, data)]
    first = opened(root, plan)
    first.write(blocks[:5])
    first.abort()
    path = root / plan.layout.files[0]
    with path.open("ab") as file:
        file.write(b"!" * cut)  # what a killed process left of a page
    second = TiffWriter()
    second.open(str(root), plan, comment("<resumed/>", *plan.layout.files), attach=True)
    assert description(path) == "<running/>"
    second.write(blocks[5:])
    second.close(comment("<complete/>", *plan.layout.files))
    for number, name in enumerate(plan.layout.files):
        assert np.array_equal(np.stack(pages(root / name)), data[number::2])
        assert description(root / name) == "<complete/>"


def test_attaching_where_a_file_has_no_page_yet_begins_it(tmp_path: Path) -> None:
    plan = plan_of({"t": 1, "p": 2, "y": 4, "x": 5})
    root, data = tmp_path / "a", pixels((2, 4, 5))
    blocks = [block._replace(data=block.data.copy()) for block in frames(plan, data)]
    first = opened(root, plan)
    first.write(blocks[:1])
    first.abort()
    # The second file's process died between the header and the first page.
    (root / plan.layout.files[1]).write_bytes((root / plan.layout.files[0]).read_bytes()[:8] + bytes(20))
    second = TiffWriter()
    second.open(str(root), plan, comment("<resumed/>", *plan.layout.files), attach=True)
    second.write(blocks[1:])
    second.close(comment("<complete/>", *plan.layout.files))
    assert np.array_equal(np.stack([pages(root / name) for name in plan.layout.files])[:, 0], data)


def test_aborting_keeps_pages_and_removes_what_is_no_tiff(tmp_path: Path) -> None:
    TiffWriter().abort()
    plan = plan_of({"t": 2, "y": 4, "x": 5})
    writer = opened(tmp_path / "a.tiff", plan)
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    writer, data = opened(tmp_path / "a.tiff", plan), pixels((2, 4, 5))
    writer.write([next(frames(plan, data))])
    writer.abort()
    writer.abort()
    assert np.array_equal(pages(tmp_path / "a.tiff"), data[:1])


def test_what_stands_at_the_root_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    for sizes in ({"y": 4, "x": 5}, {"p": 2, "y": 4, "x": 5}):
        with pytest.raises(FileExistsError, match="a exists"):
            opened(tmp_path / "a", plan_of(sizes))
    with pytest.raises(FileExistsError):
        opened(tmp_path / "a" / "below.tiff", plan_of({"y": 4, "x": 5}))
    assert (tmp_path / "a").read_text() == "mine"


def test_a_missing_library_is_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ow.PlanError, match=r"compression: zstd needs .* pip install 'ome-writers\[tifffile\]'"):
        opened(tmp_path / "a.tiff", plan_of({"y": 4, "x": 5}, compression="zstd"))
    assert list(tmp_path.iterdir()) == []
    opened(tmp_path / "a.tiff", plan_of({"y": 4, "x": 5}, compression="zlib")).abort()


def test_a_url_is_refused() -> None:
    with pytest.raises(
        ow.PlanError, match=r"root_path: tifffile writes to a local path; got 's3://bucket/a\.ome\.tiff'"
    ):
        ow.write(plan_of({"y": 4, "x": 5}, root_path="s3://bucket/a.tiff"), [], TiffWriter())
