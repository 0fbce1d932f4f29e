"""Metadata that other programs lost or got wrong: each of those faults, on every writer in each of its layouts."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from ome_types import OME, from_xml

import ome_writers as ow
from ome_writers.testing import Way, ways

EVERY = pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
FRAME: NDArray[Any] = np.ones((6, 7), "uint16")
Records = dict[tuple[int, tuple[int, ...]], dict[str, Any]]
"""By image and storage index."""


def opened(way: Way, folder: Path, sizes: dict[str, Any], **more: Any) -> tuple[ow.Stream, Any]:
    dims = ow.dims_from_standard_axes({**sizes, "y": 6, "x": 7})
    writer = way.make()
    return ow.Stream(ow.compile(way.settings(folder, dims, **({"dtype": "uint16"} | more))), writer), writer


def document(way: Way, writer: Any, root: str, name: str) -> Any:
    """Return a document as its readers find it: attributes of a group, OME-XML of a file, or a manifest."""
    if not way.persistent:
        return writer.documents[name]
    if way.format.name == "ome-zarr":
        return zarr.open_group(root, path=name, mode="r").attrs.asdict()
    if way.format.name == "scratch":
        return json.loads(Path(root, "manifest.json").read_text("utf-8"))
    if name.endswith(".companion.ome"):
        return Path(root, name).read_text("utf-8")
    with tifffile.TiffFile(Path(root, name)) as file:
        return file.ome_metadata


def records(way: Way, stream: ow.Stream, writer: Any) -> Records:
    """Return what came with frames, in the words of JSON, as it stands in the documents."""
    assert stream.outcome is not None
    root, found = stream.outcome.root, Records()
    arrays = stream.plan.layout.arrays
    if way.format.name == "scratch":
        for one in document(way, writer, root, "manifest.json")["frame_metadata"]:
            del one["frame"]
            found[one.pop("array"), tuple(one.pop("storage_index"))] = one
    elif way.format.name == "ome-zarr":
        for array in arrays:
            group = PurePosixPath(array.path).parent.as_posix().removeprefix(".")
            for one in document(way, writer, root, group)["ome_writers"]["frame_metadata"]:
                found[array.image, tuple(one.pop("storage_index"))] = one
    else:
        texts = {text for array in arrays for text in [described(way, writer, root, array.path)] if text}
        for text in texts:
            for key, record in planes(from_xml(text), arrays[0].dimension_names).items():
                assert found.setdefault(key, record) == record, "every document says the same"
    return found


def described(way: Way, writer: Any, root: str, path: str) -> str | None:
    """Return the OME-XML that describes the pixels of a file, wherever it stands."""
    text = document(way, writer, root, path)
    only = from_xml(text).binary_only
    return document(way, writer, root, only.metadata_file) if only else text


def planes(model: OME, names: tuple[str, ...]) -> Records:
    """Return what OME-XML says of planes. Values in it are text: JSON, if they were none."""
    maps = {one.id: one.value for one in model.structured_annotations or ()}
    found = Records()
    for image in model.images:
        number = int(str(image.id).removeprefix("Image:"))
        for plane in image.pixels.planes:
            at = {"t": plane.the_t, "c": plane.the_c, "z": plane.the_z}
            record: dict[str, Any] = {} if plane.delta_t is None else {"delta_t": plane.delta_t}
            for ref in plane.annotation_refs:
                record |= {entry.k: read(entry.value) for entry in maps[ref.id].ms}
            found[number, tuple(at[name] for name in names[:-2])] = record
    return {key: record for key, record in found.items() if record}


def read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Shutter(enum.Enum):
    OPEN = "open"


GIVEN: Mapping[str, Any] = {
    "delta_t": np.float32(0.5),
    "count": np.int64(2**40),
    "flag": np.bool_(True),  # noqa: FBT003 - numpy's
    "gain": np.float64(1.5),
    "offsets": np.array([[1, 2], [3, 4]], "uint8"),
    "measured": np.array([0.5, np.nan, -np.inf]),
    "at": datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
    "stamp": np.datetime64("2026-11-22T01:02:03"),
    "waited": timedelta(seconds=1.5),
    "file": PurePosixPath("data/µ.txt"),
    "shutter": Shutter.OPEN,
    "bad_pixel": float("nan"),
    "nested": {"who": "Ähm <&> \"'", 3: [None, (1, 2)]},
}
STORED: Mapping[str, Any] = {
    "delta_t": 0.5,
    "count": 2**40,
    "flag": True,
    "gain": 1.5,
    "offsets": [[1, 2], [3, 4]],
    "measured": [0.5, "NaN", "-Infinity"],
    "at": "2026-11-22T01:02:03+00:00",
    "stamp": "2026-11-22T01:02:03",
    "waited": 1.5,
    "file": "data/µ.txt",
    "shutter": "open",
    "bad_pixel": "NaN",
    "nested": {"who": "Ähm <&> \"'", "3": [None, [1, 2]]},
}


@EVERY
def test_values_of_every_kind_are_stored(tmp_path: Path, way: Way) -> None:
    stream, writer = opened(way, tmp_path, {"t": 2, "c": 2})
    with stream:
        for _ in range(4):
            stream.append(FRAME, frame_metadata=GIVEN)
    found = records(way, stream, writer)
    wanted = {key: read(value) if isinstance(value, str) else value for key, value in STORED.items()}
    assert found.keys() == {(0, (t, c)) for t in range(2) for c in range(2)}
    for record in found.values():
        assert {key: read(value) if isinstance(value, str) else value for key, value in record.items()} == wanted


@EVERY
@pytest.mark.parametrize("positions", [1, 3])
def test_every_frame_of_every_position_keeps_its_metadata(tmp_path: Path, way: Way, positions: int) -> None:
    several = {"p": positions} if positions > 1 else {}
    stream, writer = opened(way, tmp_path, {"t": None, **several, "c": 2})
    wanted, number = Records(), 0
    with stream:
        for t in range(2):
            for p in range(positions):
                for c in range(2):
                    stream.append(FRAME, frame_metadata={"delta_t": number / 4, "number": number})
                    wanted[p, (t, c)] = {"delta_t": number / 4, "number": number}
                    number += 1
    assert records(way, stream, writer) == wanted


@EVERY
@pytest.mark.parametrize(
    "bad",
    [
        {"callback": print},
        {"raw": b"\0"},
        {"delta_t": float("nan")},
        {"position_x": "here"},
        {"text": "\0"},
        {("a", "b"): 1},
        {"set": {1, 2}},
        {"object": np.array([object()])},
    ],
    ids=lambda bad: str(next(iter(bad))),
)
def test_a_bad_value_is_refused_before_the_frame_and_costs_nothing_else(
    tmp_path: Path, way: Way, bad: dict[Any, Any]
) -> None:
    stream, writer = opened(way, tmp_path, {"t": 3, "p": 2})
    expected = np.zeros((2, 3, 6, 7), "uint16")
    with stream:
        for number in range(6):
            with pytest.raises(ow.FrameError, match=rf"^frame {number} \(.*\): metadata"):
                stream.append(FRAME + 100, frame_metadata={"good": 1} | bad)
            stream.append(FRAME * (number + 1), frame_metadata={"number": number})
            expected[number % 2, number // 2] = number + 1
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("complete", 6)
    assert records(way, stream, writer) == {(n % 2, (n // 2,)): {"number": n} for n in range(6)}
    for array, wanted in zip(stream.plan.layout.arrays, expected, strict=True):
        np.testing.assert_array_equal(way.read(writer, stream.outcome.root, array), wanted)


# ── positions and plates ─────────────────────────────────────────────────────────────────────────────────────────────

PLATE = ow.Plate(row_names=["A", "B"], column_names=["1", "2"])


def field(name: str, row: str, column: str, *cell: int) -> ow.Position:
    grid_row, grid_column = cell or (None, None)
    return ow.Position(name=name, plate_row=row, plate_column=column, grid_row=grid_row, grid_column=grid_column)


@EVERY
@pytest.mark.parametrize("plate", [None, PLATE], ids=["no plate", "plate"])
def test_fields_of_one_name_in_a_well_are_all_there(tmp_path: Path, way: Way, plate: ow.Plate | None) -> None:
    fields = [
        field("fov", "A", "1", 0, 0),
        field("fov", "A", "1", 0, 1),
        field("fov", "B", "2", 0, 0),
        field("other", "A", "1", 1, 0),
    ]
    stream, writer = opened(way, tmp_path, {"t": 2, "p": fields}, plate=plate)
    expected = np.zeros((4, 2, 6, 7), "uint16")
    with stream:
        for t in range(2):
            for p in range(4):
                expected[p, t] = 10 * t + p + 1
                stream.append(expected[p, t])
    assert stream.outcome is not None
    arrays = stream.plan.layout.arrays
    assert len({array.path for array in arrays}) == (1 if arrays[0].path == arrays[1].path else 4)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(way.read(writer, stream.outcome.root, array), wanted)


@EVERY
@pytest.mark.parametrize(
    ("well", "words"),
    [
        (("C", "1"), "row.*'C'|'C'.*row"),
        (("A", "3"), "column.*'3'|'3'.*column"),
        (("a", "1"), "row.*'a'|'a'.*row"),
        ((None, None), "well"),
    ],
    ids=["row", "column", "case", "none"],
)
def test_a_well_that_is_not_on_the_plate_is_refused_before_anything_exists(
    tmp_path: Path, way: Way, well: Any, words: str
) -> None:
    with pytest.raises(ow.SettingsError, match=rf"(?s)dimensions\.\d\.coords\.1.*({words})"):
        opened(way, tmp_path, {"t": 2, "p": [field("a", "A", "1"), field("b", *well)]}, plate=PLATE)
    assert list(tmp_path.iterdir()) == []


def test_two_fields_of_one_name_and_place_are_refused_whoever_shall_write_them() -> None:
    same = [field("fov", "A", "1", 0, 0), field("fov", "A", "1", 0, 0)]
    with pytest.raises(ow.SettingsError, match=r"coords: .*unique in well A1, grid cell \(0, 0\); got 'fov' 2 times"):
        ow.dims_from_standard_axes({"p": same, "y": 6, "x": 7})
