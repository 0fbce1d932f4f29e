"""OME-XML where every planned frame has its page from the start: judged by the schema, and counted by nested loops."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import lxml.etree
import numpy as np
import ome_types
import pytest

import ome_writers as ow
from ome_writers import growth, omexml_pages, omexml_planes
from ome_writers.documents import Text, text_of

STAMP = ow.Stamp(datetime(2026, 1, 2, tzinfo=UTC), tuple(f"{n:08}-0000-4000-8000-000000000000" for n in range(9)))
MODES = ("redundant", "master-tiff", "companion-file")


@cache
def schema() -> lxml.etree.XMLSchema:
    return lxml.etree.XMLSchema(lxml.etree.parse(Path(ome_types.__file__).parent / "ome-2016-06.xsd"))


def plan_of(sizes: dict[str, Any], mode: str = "redundant", single: str = "auto", **settings: Any) -> ow.Plan:
    dims = settings.pop("dimensions", None) or ow.dims_from_standard_axes(sizes | {"y": 8, "x": 8})
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode, prefer_single_file=single)
    given = {"root_path": "a.ome.tiff", "dtype": "uint8", "dimensions": dims, "format": format_} | settings
    return ow.compile(ow.AcquisitionSettings(**given))


def described(plan: ow.Plan, **outcome: Any) -> list[ow.Document]:
    made = list(ow.documents(plan, STAMP, ow.Outcome(placed=True, **outcome)))
    for document in made:
        schema().assertValid(lxml.etree.fromstring(document.body.encode()))
    return made


def planes(text: str, image: int = 0) -> list[tuple[int, int, int, int, int]]:
    read = ome_types.from_xml(text).images[image].pixels
    return [(b.first_t, b.first_c, b.first_z, b.ifd, b.plane_count) for b in read.tiff_data_blocks]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("verdict", ["running", "complete"])
@pytest.mark.parametrize("count", [3, None])
def test_they_are_valid(mode: str, verdict: str, count: int | None) -> None:
    plan = plan_of({"t": count, "p": ["a", "b"], "c": 2}, mode)
    docs = described(plan, verdict=verdict, cursor=12 if verdict == "complete" else 0)
    for document in docs:
        if document.kind == "comment":
            assert document.shapes == (((3, 2, 8, 8),) if verdict == "complete" else ())


@pytest.mark.parametrize("order", [["t", "p", "c"], ["c", "p", "t"]])
def test_pages_are_counted_image_by_image_in_storage_order(order: list[str]) -> None:
    plan = plan_of({"t": 3, "p": ["a", "b"], "c": 2}, single="always", storage_order=[*order, "y", "x"])
    stopped, failed = {"verdict": "stopped", "cursor": 5}, {"verdict": "failed", "cursor": 4}
    for outcome, rounds in (({}, (3, 3)), (stopped, (2, 1)), (failed, (1, 1))):
        (document,) = described(plan, **outcome)
        page = 0
        for image in range(2):
            expected = []
            outer, inner = (rounds[image], 2) if order[0] == "t" else (2, rounds[image])
            for i in range(outer):
                for j in range(inner):
                    t, c = (i, j) if order[0] == "t" else (j, i)
                    expected.append((t, c, 0, page, 1))
                    page += 1
            assert sorted(planes(document.body, image), key=lambda plane: plane[3]) == expected
        wanted = tuple((count, 2, 8, 8) if order[0] == "t" else (2, count, 8, 8) for count in rounds)
        assert document.shapes == (wanted if outcome else ())


def test_planes_that_did_not_come_have_pages_too() -> None:
    plan = plan_of({"t": 2, "c": 2})
    (document,) = described(plan, verdict="complete", cursor=4, missing=np.array([1, 2]))
    assert {(t, c): ifd for t, c, _, ifd, _ in planes(document.body)} == {(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 3}
    assert re.findall('ome-writers/blank"><Value><M K="pages">([^<]*)', document.body) == ["1-2"]


def test_planes_that_were_never_planned_have_pages_too() -> None:
    plan = plan_of({"t": 4, "c": 2}).select(t=[0, 2])
    for outcome, rounds in (({}, 4), ({"verdict": "complete", "cursor": plan.frames}, 3)):
        (document,) = described(plan, **outcome)
        expected = [(n // 2, n % 2, 0, n, 1) for n in range(2 * rounds)]
        assert sorted(planes(document.body), key=lambda plane: plane[3]) == expected


def test_very_many_planes_are_not_listed_while_the_run_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omexml_pages, "MOST_PLANES", 10)
    monkeypatch.setattr(omexml_pages, "TOGETHER", 3)
    plan = plan_of({"t": 3, "p": ["a", "b"], "c": 2}, single="always")
    (document,) = described(plan)
    assert [planes(document.body, image) for image in range(2)] == [[(0, 0, 0, 0, 6)], [(0, 0, 0, 6, 6)]]
    (end,) = described(plan, verdict="complete", cursor=12, missing=np.array([1, 6]))
    for image, missing in ((0, (0, 1)), (1, (1, 0))):
        listed = [(t, c, 0, 6 * image + 2 * t + c, 1) for t in range(3) for c in range(2)]
        assert sorted(planes(end.body, image)) == listed
        number = 6 * image + 2 * missing[0] + missing[1]
        assert f'ome-writers/blank"><Value><M K="pages">{number}<' in end.body


@pytest.mark.parametrize("mode", MODES)
def test_long_texts_are_made_piece_by_piece(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"t": 4, "p": ["a", "b"], "c": 2}, mode)
    records = {place: {"delta_t": place / 2, "laser": place % 3} for place in range(12)}
    outcome = ow.Outcome(placed=True, verdict="stopped", cursor=12, records=records)
    whole = [str(document.body) for document in ow.documents(plan, STAMP, outcome)]
    monkeypatch.setitem(text_of.__globals__, "_LONG", 1000)
    monkeypatch.setattr(omexml_planes, "TOGETHER", 2)
    for document, expected in zip(ow.documents(plan, STAMP, outcome), whole, strict=True):
        assert isinstance(document.body, Text) is ("<BinaryOnly" not in expected)
        for _ in range(2):
            assert "".join(document.body) == expected
        schema().assertValid(lxml.etree.fromstring(expected.encode()))
    # Writers that have no places for pages take text only.
    assert all(
        isinstance(document.body, str)
        for document in ow.documents(plan, STAMP, ow.Outcome(verdict="stopped", cursor=12, records=records))
    )


def test_without_end_they_stay_small_while_the_run_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "STEP_BYTES", 4 * 2 * 64)
    plan = plan_of({"t": None, "c": 2})
    (document,) = described(plan, cursor=17)
    assert planes(document.body) == [(0, 0, 0, 0, 8), (4, 0, 0, 8, 8), (8, 0, 0, 16, 8)]
    assert ome_types.from_xml(document.body).images[0].pixels.size_t == 12
    (later,) = described(plan, cursor=200_000)
    assert len(later.body) < len(document.body) + 90 * 80
    (end,) = described(plan, verdict="complete", cursor=17)
    assert planes(end.body) == [(n // 2, n % 2, 0, n, 1) for n in range(18)]


def test_without_end_in_another_order_planes_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "STEP_BYTES", 2 * 2 * 64)
    plan = plan_of({"t": None, "c": 2}, storage_order=["c", "t", "y", "x"])
    (document,) = described(plan, cursor=5)
    # Pages lie in the order in which frames come; the readers' order is another one.
    assert sorted(planes(document.body), key=lambda plane: plane[3]) == [(n // 2, n % 2, 0, n, 1) for n in range(8)]


def test_while_the_run_lasts_each_file_of_many_tells_of_itself() -> None:
    positions = [ow.Position(name=f"f{k}", plate_row="A", plate_column=str(k + 1)) for k in range(3)]
    dims = [
        ow.Dimension(name="p", type="position", coords=positions),
        *ow.dims_from_standard_axes({"c": 2, "y": 8, "x": 8}),
    ]
    plan = plan_of({}, dimensions=dims, plate=ow.Plate(name="plate", row_names=["A"], column_names=["1", "2", "3"]))
    for number, document in enumerate(described(plan, globals={"mine": {"objective": "20x"}})):
        assert 'Namespace="mine"' in document.body
        read = ome_types.from_xml(document.body)
        assert [image.name for image in read.images] == [f"f{number}"]
        assert read.uuid == f"urn:uuid:{STAMP.uuids[number]}"
        block = read.images[0].pixels.tiff_data_blocks[0]
        assert (block.uuid.value, block.uuid.file_name) == (read.uuid, document.path)
        samples = [sample.image_ref.id for well in read.plates[0].wells for sample in well.well_samples]
        assert samples == [f"Image:{number}"]
        named = {reference.id for image in read.images for reference in image.annotation_refs}
        assert named <= {a.id for a in read.structured_annotations.map_annotations}
    for document in described(plan, verdict="complete", cursor=6):
        assert len(ome_types.from_xml(document.body).images) == 3


def test_what_came_with_frames_that_were_lost_is_told_of_no_other_plane() -> None:
    """The arrays end with the last frame that is there, and what was lost lies beyond."""
    plan = plan_of({"t": None, "p": ["a", "b"], "z": 6})
    records = {place: {"delta_t": float(place)} for place in range(42)}
    documents = described(plan, verdict="failed", cursor=42, missing=np.arange(32, 42), records=records)
    images = ome_types.from_xml(documents[0].body).images
    told = {
        (image, plane.the_t, plane.the_z): plane.delta_t
        for image, one in enumerate(images)
        for plane in one.pixels.planes
    }
    assert told == {(n // 6 % 2, n // 12, n % 6): float(n) for n in range(32)}
