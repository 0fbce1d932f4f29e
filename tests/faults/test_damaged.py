"""Documents that were damaged: whoever opens the dataset is told which file it is, and what is wrong with it.

Nothing is changed by the refusal, and an error of the disk stays one.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import readers, regular
from ome_writers.cli.app import run as command
from ome_writers.datasets import NotADataset, read_dataset
from ome_writers.watching import state_of

SIZES: dict[str, Any] = {"t": 4, "p": 2, "c": ["DAPI", "GFP"], "y": 8, "x": 8}
MADE = {
    "zarr": ("a.ome.zarr", "ome-zarr", "direct"),
    "tensorstore": ("a.ome.zarr", "ome-zarr", "tensorstore"),
    "zarr-python": ("a.ome.zarr", "ome-zarr", "zarr-python"),
    "tiff": ("a.ome.tiff", "ome-tiff", "direct"),
    "scratch": ("a", "scratch", "scratch"),
}
"""Name of the dataset, its format, and who writes it."""


def settings_in(folder: Path, made: str, **more: Any) -> ow.AcquisitionSettings:
    name, format_, _ = MADE[made]
    dims = ow.dims_from_standard_axes(SIZES)
    return ow.AcquisitionSettings(root_path=str(folder / name), format=format_, dimensions=dims, dtype="uint16", **more)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have a folder for each kind of dataset: as it stands when its process is killed after five frames; prepared."""
    folder = tmp_path_factory.mktemp("made")
    for made, (_, _, writer) in MADE.items():
        with ow.create_stream(settings_in(folder / f"{made}.runs", made), writer) as stream:
            for number in range(5):
                stream.append(np.full((8, 8), number, "uint16"), frame_metadata={"number": number})
            shutil.copytree(folder / f"{made}.runs", folder / made, ignore=shutil.ignore_patterns("*.lock"))
    ow.prepare(ow.compile(settings_in(folder / "prepared", "zarr")))
    return folder


# ── what becomes of a document ──────────────────────────────────────────────────────────────────────────────────────

