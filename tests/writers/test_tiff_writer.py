"""The tifffile writer, driven directly; its files are read with tifffile and with libtiff (in imagecodecs)."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.writers.pagefile import PageFile
from ome_writers.writers.tiff import TiffWriter

STAMP = ow.Stamp(datetime(2026, 1, 2, tzinfo=UTC), tuple(f"{n:08}-0000-4000-8000-000000000000" for n in range(200)))
DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


def plan_of(sizes: dict[str, Any], *, mode: str = "redundant", single: str = "auto", **settings: Any) -> ow.Plan:
    dims = settings.pop("dimensions", None) or ow.dims_from_standard_axes(sizes)
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode, prefer_single_file=single)
    given = {"root_path": "a.ome.tiff", "dtype": "uint16", "dimensions": dims, "format": format_} | settings
    return ow.compile(ow.AcquisitionSettings(**given))


def pixels(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 120, shape)
    return (
        numbers % 3 == 0
        if dtype == "bool"
        else (numbers + 1j * numbers[::-1] if dtype[0] == "c" else numbers).astype(dtype)
    )


def frames(plan: ow.Plan, data: NDArray[Any]) -> Iterator[ow.Block]:
    """Yield the frames of `data`, in the order of the plan, all in one buffer that is overwritten after each."""
    height, width = data.shape[-2:]
    buffer = np.empty((height, width), data.dtype)
    for row, frame in zip(plan.table, data.reshape(-1, height, width), strict=False):
        buffer[:] = frame
        lead = (None,) * row["index"].size
        yield ow.Block((int(row["frame"]),), int(row["array"]), tuple(row["index"].tolist()), buffer[lead])
        buffer[:] = 0


def comment(text: str, *paths: str) -> list[ow.Document]:
    return [ow.Document(path, "comment", text) for path in paths or ("",)]


def opened(root: Path, plan: ow.Plan, docs: Sequence[ow.Document] | None = None, **options: Any) -> TiffWriter:
    writer = TiffWriter(**options)
    writer.open(str(root), plan, comment("<running/>", *plan.layout.files) if docs is None else docs)
    return writer


def pages(path: Path) -> list[NDArray[Any]]:
    with tifffile.TiffFile(path, is_ome=False) as file:
        return [page.asarray() for page in file.pages]


def description(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.pages.first.description)


@contextmanager
def disk_of(nbytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_is_a_writer() -> None:
    assert isinstance(TiffWriter(), ow.Writer)
    with pytest.raises(NotImplementedError):
        TiffWriter().read(0, (0,))


@pytest.mark.parametrize("codec", [None, "lzw", "zlib", "deflate", "zstd"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pages_are_read_back_as_they_came(tmp_path: Path, dtype: str, codec: str | None) -> None:
    level = 1 if codec in ("zlib", "deflate", "zstd") else None
    plan = plan_of({"t": 2, "c": 2, "y": 19, "x": 21}, dtype=dtype, compression=codec, compression_level=level)
    writer, data = opened(tmp_path / "a.tiff", plan), pixels((2, 2, 19, 21), dtype)
    for count, block in enumerate(frames(plan, data), 1):
        writer.write([block])
        seen = pages(tmp_path / "a.tiff")
        assert len(seen) == count, "the file is whole after each frame"
        assert seen[-1].dtype == dtype
        assert np.array_equal(seen[-1], data.reshape(4, 19, 21)[count - 1])
    writer.close(comment("<complete/>"))
    encoded = (tmp_path / "a.tiff").read_bytes()
    for number in range(4):
        assert np.array_equal(imagecodecs.tiff_decode(encoded, index=number), data.reshape(4, 19, 21)[number])
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        assert file.is_bigtiff
        tags = file.pages.first.tags
        expected = {None: 1, "lzw": 5, "zlib": 8, "deflate": 8, "zstd": 50000}
        assert tags["Compression"].value == expected[codec]
        assert tags["PhotometricInterpretation"].value == tifffile.PHOTOMETRIC.MINISBLACK
        # The default, 1, need not be written.
        assert ("BitsPerSample" not in tags) if dtype == "bool" else (tags["BitsPerSample"].value == data.itemsize * 8)


@pytest.mark.parametrize(
    ("t", "height", "width", "settings"),
    [
        (1, 16, 16, {}),
        (1, 7, 5, {}),
        (3, 7, 5, {}),
        (1, 2, 9, {}),
        (1, 1, 16, {}),
        (2, 1, 33, {}),
        (1, 12, 8, {"dtype": "bool"}),
        (1, 12, 8, {"dtype": "complex128"}),
        (1, 12, 8, {"compression": "zstd"}),
    ],
)
# tifffile opens the other files of a set again to read an image of one page, and says so.
@pytest.mark.filterwarnings("ignore:.*reading array from closed file:UserWarning")
def test_each_file_of_a_set_shows_every_position(
    tmp_path: Path, t: int, height: int, width: int, settings: Any
) -> None:
    plan = plan_of({"t": t, "p": 3, "y": height, "x": width}, **settings)
    data = pixels((t, 3, height, width), settings.get("dtype", "uint16"))
    writer = opened(tmp_path / "a", plan, ow.documents(plan, STAMP))
    for block in frames(plan, data):
        writer.write([block])
    writer.close(ow.documents(plan, STAMP, ow.Outcome(verdict="complete", cursor=3 * t)))
    files = [tmp_path / "a" / name for name in plan.layout.files]
    for number, path in enumerate(files):
        assert np.array_equal(np.stack(pages(path)), data[:, number]), "its own pixels"
        encoded = path.read_bytes()
        for k in range(t):
            assert np.array_equal(imagecodecs.tiff_decode(encoded, index=k), data[k, number])
    for path in files:
        with tifffile.TiffFile(path) as file:
            assert len(file.series) == 3
            for number, series in enumerate(file.series):
                assert np.array_equal(series.asarray().reshape(data[:, number].shape), data[:, number])


def test_pages_lie_in_the_order_of_arrival_whatever_their_index(tmp_path: Path) -> None:
    plan = plan_of({"t": 3, "c": 2, "y": 4, "x": 5}, storage_order=["c", "t", "y", "x"])
    writer, data = opened(tmp_path / "a.tiff", plan), pixels((6, 4, 5))
    blocks = [block._replace(data=block.data.copy()) for block in frames(plan, data)]
    assert [block.start for block in blocks] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    writer.write(blocks[:2])
    writer.write([])
    writer.write([blocks[3], blocks[5]])
    writer.close([])
    assert np.array_equal(np.stack(pages(tmp_path / "a.tiff")), data[[0, 1, 3, 5]])


def test_several_images_share_a_file(tmp_path: Path) -> None:
    plan = plan_of({"t": 2, "p": 3, "y": 4, "x": 5}, single="always")
    writer, data = opened(tmp_path / "a.tiff", plan, ow.documents(plan, STAMP)), pixels((2, 3, 4, 5))
    for block in frames(plan, data):
        writer.resize(block.array, (2, 4, 5))
        writer.write([block])
    writer.close(ow.documents(plan, STAMP, ow.Outcome(verdict="complete", cursor=6)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tiff"]
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        assert np.array_equal(np.stack([series.asarray() for series in file.series]), data.swapaxes(0, 1))


# ── documents ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("final", ["<b/>", "<complete>" + "µ" * 5000 + "</complete>", "<running/>"])
def test_the_comment_is_replaced_by_a_shorter_or_longer_one(tmp_path: Path, final: str) -> None:
    plan = plan_of({"t": 3, "y": 4, "x": 5})
    path, data = tmp_path / "a.tiff", pixels((3, 4, 5))
    writer, blocks = opened(path, plan), frames(plan, data)
    writer.flush(comment("<before the first page/>"))
    writer.write([next(blocks)])
    assert description(path) == "<before the first page/>"
    writer.flush(comment("<in the middle>" + "x" * 999 + "</in the middle>"), durable=True)
    writer.write([next(blocks)])
    assert description(path) == "<in the middle>" + "x" * 999 + "</in the middle>"
    writer.write([next(blocks)])
    writer.close(comment(final))
    assert description(path) == final
    assert np.array_equal(np.stack(pages(path)), data)
    assert np.array_equal(imagecodecs.tiff_decode(path.read_bytes(), index=2), data[2])


def test_a_longer_comment_goes_to_the_end_and_a_shorter_one_takes_its_place(tmp_path: Path) -> None:
    plan = plan_of({"t": 1, "y": 4, "x": 5})
    writer = opened(tmp_path / "a.tiff", plan)
    writer.write(list(frames(plan, pixels((1, 4, 5)))))
    size = (tmp_path / "a.tiff").stat().st_size
    writer.flush(comment("<short/>"))
    assert (tmp_path / "a.tiff").stat().st_size == size
    writer.flush(comment("x" * 99))
    assert size + 100 <= (tmp_path / "a.tiff").stat().st_size <= size + 101
    writer.close(comment("y" * 50))
    assert (tmp_path / "a.tiff").stat().st_size <= size + 101
    assert description(tmp_path / "a.tiff") == "y" * 50


def test_a_companion_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    plan = plan_of({"t": 1, "p": 2, "y": 4, "x": 5}, mode="companion-file")
    writer = opened(tmp_path / "a", plan, [ow.Document("a.companion.ome", "xml", "<µ/>")])
    assert (tmp_path / "a" / "a.companion.ome").read_text("utf-8") == "<µ/>"
    for block in frames(plan, pixels((2, 4, 5))):
        writer.write([block])
    writer.flush(durable=True)
    writer.close([ow.Document("a.companion.ome", "xml", "<b/>")])
    assert (tmp_path / "a" / "a.companion.ome").read_text("utf-8") == "<b/>"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["a.companion.ome", *plan.layout.files]


def test_a_file_without_frames_gets_a_blank_page(tmp_path: Path) -> None:
    plan = plan_of({"t": 2, "p": 3, "y": 4, "x": 5}, dtype="float32")
    writer, files = opened(tmp_path / "a", plan), plan.layout.files
    writer.write([next(frames(plan, pixels((1, 4, 5), "float32")))])
    writer.close(comment("<stopped/>", *files))
    found = [pages(tmp_path / "a" / name) for name in files]
    assert [len(each) for each in found] == [1, 1, 1]
    assert found[0][0].any()
    assert [page.tolist() for (page,) in found[1:]] == [[[0.0] * 5] * 4] * 2
    assert [description(tmp_path / "a" / name) for name in files] == ["<stopped/>"] * 3


@pytest.mark.parametrize(
    ("scale", "unit", "expected"),
    [
        ((0.5, 0.25), "micrometer", (40_000, 20_000, tifffile.RESUNIT.CENTIMETER)),
        ((2, 2), "millimeter", (5, 5, tifffile.RESUNIT.CENTIMETER)),
        ((None, None), None, (1, 1, tifffile.RESUNIT.NONE)),
        ((0.5, None), "micrometer", (1, 1, tifffile.RESUNIT.NONE)),
        ((0.5, 0.5), None, (1, 1, tifffile.RESUNIT.NONE)),
        ((1, 1), "femtometer", (1, 1, tifffile.RESUNIT.NONE)),
    ],
)
def test_the_resolution_agrees_with_the_pixel_size(
    tmp_path: Path, scale: tuple[float | None, float | None], unit: str | None, expected: tuple[int, int, int]
) -> None:
    dims = [
        ow.Dimension(name="y", count=4, scale=scale[0], unit=unit),
        ow.Dimension(name="x", count=5, scale=scale[1], unit=unit),
    ]
    plan = plan_of({}, dimensions=dims)
    writer = opened(tmp_path / "a.tiff", plan)
    writer.write(list(frames(plan, pixels((1, 4, 5)))))
    writer.close([])
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        x, y, said = (file.pages.first.tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit"))
    assert (x[0] / x[1], y[0] / y[1], said) == expected


# ── many files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_few_files_are_open_at_a_time(tmp_path: Path) -> None:
    plan = plan_of({"t": 3, "p": 100, "y": 4, "x": 5})
    writer, data = opened(tmp_path / "a", plan, open_files=5), pixels((3, 100, 4, 5))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(entry.name) for entry in Path("/dev/fd").iterdir()}
    free = [number for number in range(max(used) + 9) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[7] + 1, before[1]))
    try:
        for block in frames(plan, data):
            writer.write([block])
        writer.flush(comment("<longer than before/>", *plan.layout.files), durable=True)
        writer.close(comment("<complete/>", *plan.layout.files))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for number, name in enumerate(plan.layout.files):
        assert np.array_equal(np.stack(pages(tmp_path / "a" / name)), data[:, number])
        assert description(tmp_path / "a" / name) == "<complete/>"


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"compression": "zstd"}, {"p": 2}])
def test_a_full_disk_is_an_error_of_the_frame_and_takes_no_page_with_it(tmp_path: Path, settings: Any) -> None:
    positions = {"p": settings.pop("p")} if "p" in settings else {}
    plan = plan_of({"t": 4, **positions, "y": 64, "x": 64}, **settings)
    data = np.random.default_rng(0).integers(0, 2**16, (4, 64, 64)).astype("uint16")  # cannot be compressed
    root = tmp_path / "a"
    writer, path = opened(root, plan), root / plan.layout.files[0] if positions else root
    blocks = [ow.Block((t,), 0, (t,), data[t : t + 1]) for t in range(4)]
    with disk_of(24_000):
        writer.write(blocks[:2])
        size = path.stat().st_size
        with pytest.raises(OSError, match="File too large"):
            writer.write([blocks[2]])
        assert path.stat().st_size == size
        assert np.array_equal(np.stack(pages(path)), data[:2])
    writer.write([blocks[3]])
    assert np.array_equal(np.stack(pages(path)), data[[0, 1, 3]])
    writer.close(comment("<failed/>", plan.layout.files[0]))
    assert description(path) == "<failed/>"
    assert np.array_equal(imagecodecs.tiff_decode(path.read_bytes(), index=2), data[3])


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
