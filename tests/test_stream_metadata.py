"""Metadata of a stream: of the whole acquisition, of its groups and files, read back from the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from ome_types import OME, from_xml
from ome_types.model import MapAnnotation, StructuredAnnotations

import ome_writers as ow
from ome_writers.edits import changed, differences

FRAME: NDArray[Any] = np.ones((4, 6), "uint16")
LAYOUTS = ("redundant", "master-tiff", "companion-file")


def acquisition(
    root: Path | str, *, positions: int = 1, count: int | None = 2, **kwargs: Any
) -> ow.AcquisitionSettings:
    sizes: dict[str, Any] = {"t": count} | ({"p": positions} if positions > 1 else {}) | {"c": 2, "y": 4, "x": 6}
    return ow.AcquisitionSettings(
        root_path=str(root), dtype="uint16", dimensions=ow.dims_from_standard_axes(sizes), **kwargs
    )


def attributes(root: Path, group: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / group / "zarr.json").read_text())["attributes"]
    return found


def comment(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.pages.first.description)


def maps(text: str, namespace: str) -> list[dict[str, Any]]:
    """Return the maps of a namespace, whose values are JSON; none may be referred to by a plane."""
    model = from_xml(text)
    found = [one for one in (model.structured_annotations or ()) if one.namespace == namespace]
    referred = {ref.id for image in model.images for plane in image.pixels.planes for ref in plane.annotation_refs}
    assert referred.isdisjoint(one.id for one in found)
    return [{entry.k: json.loads(entry.value) for entry in one.value.ms} for one in found]


SUMMARY: dict[str, Any] = {
    "scope": {"name": "µ <one>", "stages": [1, 2.5]},
    "laser": np.float32(0.5),
    "at": datetime(2026, 11, 22, tzinfo=UTC),
    "where": Path("data"),
}
STORED = {
    "scope": {"name": "µ <one>", "stages": [1, 2.5]},
    "laser": 0.5,
    "at": "2026-11-22T00:00:00+00:00",
    "where": "data",
}


class TestGlobalMetadataInZarr:
    def test_it_is_there_at_once_and_stays(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.zarr"
        with ow.create_stream(acquisition(root)) as stream:
            stream.set_global_metadata("mine", SUMMARY)
            assert attributes(root)["mine"] == STORED
            assert attributes(root)["ome_writers"]["verdict"] == "running"
            for _ in range(4):
                stream.append(FRAME)
        assert attributes(root)["mine"] == STORED
        assert attributes(root)["ome_writers"]["verdict"] == "complete"
        assert stream.outcome is not None
        assert stream.outcome.globals == {"mine": STORED}

    def test_a_name_replaces_others_stay(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.zarr"
        with ow.create_stream(acquisition(root)) as stream:
            stream.set_global_metadata("one", {"first": 1})
            stream.set_global_metadata("two", {"first": 1})
            stream.set_global_metadata("one", {"second": 2})
            stream.append(FRAME, frame_metadata={"gain": 2})
        stream.set_global_metadata("two", {"third": 3})
        found = attributes(root)
        assert (found["one"], found["two"]) == ({"second": 2}, {"third": 3})
        assert found["ome_writers"]["verdict"] == "stopped"
        assert found["ome_writers"]["frame_metadata"] == [{"gain": 2, "storage_index": [0, 0]}]
        assert found["ome"]["multiscales"]

    def test_it_stands_in_the_root_only(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.zarr"
        with ow.create_stream(acquisition(root, positions=2)) as stream:
            stream.set_global_metadata("mine", {"a": 1})
        assert attributes(root)["mine"] == {"a": 1}
        assert "mine" not in attributes(root, "0")
        assert "mine" not in attributes(root, "OME")

    def test_what_was_given_may_change_later(self, tmp_path: Path) -> None:
        given: dict[str, Any] = {"a": [1]}
        with ow.create_stream(acquisition(tmp_path / "a.ome.zarr")) as stream:
            stream.set_global_metadata("mine", given)
            given["a"].append(2)
        assert attributes(tmp_path / "a.ome.zarr")["mine"] == {"a": [1]}


@pytest.mark.parametrize("root", ["", "a.ome.zarr", "a.ome.tiff"])
def test_what_global_metadata_cannot_be(tmp_path: Path, root: str) -> None:
    with ow.create_stream(acquisition(tmp_path / root) if root else acquisition("", format="scratch")) as stream:
        for reserved in ("ome", "ome_writers", "multiscales", "ome-writers/run"):
            with pytest.raises(ValueError, match="is reserved"):
                stream.set_global_metadata(reserved, {})
        for nothing in ("", None, 3):
            with pytest.raises(ValueError, match="must be a non-empty text"):
                stream.set_global_metadata(nothing, {})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"mine: metadata\.a\.b: cannot store a value of type bytes"):
            stream.set_global_metadata("mine", {"a": {"b": b"c"}})
        stream.set_global_metadata("mine", {"a": 1})
    assert stream.outcome is not None
    assert stream.outcome.globals == {"mine": {"a": 1}}


class TestGlobalMetadataInTiff:
    def test_in_one_file(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.tiff"
        with ow.create_stream(acquisition(root)) as stream:
            stream.append(FRAME, frame_metadata={"gain": 2})
            stream.set_global_metadata("mine", SUMMARY)
            assert maps(comment(root), "mine") == [STORED]
            for _ in range(3):
                stream.append(FRAME)
        assert maps(comment(root), "mine") == [STORED]
        stream.set_global_metadata("mine", {"later": True})
        assert maps(comment(root), "mine") == [{"later": True}]
        assert tifffile.imread(root).shape == (2, 2, 4, 6)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_in_every_document_that_describes_the_dataset(self, tmp_path: Path, layout: Any) -> None:
        format_ = ow.OmeTiffFormat(multi_file_metadata=layout)
        settings = acquisition(tmp_path / "a.ome.tiff", positions=2, format=format_)
        with ow.create_stream(settings) as stream:
            stream.set_global_metadata("mine", {"a": 1})
            for _ in range(8):
                stream.append(FRAME)
        folder = Path(settings.output_path)
        found = [maps(comment(folder / f"a_p00{number}.ome.tiff"), "mine") for number in range(2)]
        there = [[{"a": 1}]]
        assert found == {"redundant": there * 2, "master-tiff": [*there, []], "companion-file": [[], []]}[layout]
        if layout == "companion-file":
            assert maps((folder / "a.companion.ome").read_text(), "mine") == [{"a": 1}]


class TestUpdateInZarr:
    def test_a_round_trip_changes_nothing(self, tmp_path: Path) -> None:
        for name in ("plain", "edited"):
            with ow.create_stream(acquisition(tmp_path / f"{name}.ome.zarr")) as stream:
                if name == "edited":
                    stream.update_metadata(stream.get_metadata())
                stream.append(FRAME, frame_metadata={"gain": 1})
            if name == "edited":
                stream.update_metadata(stream.get_metadata())
        plain, edited = (attributes(tmp_path / f"{name}.ome.zarr") for name in ("plain", "edited"))
        plain["ome"]["multiscales"][0]["name"] = "edited"
        assert edited == plain

    def test_changes_made_early_stay_and_the_rest_follows_the_run(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.zarr"
        with ow.create_stream(acquisition(root)) as stream:
            found = stream.get_metadata()
            assert list(found) == ["."]
            found["."]["pymmcore_plus"] = {"summary": {"exposure": np.float64(10)}}
            found["."]["ome"]["omero"]["channels"][1]["label"] = "Cy5"
            del found["."]["ome"]["multiscales"][0]["name"]
            stream.update_metadata(found)
            assert attributes(root)["pymmcore_plus"] == {"summary": {"exposure": 10.0}}
            stream.append(FRAME, frame_metadata={"gain": 2})
        found = attributes(root)
        assert found["pymmcore_plus"] == {"summary": {"exposure": 10.0}}
        assert [channel["label"] for channel in found["ome"]["omero"]["channels"]] == ["Channel 0", "Cy5"]
        assert "name" not in found["ome"]["multiscales"][0]
        assert found["ome_writers"]["verdict"] == "stopped"
        assert found["ome_writers"]["frame_metadata"] == [{"gain": 2, "storage_index": [0, 0]}]

    def test_stale_facts_of_the_run_do_not_come_back(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.zarr"
        with ow.create_stream(acquisition(root)) as stream:
            early = stream.get_metadata()
            stream.append(FRAME, frame_metadata={"gain": 2})
        early["."]["note"] = "kept"
        stream.update_metadata(early)
        found = attributes(root)
        assert found["note"] == "kept"
        assert (found["ome_writers"]["verdict"], found["ome_writers"]["frames"]) == ("stopped", 1)
        assert len(found["ome_writers"]["frame_metadata"]) == 1

    @pytest.mark.parametrize("plate", [False, True])
    def test_each_image_has_its_group(self, tmp_path: Path, plate: bool) -> None:  # noqa: FBT001 - of pytest
        root = tmp_path / "a.ome.zarr"
        kwargs: dict[str, Any] = {}
        paths = ["0", "1"]
        if plate:
            positions = [ow.Position(name=f"f{n}", plate_row="A", plate_column=str(n + 1)) for n in range(2)]
            kwargs = {"plate": ow.Plate.from_standard_wells(6)}
            paths = ["A/1/0", "A/2/0"]
        else:
            positions = [ow.Position(name="left"), ow.Position(name="right")]
        dims = [ow.Dimension(name="p", coords=positions), *ow.dims_from_standard_axes({"y": 4, "x": 6})]
        settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=dims, **kwargs)
        with ow.create_stream(settings) as stream:
            found = stream.get_metadata()
            assert list(found) == paths
            for number, group in enumerate(found.values()):
                group["number"] = number
            stream.update_metadata(found)
        assert [attributes(root, path)["number"] for path in paths] == [0, 1]
        assert "number" not in attributes(root)

    def test_what_it_cannot_be(self, tmp_path: Path) -> None:
        with ow.create_stream(acquisition(tmp_path / "a.ome.zarr")) as stream:
            with pytest.raises(KeyError, match=r"no image group 'nowhere'; there are '\.'"):
                stream.update_metadata({"nowhere": {}})
            with pytest.raises(TypeError, match="must be a mapping"):
                stream.update_metadata([1])
            with pytest.raises(ValueError, match=r"\.: metadata\.a: cannot store a value of type bytes"):
                stream.update_metadata({".": {"a": b"c"}})
            stream.append(FRAME)
        assert "a" not in attributes(tmp_path / "a.ome.zarr")


class TestUpdateInTiff:
    def test_not_while_frames_come(self, tmp_path: Path) -> None:
        with ow.create_stream(acquisition(tmp_path / "a.ome.tiff")) as stream:
            found = stream.get_metadata()
            assert isinstance(found[0], OME)
            with pytest.raises(RuntimeError, match="once the stream is closed"):
                stream.update_metadata(found)

    def test_the_model_of_a_file_replaces_its_text(self, tmp_path: Path) -> None:
        root = tmp_path / "a.ome.tiff"
        with ow.create_stream(acquisition(root)) as stream:
            for number in range(4):
                stream.append(FRAME * number, frame_metadata={"gain": number, "delta_t": 0.5 * number})
        found = stream.get_metadata()
        model = found[0]
        model.images[0].name = "renamed µ"
        # So does pymmcore-plus.
        annotation = MapAnnotation(namespace="pymmcore_plus", value={"summary_metadata_json": '{"a": 1}'})
        model.structured_annotations = model.structured_annotations or StructuredAnnotations()
        model.structured_annotations.map_annotations.append(annotation)
        stream.update_metadata(found)
        again = from_xml(comment(root))
        assert again.images[0].name == "renamed µ"
        assert [plane.delta_t for plane in again.images[0].pixels.planes] == [0, 0.5, 1, 1.5]
        ids = [one.id for one in again.structured_annotations]
        assert len(set(ids)) == len(ids)
        assert stream.get_metadata()[0].images[0].name == "renamed µ"
        stream.set_global_metadata("mine", {"b": 2})
        stream.set_global_metadata("mine", {"b": 3})
        assert maps(comment(root), "mine") == [{"b": 3}]
        assert from_xml(comment(root)).images[0].name == "renamed µ"
        np.testing.assert_array_equal(tifffile.imread(root)[:, :, 0, 0], [[0, 1], [2, 3]])

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_files_are_numbered_and_the_companion_is_minus_one(self, tmp_path: Path, layout: Any) -> None:
        format_ = ow.OmeTiffFormat(multi_file_metadata=layout)
        settings = acquisition(tmp_path / "a.ome.tiff", positions=2, format=format_)
        with ow.create_stream(settings) as stream:
            for _ in range(8):
                stream.append(FRAME)
        found = stream.get_metadata()
        assert sorted(found) == ([-1, 0, 1] if layout == "companion-file" else [0, 1])
        whole = [number for number, model in found.items() if model.binary_only is None]
        assert whole == {"redundant": [0, 1], "master-tiff": [0], "companion-file": [-1]}[layout]
        for number in whole:
            found[number].images[1].name = "second"
        stream.update_metadata(found)
        folder = Path(settings.output_path)
        paths = {-1: folder / "a.companion.ome"} | {n: folder / f"a_p00{n}.ome.tiff" for n in range(2)}
        for number in whole:
            text = paths[number].read_text() if number < 0 else comment(paths[number])
            assert [image.name for image in from_xml(text).images] == ["0", "second"]
        stream.set_global_metadata("mine", {"a": 1})
        for number in whole:
            text = paths[number].read_text() if number < 0 else comment(paths[number])
            assert maps(text, "mine") == [{"a": 1}]

    def test_what_it_cannot_be(self, tmp_path: Path) -> None:
        with ow.create_stream(acquisition(tmp_path / "a.ome.tiff")) as stream:
            stream.append(FRAME)
        with pytest.raises(TypeError, match=r"must be ome_types\.OME for each file; got str for 0"):
            stream.update_metadata({0: "<OME/>"})
        with pytest.raises(KeyError, match="there is no file 1; there are 0"):
            stream.update_metadata({1: stream.get_metadata()[0]})


def test_scratch_has_no_documents_to_change() -> None:
    with ow.create_stream(acquisition("", format="scratch")) as stream:
        assert stream.get_metadata() is None
        stream.update_metadata(None)


def test_after_a_failure_more_metadata_makes_it_no_worse(tmp_path: Path) -> None:
    from ome_writers.testing.failing import Failing
    from ome_writers.writers.tensorstore import TensorStoreWriter

    root = tmp_path / "a.ome.zarr"
    stream = ow.Stream(ow.compile(acquisition(root)), Failing(TensorStoreWriter(), at=1))
    stream.append(FRAME)
    with pytest.raises(ow.WriteError):
        stream.append(FRAME)
    stream.set_global_metadata("mine", {"a": 1})
    with pytest.raises(ow.WriteError):
        stream.close()
    assert attributes(root)["mine"] == {"a": 1}
    assert attributes(root)["ome_writers"]["verdict"] == "failed"


@pytest.mark.parametrize(
    ("made", "given"),
    [
        ({}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {}),
        ({"a": [1, {"b": 2}], "c": 3}, {"a": [1, {"b": 5, "d": None}], "e": [[]]}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}),
        ({"a": 1}, {"a": True}),
        ({"a": {"b": 1}}, {"a": [1]}),
        ([1, [2, 3]], [1, [2, 4]]),
    ],
)
def test_differences_lead_from_one_value_to_the_other(made: Any, given: Any) -> None:
    before = json.dumps(made)
    value = made
    for change in differences(made, given):
        value = changed(value, change.where, change)
    assert json.dumps(value) == json.dumps(given) or (isinstance(given, Mapping) and value == given)
    assert json.dumps(made) == before
    assert not list(differences(made, json.loads(before)))
