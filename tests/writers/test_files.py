"""Documents that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ome_writers.writers.files import replace_file, stands, sync_tree


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.companion.ome"
    replace_file(path, b"old and long")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.companion.ome"]


def test_what_fails_leaves_what_stood_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "inside").write_bytes(b"x")
    with pytest.raises(OSError, match="a"):
        replace_file(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (path / "inside").read_bytes() == b"x"


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_reader_that_holds_the_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    # Only Windows refuses; this system never would.
    path, rename, left = tmp_path / "a", Path.replace, iter([True] * refusals)

    def refuse(self: Path, target: Path) -> Path:
        if next(left, False):
            raise PermissionError(13, "used by another process")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_reader_that_never_lets_go_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr("ome_writers.writers.files._PATIENCE", (0.0, 0.0))
    with pytest.raises(PermissionError, match=r"open, close it there.*used by another process.*/a'"):
        replace_file(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    found = {name: stands(tmp_path / name) for name in ("empty", "file", "link", "absent", ".")}
    assert found == {"empty": False, "file": True, "link": True, "absent": False, ".": True}


def test_a_tree_can_be_synchronised(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"x")
    sync_tree(tmp_path)
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"
