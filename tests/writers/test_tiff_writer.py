"""The tifffile writer, driven directly; its files are read with tifffile and with libtiff (in imagecodecs)."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


def opened(root: Path, plan: ow.Plan, docs: Sequence[ow.Document] | None = None, **options: Any) -> TiffWriter:
    writer = TiffWriter(**options)
    writer.open(str(root), plan, comment("<running/>", *plan.layout.files) if docs is None else docs)
    return writer


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
    data[[2, 4]] = 0  # a frame that did not come has a page too
    assert np.array_equal(np.stack(pages(tmp_path / "a.tiff")), data)


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


def test_files_end_with_the_blank_pages_that_their_documents_ask_for(tmp_path: Path) -> None:
    plan = plan_of({"t": 3, "p": 2, "y": 4, "x": 5}, compression="zlib")
    writer, data = opened(tmp_path / "a", plan), pixels((1, 4, 5))
    writer.write([next(frames(plan, data))])
    first, second = plan.layout.files
    writer.close(
        [
            ow.Document(first, "comment", "<stopped/>", blank_pages=(0, 0)),
            ow.Document(second, "comment", "<none/>", blank_pages=(1,)),
        ]
    )
    assert np.array_equal(np.stack(pages(tmp_path / "a" / first)), [data[0], data[0] * 0, data[0] * 0])
    assert np.array_equal(np.stack(pages(tmp_path / "a" / second)), data * 0)
    assert [description(tmp_path / "a" / name) for name in (first, second)] == ["<stopped/>", "<none/>"]


def test_a_blank_page_has_the_shape_and_dtype_of_the_array_for_which_it_stands(tmp_path: Path) -> None:
    cameras = [ow.Camera(name="wide", shape=(8, 6), dtype="float32"), ow.Camera(name="tall", shape=(3, 9))]
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.tiff"),
        dimensions=[
            ow.Dimension(name="t", count=4, type="time"),
            ow.Dimension(name="cam", coords=cameras, type="camera"),
            ow.Dimension(name="c", count=2, type="channel"),
            ow.Dimension(name="y", count=8, type="space"),
            ow.Dimension(name="x", count=6, type="space"),
        ],
        dtype="uint16",
        format=ow.OmeTiffFormat(prefer_single_file="always"),
        compression="zlib",
    )
    plan = ow.compile(settings)
    came = [np.full(shape, 7, dtype) for shape, dtype in (((8, 6), "float32"), ((8, 6), "float32"), ((3, 9), "uint16"))]
    root = ow.write(plan, came, "tifffile").root
    with tifffile.TiffFile(root) as file:
        assert [(page.shape, str(page.dtype)) for page in file.pages] == [
            ((8, 6), "float32"),
            ((8, 6), "float32"),
            ((3, 9), "uint16"),
            ((3, 9), "uint16"),
        ]
        wide, tall = (series.asarray() for series in file.series)
    assert np.array_equal(wide, np.stack(came[:2]))
    assert np.array_equal(tall, np.stack([came[2], came[2] * 0]))


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


@pytest.mark.parametrize("stands", [False, True])
def test_the_first_frames_of_a_run_that_replaces_another_did_not_come(tmp_path: Path, stands: bool) -> None:  # noqa: FBT001
    dims = ow.dims_from_standard_axes({"t": 6, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=tmp_path / "a.ome.tiff", dtype="uint8", dimensions=dims, overwrite=True)
    if stands:
        ow.write(ow.compile(settings), np.full((6, 4, 4), 9, "uint8"), "tifffile")
    with ow.create_stream(settings, "tifffile") as stream:
        stream.skip(frames=2)
        for number in range(2, 6):
            stream.append(np.full((4, 4), number + 1, "uint8"))
    assert tifffile.imread(tmp_path / "a.ome.tiff")[:, 0, 0].tolist() == [0, 0, 3, 4, 5, 6]
