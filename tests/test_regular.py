"""Files that may come from anywhere are opened if they are files, and read if they are no larger than they can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
