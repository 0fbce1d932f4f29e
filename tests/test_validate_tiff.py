"""`validate` on OME-TIFF: sound datasets are sound; each way to break one is found, and where."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers.validation.tiffchain import chain_of

SIZES = {"t": 3, "p": 2, "c": 2, "y": 16, "x": 16}


def made(root: Path, sizes: dict[str, int | None] = SIZES, frames: int = 12, **changes: Any) -> Path:
    """Write a dataset; of several positions it is a folder."""
    backend = changes.pop("backend", None)
    given = {"dimensions": ow.dims_from_standard_axes(sizes), "dtype": "uint16"} | changes
    plan = ow.compile(ow.AcquisitionSettings(root_path=str(root), **given))
    rng = np.random.default_rng(0)
    return Path(ow.write(plan, (rng.integers(1, 9999, (16, 16), "uint16") for _ in range(frames)), backend).root)


def faults(path: Path) -> list[tuple[str, str, str]]:
    return [(check.name, check.location, check.message) for check in ow.validate(path).failed]


def warned(path: Path) -> list[str]:
    return [check.message for check in ow.validate(path).checks if check.result == "warning"]


def replaced(file: Path, old: str, new: str) -> None:
    """Replace part of the OME-XML, byte for byte, so that nothing else moves."""
    body = file.read_bytes()
    assert old.encode() in body
    assert len(old.encode()) == len(new.encode())
    file.write_bytes(body.replace(old.encode(), new.encode()))


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def links(file: Path) -> list[int]:
    """Return where in a BigTIFF each link to a page stands, the one in the header first."""
    body, found = file.read_bytes(), [8]
    while place := struct.unpack_from("<Q", body, found[-1])[0]:
        found.append(place + 8 + 20 * struct.unpack_from("<Q", body, place)[0])
    return found


def relink(file: Path, number: int, place: int) -> None:
    body = bytearray(file.read_bytes())
    struct.pack_into("<Q", body, links(file)[number], place)
    file.write_bytes(body)


def first_page(file: Path) -> int:
    return struct.unpack_from("<Q", file.read_bytes(), 8)[0]


def uuid_of(file: Path) -> str:
    text = tifffile.TiffFile(file, is_ome=False)
    with text:
        return re.search(r'UUID="([^"]+)"', text.pages.first.description)[1]  # type: ignore[index]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frames": 7},
        {"backend": "tifffile", "frames": 5},
        {"compression": "lzw", "frames": 9},
        {"sizes": {**SIZES, "t": None}, "frames": 9},
        {"format": ow.OmeTiffFormat(multi_file_metadata="companion-file")},
        {"format": ow.OmeTiffFormat(multi_file_metadata="master-tiff"), "frames": 7},
        {"format": ow.OmeTiffFormat(prefer_single_file="always"), "frames": 9},
    ],
    ids=str,
)
def test_what_the_writers_made_is_sound_however_it_ended(tmp_path: Path, changes: dict[str, Any]):
    root = made(tmp_path / "a.ome.tiff", **changes)
    report = ow.validate(root)
    assert (report.kind, report.failed) == ("OME-TIFF", ())
    assert {check.name for check in report.checks} == {
        *("TIFF pages", "file references", "OME-XML schema", "acquisition", "TiffData")
    }
    assert "not run" not in {check.result for check in report.checks}


BIG = "a_p000.ome.tiff"
BROKEN: dict[str, tuple[dict[str, Any], Callable[[Path], object], str, str, str]] = {
    "a file is cut in its last page": (
        {},
        lambda root: cut(root / BIG, (root / BIG).stat().st_size - 300),
        "TIFF pages",
        f"{BIG} page 5",
        "it was cut off",
    ),
    "a file is empty": ({}, lambda root: cut(root / BIG, 0), "TIFF pages", BIG, "does not begin as a TIFF file"),
    "the chain leads out of the file": (
        {},
        lambda root: relink(root / BIG, 3, 2**40),
        "TIFF pages",
        BIG,
        "page 3 should begin at byte",
    ),
    "the chain ends early": (
        {},
        lambda root: relink(root / BIG, 3, 0),
        "TiffData",
        "Image:0 T=1 C=1 Z=0",
        f"should lie on page 3 of {BIG}, which has 3 pages",
    ),
    "the chain goes round": (
        {},
        lambda root: relink(root / BIG, 3, first_page(root / BIG)),
        "TIFF pages",
        BIG,
        "round in a circle",
    ),
    "a file is deleted": (
        {},
        lambda root: (root / "a_p001.ome.tiff").unlink(),
        "file references",
        BIG,
        "refers to 'a_p001.ome.tiff', which is missing",
    ),
    "files are swapped": (
        {},
        lambda root: [
            (root / BIG).rename(root / "x"),
            (root / "a_p001.ome.tiff").rename(root / BIG),
            (root / "x").rename(root / "a_p001.ome.tiff"),
        ],
        "file references",
        BIG,
        "another file's UUID",
    ),
    "a UUID is another": (
        {},
        lambda root: replaced(
            root / BIG, f' UUID="{uuid_of(root / BIG)}"', f' UUID="urn:uuid:{"0" * 8}-{"0" * 4}-4000-8000-{"0" * 12}"'
        ),
        "file references",
        BIG,
        "which calls itself",
    ),
    "OME-XML is broken": ({}, lambda root: replaced(root / BIG, "</Image>", "</Imago>"), "OME-XML schema", BIG, "XML"),
    "OME-XML is not valid": (
        {},
        lambda root: replaced(root / BIG, 'DimensionOrder="XYC', 'DimensionOrder="XXC'),
        "OME-XML schema",
        BIG,
        "DimensionOrder",
    ),
    "an image is larger than its pages": (
        {},
        lambda root: replaced(root / BIG, 'SizeX="16"', 'SizeX="61"'),
        "TiffData",
        "Image:0 T=0 C=0 Z=0",
        "is (16, 16), the image (16, 61)",
    ),
    "pixels are of another type": (
        {},
        lambda root: replaced(root / BIG, 'Type="uint16"', 'Type="uint32"'),
        "TiffData",
        "Image:0 T=0 C=0 Z=0",
        "is uint16, the image uint32",
    ),
    "two planes share a page": (
        {},
        lambda root: replaced(root / BIG, 'IFD="2"', 'IFD="1"'),
        "TiffData",
        "Image:0 T=1 C=0 Z=0",
        "as another plane does",
    ),
    "a plane lies beyond": (
        {},
        lambda root: replaced(root / BIG, 'SizeT="3"', 'SizeT="2"'),
        "acquisition",
        "Image:0",
        "has [2, 2] frames along its axes",
    ),
    "a plane has no page": (
        {},
        lambda root: replaced(root / BIG, 'FirstT="2"', 'FirstT="1"'),
        "TiffData",
        "Image:0 T=2 C=0 Z=0",
        "has no page, though its frame came",
    ),
    "the companion is deleted": (
        {"format": ow.OmeTiffFormat(multi_file_metadata="companion-file")},
        lambda root: (root / "a.companion.ome").unlink(),
        "file references",
        BIG,
        "its metadata should stand in 'a.companion.ome', which is missing",
    ),
    "the run was killed": (
        {},
        lambda root: replaced(root / BIG, '<M K="verdict">complete', '<M K="verdict">running '),
        "acquisition",
        "",
        "must be complete, stopped, failed or running",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_way_to_break_a_dataset_is_found_and_located(tmp_path: Path, case: str):
    changes, broken, name, where, message = BROKEN[case]
    root = made(tmp_path / "a.ome.tiff", **changes)
    broken(root)
    assert any(found[:2] == (name, where) and message in found[2] for found in faults(root)), faults(root)


def test_a_flipped_bit_in_compressed_pixels_is_found(tmp_path: Path):
    root = made(tmp_path / "a.ome.tiff", {"t": 3, "y": 16, "x": 16}, 3, compression="zlib", backend="tifffile")
    with tifffile.TiffFile(root) as tif:
        place, count = tif.pages[1].dataoffsets[0], tif.pages[1].databytecounts[0]
    body = bytearray(root.read_bytes())
    body[place + count // 2] ^= 0x40
    root.write_bytes(body)
    assert [(name, where) for name, where, _ in faults(root)] == [("TIFF pages", "a.ome.tiff page 1")]


def test_a_classic_tiff_of_others_with_the_other_byte_order(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 8, 8), "uint16"), byteorder=">", photometric="minisblack")
    assert chain_of(tmp_path / "a.tif").pages == 3
    report = ow.validate(tmp_path / "a.tif")
    assert (report.kind, report.sound) == ("TIFF", True)
    assert warned(tmp_path / "a.tif") == ["has no OME-XML: what the pages are, nothing says"]
    (tmp_path / "a.tif").rename(tmp_path / "a.ome.tif")
    assert [name for name, *_ in faults(tmp_path / "a.ome.tif")] == ["OME-XML"]


def test_the_faults_of_0_3_are_found(tmp_path: Path):
    # As 0.3.2 wrote them: an absolute name of the companion, which has a name that readers do not look for; no
    # SamplesPerPixel; a ResolutionUnit that TIFF does not know; frames of a time point that was cut short.
    pixels = np.ones((3, 8, 8), "uint16")
    said = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{uuid}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCTZ" Type="uint16" SizeX="8" SizeY="8" SizeZ="1" SizeC="2" SizeT="1">'
        '<Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/><TiffData IFD="0" PlaneCount="{count}"/></Pixels>'
        "</Image></OME>"
    )
    uuid = "11111111-1111-4111-8111-111111111111"
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        pixels,
        description=said.format(uuid=uuid, count=2),
        metadata=None,
        resolution=(1, 1),
        resolutionunit=5,
        photometric="minisblack",
    )
    assert faults(tmp_path / "a.ome.tif") == []
    told = warned(tmp_path / "a.ome.tif")
    assert "its ResolutionUnit is 5, which TIFF does not know: libtiff and others complain" in told
    assert "Channel:0:0 has no SamplesPerPixel, which some readers need" in told
    assert "1 of its pages belong to no plane of any image, and cannot be reached" in told
    folder = tmp_path / "set"
    folder.mkdir()
    elsewhere = f'<BinaryOnly MetadataFile="/data/set/companion.ome" UUID="urn:uuid:{uuid}"/>'
    tifffile.imwrite(
        folder / "b.ome.tif",
        pixels,
        description=re.sub("<Image.*</Image>", elsewhere, said.format(uuid=uuid, count=2)),
        metadata=None,
        photometric="minisblack",
    )
    (folder / "companion.ome").write_text(said.format(uuid=uuid, count=2), "utf-8")
    found = faults(folder)
    assert ("file references", "b.ome.tif") in [(name, where) for name, where, _ in found]
    assert "must be the name of a file beside it" in str(found)
    assert "Bio-Formats and others look for *.companion.ome only" in warned(folder)
