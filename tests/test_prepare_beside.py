"""The files beside a dataset that is prepared for another program: which may they replace, and what if they cannot?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import prepared


def plan_in(folder: Path, *, frames: int = 5, overwrite: bool = False) -> ow.Plan:
    dims = ow.dims_from_standard_axes({"t": frames, "y": 4, "x": 8}, shard_shapes={"t": 5})
    root = str(folder / "a.ome.zarr")
    return ow.compile(ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, overwrite=overwrite))


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [".placement.json", ".placement.npy", ".plan.npz", "table.csv", "table.npy"])
def test_what_has_the_name_of_a_file_beside_it_and_is_none_stays(tmp_path: Path, name: str, *, overwrite: bool) -> None:
    plan = plan_in(tmp_path, overwrite=overwrite)
    table = {"table": tmp_path / name} if name.startswith("table") else {}
    if overwrite:
        ow.prepare(plan, **table)
    foreign = tmp_path / name if table else tmp_path / f"a.ome.zarr{name}"
    others = [{"results": 3}, b"PK\3\4", np.zeros(3)]
    for other in others:
        foreign.unlink(missing_ok=True)
        if isinstance(other, np.ndarray):
            with foreign.open("wb") as file:
                np.save(file, other)
        else:
            foreign.write_bytes(other if isinstance(other, bytes) else json.dumps(other).encode())
        before = files_in(tmp_path)
        with pytest.raises(FileExistsError, match=f"{foreign.name} is in the way, and was not made by prepare"):
            ow.prepare(plan, **table)
        assert files_in(tmp_path) == before
    foreign.unlink()
    foreign.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="in the way"):
        ow.prepare(plan, **table)
    foreign.unlink()
    ow.prepare(plan, **table)
    assert foreign.exists()


def test_a_failure_leaves_an_older_dataset_with_the_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ow.prepare(plan_in(tmp_path))
    before = files_in(tmp_path)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "save_plan", fails)
    with pytest.raises(OSError, match="No space left"):
        ow.prepare(plan_in(tmp_path, frames=7, overwrite=True))
    assert files_in(tmp_path) == before
