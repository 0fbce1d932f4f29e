"""Names come from users: none leaves the root, none overwrites another, and each is found again in the documents."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
ONE_EACH = list({(way.writer, way.format.name): way for way in reversed(STORED)}.values())
NASTY = [
    "../../outside",
    "/etc/absolute",
    "C:\\Windows\\system32",
    "a/b",
    "zarr.json",
    "OME",
    "ome",
    "CON",
    "NUL.txt",
    "COM1",
    "trailing dot.",
    "trailing space ",
    " ",
    "..",
    ".",
    "0",
    "1",
    'quotes " and <tags> & more',
    "line\nbreak\tand tab",
    "star*?|:",
    "x" * 300,
    "Größe µm 細胞",
    unicodedata.normalize("NFD", "Größe µm 細胞"),
    "A",
    "a",
    "%2e%2e%2f",
    "$HOME ~",
    "]]>",
    "__hidden",
]
"""Each is a label, and no two are the same."""


def acquire(settings: ow.AcquisitionSettings, backend: Any = None) -> ow.Stream:
    with ow.create_stream(settings, backend) as stream:
        for number in range(stream.plan.frames or 0):
            stream.append(np.full((4, 4), number + 1, "uint16"))
    return stream


def found_names(root: Path) -> list[str]:
    """Return the names of the images, by number, as plain JSON and XML parsers find them."""
    if (root / "manifest.json").exists():
        dims = json.loads((root / "manifest.json").read_text("utf-8"))["dimensions"]
        return next(dim["coords"] for dim in dims if dim["type"] == "position")
    if root.is_dir() and (root / "zarr.json").exists():
        series = json.loads((root / "OME" / "zarr.json").read_text("utf-8"))["attributes"]["ome"]["series"]
        bodies = [json.loads((root / name / "zarr.json").read_text("utf-8")) for name in series]
        return [body["attributes"]["ome"]["multiscales"][0]["name"] for body in bodies]
    files = sorted(root.glob("*.ome.tiff")) if root.is_dir() else [root]
    text = next(iter(root.glob("*companion.ome"))).read_text("utf-8") if list(root.glob("*companion.ome")) else None
    if text is None:
        with tifffile.TiffFile(files[0]) as file:
            text = file.ome_metadata
    assert text is not None
    return [image.attrib["Name"] for image in ET.fromstring(text).iterfind("{*}Image")]  # noqa: S314 - our own


@pytest.mark.parametrize("way", ONE_EACH, ids=lambda way: way.name)
def test_a_name_is_a_label_and_no_path(tmp_path: Path, way: Way) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    sizes = {"p": NASTY, "c": ["../c", "CON"], "y": 4, "x": 4}
    stream = acquire(way.settings(inside, ow.dims_from_standard_axes(sizes), dtype="uint16"), way.make())
    assert stream.outcome is not None
    root = Path(stream.outcome.root)
    assert [path.name for path in tmp_path.rglob("*") if inside not in (path, *path.parents)] == ["a"]
    assert list(inside.iterdir()) == [root]
    # On a file system that tells fewer names apart than this one, none would have overwritten another.
    every = [path.relative_to(root).as_posix() for path in root.rglob("*")]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in every}) == len(every)
    assert all(part not in ("..", "CON", "NUL.txt") for name in every for part in name.split("/"))
    assert found_names(root) == NASTY
    for number, array in enumerate(stream.plan.layout.arrays):
        pixels = way.read(stream._run.writer, stream.outcome.root, array)  # noqa: SLF001 - what was handed in
        assert pixels is not None
        assert np.unique(pixels).tolist() == [2 * number + 1, 2 * number + 2]


AS_GROUPS = ["A1", "left_2", "x-y.z", "0", "con_1", "comma"]


def test_names_of_groups_are_those_that_every_system_can_have(tmp_path: Path) -> None:
    format_ = ow.OmeZarrFormat(group_names="position")
    for name in NASTY:
        dims = ow.dims_from_standard_axes({"p": ["fine", name], "y": 4, "x": 4})
        settings = ow.AcquisitionSettings(
            root_path=str(tmp_path / "a.ome.zarr"), dimensions=dims, dtype="uint16", format=format_
        )
        if name in ("0", "1", "A", "a"):
            assert ow.compile(settings).layout.groups == ("", "OME", "fine", name)
            continue
        with pytest.raises(ow.SettingsError, match=r"dimensions\.0\.coords\.1\.name|format\.group_names"):
            ow.create_stream(settings)
    assert list(tmp_path.iterdir()) == []
    dims = ow.dims_from_standard_axes({"p": AS_GROUPS, "y": 4, "x": 4})
    root = tmp_path / "b.ome.zarr"
    acquire(ow.AcquisitionSettings(root_path=str(root), dimensions=dims, dtype="uint16", format=format_))
    assert found_names(root) == AS_GROUPS
    assert {path.name for path in root.iterdir()} == {*AS_GROUPS, "OME", "zarr.json"}


@pytest.mark.parametrize("pair", [("A", "a"), ("Con", "con"), ("straße", "strasse")])
def test_names_of_groups_that_differ_in_case_only(tmp_path: Path, pair: tuple[str, str]) -> None:
    dims = ow.dims_from_standard_axes({"p": list(pair), "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"),
        dimensions=dims,
        dtype="uint16",
        format=ow.OmeZarrFormat(group_names="position"),
    )
    with pytest.raises(ow.SettingsError):
        ow.create_stream(settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CON", "nul", "Com1", "A" * 300, "../A", "A.", "OME", "A\n"])
def test_rows_and_columns_of_plates_are_folders(name: str) -> None:
    for rows, columns in (([name], ["1"]), (["A"], [name])):
        with pytest.raises(ow.SettingsError, match=r"(row|column)_names\.0"):
            ow.Plate(row_names=rows, column_names=columns)


@pytest.mark.parametrize(
    "name", ["..", "../x.companion.ome", "CON", "a:b", "a ", "b.", "x" * 300, "run_p001.ome.tiff", "RUN_P000.ome.tiff"]
)
def test_a_companion_file_is_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(ow.SettingsError, match="companion_file"):
        ow.create_stream(
            ow.AcquisitionSettings(
                root_path=str(tmp_path / "run.ome.tiff"),
                dimensions=ow.dims_from_standard_axes({"p": 2, "y": 4, "x": 4}),
                dtype="uint16",
                format=ow.OmeTiffFormat(multi_file_metadata="companion-file", companion_file=name),
            )
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["/../../x", "\\x", ":stream", ".", " ", ".zarr ", "\x01"])
def test_a_suffix_is_the_end_of_a_name(suffix: str) -> None:
    for make in (ow.OmeZarrFormat, ow.OmeTiffFormat):
        with pytest.raises(ow.SettingsError, match="suffix"):
            make(suffix=suffix)


@pytest.mark.parametrize("path", ["..", "data/..", "data\\..", "/", ".", "data/."])
def test_a_root_has_a_name(path: str) -> None:
    dims = ow.dims_from_standard_axes({"p": 2, "y": 4, "x": 4})
    for format_ in ("ome-zarr", "ome-tiff"):
        with pytest.raises(ow.SettingsError, match="root_path"):
            ow.compile(ow.AcquisitionSettings(root_path=path, dimensions=dims, dtype="uint16", format=format_))


@pytest.mark.parametrize("bad", ["bell \x07", "null \0", "lone \ud800", "\ufffe"])
def test_what_xml_forbids_is_refused_with_its_place(bad: str) -> None:
    with pytest.raises(ow.SettingsError, match=r"name: must not hold the character"):
        ow.Position(name=bad)
    with pytest.raises(ow.SettingsError, match=r"coords\.1"):
        ow.Dimension(name="c", coords=["DAPI", bad], type="channel")
