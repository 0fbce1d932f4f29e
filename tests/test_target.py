"""What may be replaced, and what stands afterwards, when a path is already taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ome_writers.ownership import why_not_dataset
from ome_writers.target import room_at

IMAGE: dict[str, object] = {"ome": {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}]}]}}


def make_zarr(path: Path, attributes: dict[str, object]) -> Path:
    path.mkdir(parents=True)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    (path / "0").mkdir()
    (path / "0" / "zarr.json").write_text('{"node_type": "array"}')
    return path


def make_folder(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for name in names:
        if name.endswith("companion.ome"):
            said = "".join(f'<UUID FileName="{one}"/>' for one in names if one != name)
            (path / name).write_text(f'<?xml version="1.0"?><OME>{said}</OME>')
            continue
        described = "<OME/>" if ".ome." in name.lower() else None
        tifffile.imwrite(path / name, np.zeros((4, 4), "u1"), description=described, metadata=None)
    return path


class TestWhatIsADataset:
    def test_ome_zarr_of_any_version(self, tmp_path: Path) -> None:
        assert why_not_dataset(make_zarr(tmp_path / "a", IMAGE)) is None
        old = tmp_path / "old"
        old.mkdir()
        (old / ".zattrs").write_text('{"multiscales": []}')
        (old / ".zgroup").write_text('{"zarr_format": 2}')
        assert why_not_dataset(old) is None

    def test_tiff_and_folders_of_them(self, tmp_path: Path) -> None:
        for name, options in {"a.ome.tif": {}, "big.ome.tif": {"bigtiff": True, "byteorder": ">"}}.items():
            tifffile.imwrite(tmp_path / name, np.zeros((4, 4), "u1"), ome=True, **options)
            assert why_not_dataset(tmp_path / name) is None
        assert (
            why_not_dataset(make_folder(tmp_path / "set", ["s_p000.ome.tiff", "s_p001.OME.TIFF", "s.companion.ome"]))
            is None
        )

    def test_an_empty_folder_holds_nothing_to_lose(self, tmp_path: Path) -> None:
        assert why_not_dataset(make_folder(tmp_path / "empty", [])) is None

    @pytest.mark.parametrize("names", [["raw.tif"], ["p0.ome.tiff", "raw.tif"], ["raw.tif", "set.companion.ome"]])
    def test_a_folder_of_other_things_is_none(self, tmp_path: Path, names: list[str]) -> None:
        assert "raw.tif" in (why_not_dataset(make_folder(tmp_path / "mine", names)) or "")

    @pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 8])
    def test_a_damaged_tiff_is_none(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.ome.tif").write_bytes(data)
        assert why_not_dataset(tmp_path / "a.ome.tif") == "it is a file, but no OME-TIFF"

    def test_a_plain_tiff_is_somebody_elses(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "raw.tif", np.zeros((4, 4), "u1"))
        assert why_not_dataset(tmp_path / "raw.tif") == "it is a file, but no OME-TIFF"

    def test_a_zarr_without_ome_metadata_is_none(self, tmp_path: Path) -> None:
        assert "without OME metadata" in (why_not_dataset(make_zarr(tmp_path / "table.zarr", {"rows": 3})) or "")

    def test_foreign_files_in_a_zarr_are_not_deleted(self, tmp_path: Path) -> None:
        path = make_zarr(tmp_path / "a", IMAGE)
        (path / "0" / "c").mkdir()
        (path / "0" / "c" / "0").write_bytes(b"pixels")
        assert why_not_dataset(path) is None
        (path / "results").mkdir()
        (path / "results" / "analysis.csv").write_text("1,2,3")
        assert "'results'" in (why_not_dataset(path) or "")

    def test_a_file_that_is_no_tiff_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tif").write_text("Chapter 1")
        assert why_not_dataset(tmp_path / "thesis.tif") == "it is a file, but no OME-TIFF"

    def test_damaged_metadata_is_none(self, tmp_path: Path) -> None:
        path = make_zarr(tmp_path / "a", IMAGE)
        for text, why in (
            ("{", f"one of its documents cannot be understood: {path / 'zarr.json'}: is no JSON"),
            ("[]", f"{path / 'zarr.json'}: must be a JSON object; got a list"),
            ('{"attributes": []}', "it is a zarr without OME metadata"),
        ):
            (path / "zarr.json").write_text(text)
            assert why in (why_not_dataset(path) or "")

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        target = make_zarr(tmp_path / "a", IMAGE)
        (tmp_path / "link").symlink_to(target, target_is_directory=True)
        with pytest.raises(FileExistsError, match="symbolic link"), room_at(str(tmp_path / "link"), overwrite=True):
            pass
        assert (target / "zarr.json").exists()


class TestMakingRoom:
    def test_parents_are_made(self, tmp_path: Path) -> None:
        with room_at(str(tmp_path / "a" / "b" / "c.ome.zarr"), overwrite=False):
            (tmp_path / "a" / "b" / "c.ome.zarr").mkdir()
        assert (tmp_path / "a" / "b" / "c.ome.zarr").is_dir()

    def test_without_overwrite_nothing_is_touched(self, tmp_path: Path) -> None:
        path = make_zarr(tmp_path / "a", IMAGE)
        with pytest.raises(FileExistsError, match="overwrite=True"), room_at(str(path), overwrite=False):
            pass
        assert sorted(entry.name for entry in path.iterdir()) == ["0", "zarr.json"]

    def test_the_old_goes_once_the_new_stands(self, tmp_path: Path) -> None:
        path = make_zarr(tmp_path / "a", IMAGE)
        with room_at(str(path), overwrite=True) as room:
            room.at.mkdir()
            (room.at / "new").touch()
            assert (path / "zarr.json").exists()
        assert [entry.name for entry in path.iterdir()] == ["new"]
        assert [entry.name for entry in tmp_path.iterdir()] == ["a"]

    @pytest.mark.parametrize("moved", [False, True])
    def test_the_old_comes_back_if_the_new_cannot_be_made(self, tmp_path: Path, moved: bool) -> None:  # noqa: FBT001
        path = make_zarr(tmp_path / "a", IMAGE)
        with pytest.raises(OSError, match="no space"), room_at(str(path), overwrite=True) as room:
            room.at.mkdir()
            (room.at / "half").touch()
            if moved:
                room.move_in()
            raise OSError("no space")
        assert sorted(entry.name for entry in path.iterdir()) == ["0", "zarr.json"]
        assert [entry.name for entry in tmp_path.iterdir()] == ["a"]

    def test_what_another_writer_made_in_between_stays(self, tmp_path: Path) -> None:
        with pytest.raises(FileExistsError), room_at(str(tmp_path / "a"), overwrite=False):
            make_zarr(tmp_path / "a", IMAGE)
            raise FileExistsError
        assert (tmp_path / "a" / "zarr.json").exists()

    def test_what_was_half_made_goes(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="no space"), room_at(str(tmp_path / "a.ome.tiff"), overwrite=False):
            (tmp_path / "a.ome.tiff").touch()
            raise OSError("no space")
        assert not list(tmp_path.iterdir())
