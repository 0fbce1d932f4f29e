"""Laws of the documents of jagged acquisitions: valid, true to each image, and of planes that there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import lxml.etree
import ome_types
import pytest
import yaozarrs
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from ngff_zarr.validate import validate

from ome_writers import AcquisitionSettings, Channel, Plan, compile
from ome_writers.documents import Document, Outcome, Stamp, documents
from ome_writers.testing.jagged import planned
from ome_writers.testing.raggedness import jagged

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
FEW = limits(max_examples=max(limits().max_examples // 2, 10))
MODELS = {"multiscales": "image", "plate": "plate", "well": "well", "series": "ome", "bioformats2raw.layout": "bf2raw"}


@cache
def schema() -> lxml.etree.XMLSchema:
    return lxml.etree.XMLSchema(lxml.etree.parse(Path(ome_types.__file__).parent / "ome-2016-06.xsd"))


def made(plan: Plan, verdict: str, cursor: int) -> list[Document]:
    uuids = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(len(plan.layout.files) + 1))
    stamp = Stamp(datetime(2026, 11, 22, 20, 0, tzinfo=UTC), uuids)
    return list(documents(plan, stamp, Outcome(verdict=verdict, cursor=cursor)))


def places(settings: AcquisitionSettings, position: int, name: str) -> list[float] | None:
    """Return where the elements of a loop lie at a position, before the stage is added; `None` if nobody says."""
    dim = next(dim for dim in settings.dimensions if dim.name == name)
    own = settings.positions[position].coords.get(name)
    if own:
        return [float(place) for place in own]
    if dim.coords and all(isinstance(coord, (int, float)) for coord in dim.coords):
        return [float(coord) for coord in dim.coords]
    if dim.coords or dim.scale is None:
        return None
    return [(dim.translation or 0) + dim.scale * k for k in range(dim.count or 40)]


@FEW
@given(jagged(formats=["ome-tiff", "ome-zarr"]), st.sampled_from(["running", "complete"]))
def test_documents_are_valid(settings: AcquisitionSettings, verdict: str) -> None:
    plan = compile(settings)
    cursor = 0 if verdict == "running" else plan.frames or 40
    for document in made(plan, verdict, cursor):
        if document.kind != "group":
            schema().assertValid(lxml.etree.fromstring(str(document.body).encode()))
        elif document.body:
            (model,) = [model for key, model in MODELS.items() if key in document.body["ome"]]
            if settings.storage_order == "ome":  # NGFF has rules for the order of axes
                yaozarrs.validate_ome_object(document.body["ome"])
            validate(document.body, version="0.5", model=model, strict=model in ("image", "plate", "well"))
            json.dumps(document.body, allow_nan=False)


@FEW
@given(jagged(formats=["ome-tiff"], unbounded=False))
def test_ome_xml_has_exactly_the_planned_planes_at_their_true_places(settings: AcquisitionSettings) -> None:
    plan = compile(settings)
    roles = {dim.name: {"time": "T", "space": "Z"}.get(str(dim.type), "C") for dim in settings.dimensions[:-2]}
    names = plan.layout.arrays[0].dimension_names[:-2]
    expected: dict[int, dict[tuple[int, ...], dict[str, int]]] = {}
    for row, arrival in zip(plan.table.tolist(), planned(settings), strict=True):
        at = dict(zip((roles[name] for name in names), row[3], strict=True))
        expected.setdefault(row[2], {})[tuple(at.get(role, 0) for role in "TCZ")] = arrival.loops
    bodies = [document.body for document in made(plan, "complete", plan.frames or 0) if document.kind != "group"]
    root = next(root for root in map(ET.fromstring, map(str, bodies)) if root.find(f"{OME}BinaryOnly") is None)
    images = root.findall(f"{OME}Image")
    assert len(images) == len(plan.layout.arrays)
    deep = next((dim for dim in settings.dimensions[:-2] if dim.type == "space" and dim.name in names), None)
    channels = [dim for dim in settings.dimensions[:-2] if dim.type == "channel"]
    for number, image in enumerate(images):
        told = [tuple(int(data.get(f"First{role}")) for role in "TCZ") for data in image.iter(f"{OME}TiffData")]
        assert sorted(told) == sorted(expected[number])
        spec = plan.layout.arrays[number]
        stage = settings.positions[spec.position].z_coord
        for plane in image.iter(f"{OME}Plane"):
            loops = expected[number][tuple(int(plane.get(f"The{role}")) for role in "TCZ")]
            channel = next((dim.coords[loops[dim.name]] for dim in channels[:1] if dim.coords), Channel(name="any"))
            if settings.frames is None or settings.frames.exposure_time is None:
                assert plane.get("ExposureTime") == (channel.exposure_time and repr(float(channel.exposure_time)))
            depths = deep and places(settings, spec.position, deep.name)
            listed = settings.frames is not None and settings.frames.position_z is not None
            if depths and deep and not listed and (stage is not None or deep.scale is not None or deep.coords):
                depth = depths[loops[deep.name]] + (stage or 0) + (channel.z_offset or 0)
                assert float(plane.get("PositionZ")) == pytest.approx(depth)
        cameras = settings.camera_dimension
        if cameras and not cameras.fold:
            detectors = {one.get("ID") for one in root.iter(f"{OME}Detector")}
            assert {one.get("ID") for one in image.iter(f"{OME}DetectorSettings")} == {f"Detector:{spec.camera}"}
            assert f"Detector:{spec.camera}" in detectors
            camera: Any = cameras.coords[spec.camera]
            size = camera.pixel_size[1] if camera.pixel_size else settings.dimensions[-1].scale
            said = image.find(f"{OME}Pixels").get("PhysicalSizeX")
            assert (float(said) if said else None) == (size or None)


@FEW
@given(jagged(formats=["ome-zarr"], unbounded=False))
def test_ome_zarr_has_exactly_the_planned_planes_at_their_true_places(settings: AcquisitionSettings) -> None:
    plan = compile(settings)
    groups = {document.path: document.body for document in made(plan, "complete", plan.frames or 0)}
    loops = [arrival.loops for arrival in planned(settings)]
    shared = groups[""]["ome_writers"].get("coordinates", {})
    for number, (spec, shape) in enumerate(zip(plan.layout.arrays, plan.shapes(), strict=True)):
        body = groups[spec.path.removesuffix("/0") if "/" in spec.path else ""]
        facts, multiscale = body["ome_writers"], body["ome"]["multiscales"][0]
        names = spec.dimension_names[:-2]
        mine = plan.table[plan.table["array"] == number]
        here = {tuple(index) for index in mine["index"].tolist()}
        boxes = facts.get("planes", [{name: range(size) for name, size in zip(names, shape, strict=False)}])
        assert here == {index for box in boxes for index in product(*(box[name] for name in names))}
        steps = multiscale["datasets"][0]["coordinateTransformations"]
        scale = steps[0]["scale"]
        moved = steps[1]["translation"] if len(steps) > 1 else [0.0] * len(scale)
        stage = settings.positions[spec.position].z_coord or 0
        for axis, name in enumerate(names):
            dim = next(dim for dim in settings.dimensions if dim.name == name)
            where = places(settings, spec.position, name) if dim.type in ("space", "time") else None
            if where is None:
                continue
            uneven = facts.get("coordinates", shared).get(name)
            for row in mine:
                k = int(row["index"][axis])
                found = uneven[k] if uneven else scale[axis] * k + moved[axis]
                extra = stage if dim.type == "space" and not uneven else 0
                assert found == pytest.approx(where[loops[int(row["frame"])][name]] + extra, abs=1e-6, rel=1e-6)
