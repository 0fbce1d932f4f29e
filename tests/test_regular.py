"""Files that may come from anywhere are opened if they are files, and read if they are no larger than they can be."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.datasets import read_dataset
from ome_writers.ownership import why_not_dataset
from ome_writers.readers import frame_metadata, noted
from ome_writers.regular import IrregularFileError, open_regular, read_regular


def test_a_file_of_as_many_bytes_as_may_be_is_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == read_regular(str(path), 2**40, links=False) == b"12345"
    with pytest.raises(IrregularFileError, match=r"has 5 bytes, more than the 4 .*run\.json"):
        read_regular(path, 4)


def test_a_file_with_a_hole_of_3_gb_is_refused_unread(tmp_path):
    path = tmp_path / "plan.npz"
    path.touch()
    os.truncate(path, 3 * 10**9)
    with pytest.raises(IrregularFileError, match="3000000000"):
        read_regular(path, 2**30)


def test_a_file_that_is_not_there_is_said_to_be_absent(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "run.json", 5)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "run.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(path)
    elif Path("/dev/zero").exists():
        path.symlink_to("/dev/zero")
    else:
        pytest.skip("no such device here")
    with pytest.raises(IrregularFileError, match="is no regular file"):
        open_regular(path)
    with pytest.raises(IrregularFileError, match="is no regular file"):
        read_regular(path, 5)


def test_a_link_is_followed_if_that_is_wished(tmp_path):
    path, link = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"12")
    link.symlink_to(path)
    assert read_regular(link, 5) == b"12"
    with pytest.raises(IrregularFileError, match="is no regular file"):
        read_regular(link, 5, links=False)


def test_a_file_that_becomes_a_pipe_in_between_is_refused(tmp_path, monkeypatch):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path = tmp_path / "run.json"
    path.touch()
    before = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: before)
    with pytest.raises(IrregularFileError, match="is no regular file"):
        open_regular(path)


# ── where such files are read ───────────────────────────────────────────────────────────────────────────────────────


def spoil(path: Path, how: str) -> None:
    """Make a file one that must not be read: a pipe, or of 3 GB, none of which take room on the disk."""
    path.unlink(missing_ok=True)
    if how == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 3 * 10**9)


HOWS = pytest.mark.parametrize("how", ["pipe", "large"])


@HOWS
@pytest.mark.parametrize("suffix", [".json", ".toml", ".yaml"])
def test_settings_of_such_files_are_refused(tmp_path, how, suffix):
    path = tmp_path / f"settings{suffix}"
    spoil(path, how)
    with pytest.raises(ow.SettingsError, match=path.name):
        ow.load(path)


@HOWS
def test_plans_of_such_files_are_refused(tmp_path, how):
    path = tmp_path / "plan.npz"
    spoil(path, how)
    with pytest.raises(ow.PlanError, match=r"plan\.npz"):
        ow.load_plan(path)


def dataset(root: Path, format_: str, positions: int = 1) -> Path:
    dims = ow.dims_from_standard_axes({"t": 2, "p": positions, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims, format=format_)
    with ow.create_stream(settings) as stream:
        for _ in range(2 * positions):
            stream.append(np.ones((8, 8), np.uint8))
    return Path(settings.output_path or root)


FORMATS = {
    "scratch": ("manifest.json", "scratch"),
    "group": ("zarr.json", "ome-zarr"),
    "array": ("0/1/zarr.json", "ome-zarr"),
}


@HOWS
@pytest.mark.parametrize("case", FORMATS)
def test_documents_that_are_such_files_are_refused_by_all_that_read_them(tmp_path, how, case):
    document, format_ = FORMATS[case]
    root = dataset(tmp_path / "cells.ome.zarr", format_, 2)
    document = document if (root / document).exists() else document.replace("0/1", "1/0")
    spoil(root / document, how)
    questions = [ow.open_view, read_dataset, frame_metadata, noted]
    for question in questions:
        with suppress(ValueError, OSError):  # some of them need not read it
            question(str(root))
    with pytest.raises(ValueError, match="cells"):
        ow.open_view(str(root))
    assert why_not_dataset(root) is not None


@HOWS
def test_ome_tiff_files_of_a_set_that_are_such_files_are_refused(tmp_path, how):
    root = dataset(tmp_path / "cells.ome.tiff", "ome-tiff", 2)
    root = root if root.exists() else tmp_path / "cells"
    for file in root.iterdir():
        spoil(file, how)
    for question in (ow.open_view, read_dataset, frame_metadata, noted):
        with pytest.raises((ValueError, OSError)):
            question(str(root))
    assert why_not_dataset(root) is not None