NUMBER = re.compile(rb"(?<=[:\[, ])-?\d+(\.\d+)?")
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is empty"),
    "zeros": (lambda data: bytes(len(data)), "holds nothing but zeros"),
    "cut": (lambda data: data[: len(data) // 2], "is no JSON: .* line"),
    "random": (lambda _: np.random.default_rng(1).bytes(200), "is no UTF-8 text: .* byte"),
    "no text": (lambda data: data[:50] + b"\xff\xfe" + data[50:], "is no UTF-8 text: .* byte 50"),
    "null": (lambda _: b"null", "must be a JSON object; got null"),
    "a list": (lambda _: b"[{}]", "must be a JSON object; got a list"),
    "text": (lambda _: b'"x"', "must be a JSON object; got text"),
    "a number": (lambda _: b"5", "must be a JSON object; got a number"),
    "deep": (lambda _: b"[" * 200_000, "is no JSON that can be read: it is nested too deeply"),
    "digits": (lambda data: NUMBER.sub(b"9" * 5000, data), "is no JSON that can be read: .* digits"),
}
"""What it becomes, and what is said of it."""
NUMBERS = {
    "NaN": b"NaN",
    "infinite": b"1e999",
    "float": b"1e308",
    "large": b"9" * 30,
    "negative": b"-1",
    "text": b'"x"',
}


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def damaged(folder: Path, document: str, change: Callable[[bytes], bytes]) -> Path:
    path = folder / document
    path.write_bytes(change(path.read_bytes()))
    return path


# ── whoever opens it ────────────────────────────────────────────────────────────────────────────────────────────────


def root_of(folder: Path, made: str) -> Path:
    return Path(settings_in(folder, made).output_path)


def resume(folder: Path, made: str) -> None:
    ow.create_stream(settings_in(folder, made), MADE[made][2], resume=True).close()


def overwrite(folder: Path, made: str) -> None:
    ow.create_stream(settings_in(folder, made, overwrite=True), MADE[made][2]).close()


OPENED: dict[str, Callable[[Path, str], object]] = {
    "open_view": lambda folder, made: ow.open_view(root_of(folder, made)),
    "noted": lambda folder, made: readers.noted(str(root_of(folder, made))),
    "frame_metadata": lambda folder, made: readers.frame_metadata(str(root_of(folder, made))),
    "read_dataset": lambda folder, made: read_dataset(root_of(folder, made)),
    "state_of": lambda folder, made: state_of(root_of(folder, made)),
    "recover": lambda folder, made: ow.recover(root_of(folder, made)),
    "resume": resume,
    "overwrite": overwrite,
    "finish": lambda folder, made: ow.finish(root_of(folder, made), frames=4),
}
OWN = (NotADataset, ow.PlanError, ow.SettingsError, FileExistsError)
"""Errors that say all that is needed; no `JSONDecodeError`, `KeyError` and the like."""

ROOT, ARRAY, MANIFEST = "a.ome.zarr/zarr.json", "a.ome.zarr/0/0/zarr.json", "a/manifest.json"
IN_JSON = [
    *[("zarr", ROOT, how) for how in ("open_view", "noted", "frame_metadata", "read_dataset", "state_of", "overwrite")],
    *[("zarr", "a.ome.zarr/0/zarr.json", how) for how in ("frame_metadata", "read_dataset", "overwrite")],
    *[("zarr", ARRAY, how) for how in ("open_view", "read_dataset", "recover", "resume", "overwrite")],
    *[(writer, ARRAY, how) for writer in ("tensorstore", "zarr-python") for how in ("recover", "resume")],
    *[("scratch", MANIFEST, how) for how in ("open_view", "noted", "frame_metadata", "state_of", "overwrite")],
    *[("zarr", "a.ome.zarr.journal/run.json", how) for how in ("recover", "resume")],
    *[("scratch", "a.journal/run.json", how) for how in ("recover", "resume")],
    *[("prepared", name, "finish") for name in ("a.ome.zarr.placement.json", ARRAY)],
]


IN_EACH = pytest.mark.parametrize("case", IN_JSON, ids="-".join)
Case = tuple[str, str, str]
"""A dataset, one of its documents, and who reads that."""


def refused(folder: Path, made: str, how: str) -> str:
    """Return what is said by the refusal, which changes nothing."""
    before = files_in(folder)
    with pytest.raises(OWN) as told:
        OPENED[how](folder, made)
    assert files_in(folder) == before
    return str(told.value)


@pytest.mark.parametrize("damage", DAMAGES)
@IN_EACH
def test_a_document_that_is_no_json_object(datasets: Path, tmp_path: Path, case: Case, damage: str) -> None:
    made, document, how = case
    folder = Path(shutil.copytree(datasets / made, tmp_path / "here"))
    change, why = DAMAGES[damage]
    path = damaged(folder, document, change)
    said = refused(folder, made if made in MADE else "zarr", how)
    assert re.search(rf"{re.escape(str(path))}: (is no journal: |is no list of places: )?{why}", said)


@pytest.mark.parametrize("numbers", NUMBERS)
@IN_EACH
def test_a_document_whose_numbers_are_nonsense(datasets: Path, tmp_path: Path, case: Case, numbers: str) -> None:
    made, document, how = case
    folder = Path(shutil.copytree(datasets / made, tmp_path / "here"))
    path = damaged(folder, document, lambda data: NUMBER.sub(NUMBERS[numbers], data))
    try:
        OPENED[how](folder, made if made in MADE else "zarr")
    except OWN as error:
        assert str(path) in str(error) or str(path.parent) in str(error)  # noqa: PT017 - some of it need not be read
    else:
        assert document != ARRAY or how == "overwrite"


# ── plans, OME-XML, and lines of metadata ───────────────────────────────────────────────────────────────────────────

PLANS = [
    *[("zarr", "a.ome.zarr.journal/plan.npz", how) for how in ("recover", "resume")],
    ("prepared", "a.ome.zarr.plan.npz", "finish"),
]


@pytest.mark.parametrize("damage", ["empty", "zeros", "cut", "random", "null", "deep"])
@pytest.mark.parametrize("case", PLANS, ids="-".join)
def test_a_plan_that_is_none(datasets: Path, tmp_path: Path, case: Case, damage: str) -> None:
    made, document, how = case
    folder = Path(shutil.copytree(datasets / made, tmp_path / "here"))
    path = damaged(folder, document, DAMAGES[damage][0])
    assert f"{path}: is no plan file: " in refused(folder, "zarr", how)


@pytest.mark.parametrize("made", ["zarr", "tensorstore", "zarr-python"])
def test_an_array_of_other_axes(datasets: Path, tmp_path: Path, made: str) -> None:
    folder = Path(shutil.copytree(datasets / made, tmp_path / "here"))
    path = damaged(folder, ARRAY, lambda data: data.replace(b'"shape": [', b'"shape": [1, ', 1))
    said = refused(folder, made, "recover")
    assert said.startswith(f"{path}: shape: must be a number for each of 4 axes; got [1, ")


def test_a_journal_with_too_few_uuids(datasets: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(datasets / "tiff", tmp_path / "here"))
    path = damaged(folder, "a.journal/run.json", lambda data: re.sub(rb'"uuids": \[[^]]*\]', b'"uuids": ["x"]', data))
    for how in ("recover", "resume"):
        assert refused(folder, "tiff", how) == f"{path}.stamp.uuids: must be one for each file, and one more"


def test_a_journal_of_a_writer_that_nobody_knows(datasets: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(datasets / "zarr", tmp_path / "here"))
    path = damaged(folder, "a.ome.zarr.journal/run.json", lambda data: data.replace(b'"direct"', b'"dreict"'))
    assert f"{path}.backend: must be one of" in refused(folder, "zarr", "recover")


XML: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda text: text[: len(text) // 2],
    "no text": lambda text: text.replace(b"<Image", b"\xff\xfe\xfa<Im", 1),
    "deep": lambda text: b"<OME>" + b"<a>" * (len(text) // 3 - 3),
    "another": lambda _: b"<OME/>",
    "document type": lambda _: b"<!DOCTYPE OME><OME/>",
    "no axes": lambda text: text.replace(b'K="axes"', b'K="ayes"'),
    "no JSON": lambda text: text.replace(b'K="dimensions">[', b'K="dimensions">{'),
    "no sizes": lambda text: text.replace(b' SizeT="', b' SizeU="'),
    "large": lambda text: re.sub(
        rb' Size(.)="(\d+)"', lambda found: b' Size%b="%b"' % (found[1], b"9" * len(found[2])), text
    ),
    "no numbers": lambda text: re.sub(rb' IFD="\d', b' IFD="x', text),
}


@pytest.mark.parametrize("damage", XML)
@pytest.mark.parametrize("how", ["open_view", "noted", "frame_metadata", "read_dataset", "state_of"])
def test_ome_xml_that_cannot_be_understood(datasets: Path, tmp_path: Path, how: str, damage: str) -> None:
    pytest.importorskip("tifffile")
    folder = Path(shutil.copytree(datasets / "tiff", tmp_path / "here"))

    def change(data: bytes) -> bytes:
        begin, end = data.index(b"<?xml"), data.rindex(b"</OME>") + 6
        return data[:begin] + XML[damage](data[begin:end]).ljust(end - begin) + data[end:]

    paths = [damaged(folder, f"a/a_p00{number}.ome.tiff", change) for number in range(2)]
    try:
        OPENED[how](folder, "tiff")
    except NotADataset as error:
        assert str(error).startswith((*map(str, paths), f"{paths[0].parent}: does not say"))  # noqa: PT017 - some of it need not be read
    else:
        assert how in {"noted", "frame_metadata", "read_dataset"}


def test_a_line_of_metadata_that_is_none(datasets: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(datasets / "scratch", tmp_path / "here"))
    path = damaged(folder, "a/frame_metadata.jsonl", lambda data: data.replace(b'{"_frame":2', b"[", 1))
    assert refused(folder, "scratch", "frame_metadata").startswith(f"{path}: line 3: is no JSON: ")


# ── on the command line ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "case",
    [("info", ROOT, 1), ("watch", ROOT, 2), ("preview", ARRAY, 1), ("recover", ARRAY, 1), ("validate", ARRAY, 1)],
    ids=str,
)
def test_the_command_line_says_it(
    datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, str, int], damage: str
) -> None:
    word, document, code = case
    folder = Path(shutil.copytree(datasets / "zarr", tmp_path / "here"))
    path = damaged(folder, document, DAMAGES[damage][0])
    before = files_in(folder)
    assert command([word, str(folder / "a.ome.zarr")]) == code
    said = "".join(" ".join(capsys.readouterr()).split())
    assert "".join(str(path).split()) in said
    assert files_in(folder) == before


# ── errors of the disk ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("case", [one for one in IN_JSON if one[0] in {"zarr", "scratch", "prepared"}], ids="-".join)
def test_a_disk_that_fails_is_no_damaged_document(
    monkeypatch: pytest.MonkeyPatch, datasets: Path, tmp_path: Path, case: Case
) -> None:
    made, document, how = case
    folder, opened = Path(shutil.copytree(datasets / made, tmp_path / "here")), regular.open_regular

    def fails(path: Any, **more: Any) -> Any:
        if os.fspath(path) == str(folder / document):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        return opened(path, **more)

    monkeypatch.setattr(regular, "open_regular", fails)
    with pytest.raises(OSError, match=re.escape(str(folder / document))) as told:
        OPENED[how](folder, made if made in MADE else "zarr")
    assert told.value.errno == errno.EIO
