"""Laws of documents: valid for any settings, whatever happened; equal for equal inputs; true to the loops."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import lxml.etree
import numpy as np
import ome_types
import yaozarrs
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from ngff_zarr.validate import validate

from ome_writers import AcquisitionSettings, OmeTiffFormat, compile
from ome_writers.documents import Document, Outcome, Stamp, documents
from ome_writers.records import as_record
from ome_writers.testing.model import arrivals, axes_and_fans, image_numbers
from ome_writers.testing.strategies import names, settings
from ome_writers.zarrjson import encode_json, group_json

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


@cache
def schema() -> lxml.etree.XMLSchema:
    return lxml.etree.XMLSchema(lxml.etree.parse(Path(ome_types.__file__).parent / "ome-2016-06.xsd"))


def values() -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names()
    return st.recursive(plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names(), inner, max_size=2))


def records() -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.floats(-1e6, 1e6)
    told = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["delta_t", "exposure_time", "position_x", "position_z"], numbers)
    )
    return st.builds(lambda one, other: one | other, st.dictionaries(names(), values(), max_size=3), told)


@st.composite
def runs(draw: st.DrawFn, *formats: str) -> tuple[AcquisitionSettings, Outcome]:
    """Draw settings, and what happened when they were run."""
    drawn = draw(settings(formats=formats))
    verdict = draw(st.sampled_from(["running", "complete", "stopped", "failed"]))
    most = 40 if drawn.num_frames is None else drawn.num_frames
    cursor = most if verdict == "complete" else draw(st.integers(0, most))
    missing = draw(st.sets(st.integers(0, cursor - 1))) if cursor else set()
    came = sorted(set(range(cursor)) - missing)
    told = draw(st.dictionaries(st.sampled_from(came), records(), max_size=4)) if came else {}
    outcome = Outcome(
        verdict=verdict,
        cursor=cursor,
        missing=np.array(sorted(missing), np.int64),
        records={place: as_record(record) for place, record in told.items()},
        error=draw(st.none() | names()) if verdict == "failed" else None,
    )
    return drawn, outcome


def made(drawn: AcquisitionSettings, outcome: Outcome) -> list[Document]:
    plan = compile(drawn)
    uuids = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(len(plan.layout.files) + 1))
    return list(documents(plan, Stamp(NOW, uuids), outcome))


def whole(drawn: AcquisitionSettings, outcome: Outcome) -> list[ET.Element]:
    """Return the OME-XML of each document that holds all of it."""
    roots = [ET.fromstring(document.body) for document in made(drawn, outcome) if document.kind != "group"]  # noqa: S314 - our own
    return [root for root in roots if root.find(f"{OME}BinaryOnly") is None]


def came(drawn: AcquisitionSettings, outcome: Outcome) -> list[tuple[int, int, dict[str, int]]]:
    """Return place, image and the indices T, C, Z of each frame that came, or that will while the run lasts."""
    axes, _ = axes_and_fans(drawn)
    stop = outcome.cursor
    if outcome.verdict == "running":
        stop = (
            drawn.num_frames
            if drawn.num_frames is not None
            else int(np.prod([d.count for d in drawn.dimensions[1:-2]]))
        )
    gone = set() if outcome.verdict == "running" else set(outcome.missing.tolist())
    found = []
    for place, arrival in enumerate(islice(arrivals(drawn), stop)):
        if place not in gone:
            loops = {"T": 0, "C": 0, "Z": 0}
            for axis, index in zip(axes, arrival.index, strict=True):
                loops[{"time": "T", "space": "Z"}.get(axis.type, "C")] = index
            found.append((place, arrival.image, loops))
    return found


@given(runs("ome-tiff"))
def test_tiff_data_is_a_bijection_onto_the_planes_that_came_and_the_others_are_blank(run):
    drawn, outcome = run
    single = isinstance(drawn.format, OmeTiffFormat) and drawn.format.is_single_file(len(drawn.positions))
    pages, full = defaultdict(list), {}
    arrived = came(drawn, outcome)
    through = max((place for place, *_ in arrived), default=-1)
    for place, image, loops in came(drawn, evolve(outcome, missing=np.empty(0, np.int64))):
        if place <= through:  # each of these has a page, in order of arrival
            pages["" if single else f"run_p{image:03}{drawn.format.suffix}"].append((image, loops))
    expected = [(image, loops) for _, image, loops in arrived]
    known = {(image, *loops.values()) for image, loops in expected}
    announced = outcome.verdict == "running" and drawn.num_frames is None
    for root in whole(drawn, outcome):
        told, blank = {}, defaultdict(list)
        for number, sizes, listed in told_by(root, single=single):
            full[number] = np.zeros(sizes, int)
            for file, ifd, more, loops, is_blank in listed:
                if announced and (number, *loops.values()) not in known:
                    continue  # more rounds are announced than one
                full[number][tuple(loops.values())] += 1
                if is_blank:
                    blank[file, ifd].append(number)
                else:
                    assert (file, ifd + more) not in told, "no page is two planes"
                    told[file, ifd + more] = (number, loops)
        assert {key: pages[key[0]][key[1]] for key in told} == told
        assert sorted(map(repr, told.values())) == sorted(map(repr, expected))
        assert all(len(set(images)) == 1 for images in blank.values()), "tifffile cannot read a page of two images"
        ends = {
            document.path: len(document.blank_pages) for document in made(drawn, outcome) if document.kind == "comment"
        }
        for (file, ifd), (image, *_) in blank.items():
            begun = ifd < len(pages[file])
            assert pages[file][ifd][0] == image if begun else ifd < len(pages[file]) + ends[file]
        if outcome.verdict != "running":
            assert all((planes == 1).all() for planes in full.values()), "every plane has one page"
        assert len(full) == len(image_numbers(axes_and_fans(drawn)[1])) or single


def told_by(root, *, single):
    """Yield number and size of each image, and for each of its planes: file, IFD, pages behind it, T C Z, if blank."""
    notes = {
        note.get("ID"): note.findtext(f"{OME}Value/{OME}M")
        for note in root.iter(f"{OME}MapAnnotation")
        if note.get("Namespace") == "ome-writers/blank"
    }
    for image in root.iter(f"{OME}Image"):
        pixels, listed = image.find(f"{OME}Pixels"), []
        refs = [notes[ref.get("ID")] for ref in image.iter(f"{OME}AnnotationRef") if ref.get("ID") in notes]
        noted = {n for part in " ".join(refs).split() for n in stretch(part)}
        for data in image.iter(f"{OME}TiffData"):
            uuid = data.find(f"{OME}UUID")
            assert (uuid is None) == single
            file, ifd = "" if uuid is None else uuid.get("FileName"), int(data.get("IFD"))
            listed += [(file, ifd, more, loops, ifd in noted) for more, loops in planes_of(data, pixels)]
        sizes = [int(pixels.get(f"Size{axis}")) for axis in "TCZ"]
        yield int(image.get("ID").removeprefix("Image:")), sizes, listed


def planes_of(data, pixels):
    """Yield the planes of a `TiffData`, each with the number of pages that it lies behind the first."""
    first = {axis: int(data.get(f"First{axis}", 0)) for axis in "TCZ"}
    if data.get("PlaneCount") == "1":
        yield 0, first
        return
    order = [axis for axis in pixels.get("DimensionOrder") if axis in first]
    sizes = [int(pixels.get(f"Size{axis}")) for axis in order]
    begin = int(np.ravel_multi_index([first[axis] for axis in order], sizes, order="F"))
    for more in range(min(int(data.get("PlaneCount")), 64)):
        index = np.unravel_index(begin + more, sizes, order="F")
        at = {axis: int(k) for axis, k in zip(order, index, strict=True)}
        yield more, {axis: at[axis] for axis in "TCZ"}


def stretch(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


@given(runs("ome-tiff", "ome-zarr"))
def test_ome_xml_is_valid(run):
    for document in made(*run):
        if document.kind != "group":
            assert not re.search("&#(?!9;|10;|13;)", document.body), "Bio-Formats would not read it"
            schema().assertValid(lxml.etree.fromstring(document.body.encode()))


@given(runs("ome-zarr"))
def test_groups_are_valid(run):
    models = {
        "multiscales": "image",
        "plate": "plate",
        "well": "well",
        "series": "ome",
        "bioformats2raw.layout": "bf2raw",
    }
    for document in made(*run):
        if document.kind == "group" and document.body:
            (model,) = [model for key, model in models.items() if key in document.body["ome"]]
            if model != "well" or run[0].format.group_names == "number":
                if run[0].storage_order == "ome":  # NGFF has rules for the order of axes
                    yaozarrs.validate_ome_object(document.body["ome"])
                validate(document.body, version="0.5", model=model, strict=model in ("image", "plate", "well"))


@given(runs("ome-tiff", "ome-zarr"))
def test_equal_inputs_give_equal_bytes(run):
    one, other = made(*run), made(*run)
    assert one == other
    for document in one:
        if document.kind == "group":
            text = encode_json(group_json(document.body))
            assert json.loads(text)["attributes"] == document.body


@given(runs("ome-tiff", "ome-zarr"))
def test_names_survive(run):
    drawn, outcome = run
    positions = {position.name for position in drawn.positions}
    if drawn.position_dimension_index is None:
        return
    for root in whole(drawn, outcome):
        for image in root.iter(f"{OME}Image"):
            assert any(image.get("Name").startswith(name) for name in positions)
        assert {label.get("Name") for label in root.iter(f"{OME}StageLabel")} <= positions
    _, fans = axes_and_fans(drawn)
    images = [document.body for document in made(drawn, outcome) if "multiscales" in str(document.body)[:99]]
    assert len(images) in (0, len(image_numbers(fans)))
    for image in images:
        assert image["ome"]["multiscales"][0]["name"].startswith(image["ome_writers"]["position"]["name"])
        assert image["ome_writers"]["position"]["name"] in positions


@given(runs("ome-zarr"))
def test_metadata_of_frames_survives_in_ome_zarr(run):
    drawn, outcome = run
    everything = list(islice(arrivals(drawn), outcome.cursor))
    told = {}
    for document in made(drawn, outcome):
        if document.kind == "group" and "position" in document.body.get("ome_writers", {}):
            name = document.body["ome_writers"]["position"]["name"]
            for record in document.body["ome_writers"].get("frame_metadata", []):
                told.setdefault((name, tuple(record["storage_index"])), []).append(record)
    if drawn.position_dimension_index is not None:
        for place, record in outcome.records.items():
            arrival = everything[place]
            found = told[drawn.positions[arrival.position].name, arrival.index]
            assert {**record, "storage_index": list(arrival.index)} in found
        assert sum(map(len, told.values())) == len(outcome.records)


@given(runs("ome-tiff"))
def test_metadata_of_frames_survives_in_ome_tiff(run):
    drawn, outcome = run
    at = {(image, *loops.values()): place for place, image, loops in came(drawn, outcome)}
    for root in whole(drawn, outcome):
        maps = {one.get("ID"): one for one in root.iter(f"{OME}MapAnnotation")}
        told = {}
        for image in root.iter(f"{OME}Image"):
            number = int(image.get("ID").removeprefix("Image:"))
            for plane in image.iter(f"{OME}Plane"):
                place = at[number, *(int(plane.get(f"The{axis}")) for axis in "TCZ")]
                told[place] = {}
                for ref in plane.iter(f"{OME}AnnotationRef"):
                    pairs = maps[ref.get("ID")].iter(f"{OME}M")
                    told[place] |= {pair.get("K"): value_of(pair.text or "") for pair in pairs}
                for key, name in (
                    ("delta_t", "DeltaT"),
                    ("exposure_time", "ExposureTime"),
                    ("position_x", "PositionX"),
                ):
                    if key in outcome.records.get(place, {}):
                        assert float(plane.get(name)) == outcome.records[place][key]
        numbers = {"delta_t", "exposure_time", "position_x", "position_y", "position_z"}
        for place, record in outcome.records.items():
            if place in at.values() and not (outcome.verdict == "running" and drawn.num_frames is None):
                others = {key: value for key, value in record.items() if key not in numbers}
                assert told.get(place, {}) == others


def value_of(text: str) -> Any:
    """Return the value that stands as text: JSON, or text without quotes."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text
