"""Whether pixels will fit on the disk, asked before anything is made."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ome_writers as ow
from ome_writers.space import pixel_bytes, require_space

SIZES: dict[str, Any] = {"t": 3, "p": 2, "c": 2, "y": 8, "x": 4}


def plan_of(root: Path | str = "a.ome.zarr", dtype: str = "uint16", **change: Any) -> ow.Plan:
    given = {"compression": change.pop("compression", None)}
    dims = ow.dims_from_standard_axes(SIZES | change)
    return ow.compile(ow.AcquisitionSettings(root_path=str(root), dtype=dtype, dimensions=dims, **given))


@pytest.fixture
def _disk_of_1000(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have 1000 bytes left on every disk that is asked."""

    def usage(path: Path) -> Any:
        assert path.exists()
        return SimpleNamespace(total=5000, used=4000, free=1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.mark.parametrize(
    ("dtype", "change", "wanted"),
    [
        ("uint16", {}, 3 * 2 * 2 * 8 * 4 * 2),
        ("complex128", {"p": 1}, 3 * 2 * 8 * 4 * 16),
        ("bool", {"t": 1}, 2 * 2 * 8 * 4),
        ("uint16", {"t": None}, 2 * 2 * 8 * 4 * 2),
    ],
)
def test_bytes_of_all_frames(dtype: str, change: dict[str, Any], wanted: int) -> None:
    assert pixel_bytes(plan_of(dtype=dtype, **change)) == wanted


def test_bytes_of_a_part() -> None:
    plan = plan_of()
    assert pixel_bytes(plan.rest(7)) == 5 * 8 * 4 * 2
    assert pixel_bytes(plan.select(p=1)) == 6 * 8 * 4 * 2
    assert sum(pixel_bytes(part) for part in plan.split(4)) == pixel_bytes(plan)


@pytest.mark.usefixtures("_disk_of_1000")
def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there" / "a.ome.zarr"
    require_space(plan_of(t=None), str(root))
    with pytest.raises(ow.PlanError, match=r"root_path: the arrays take 1024 bytes; the disk of .* has 1000 left"):
        require_space(plan_of(t=4), str(root))
    with pytest.raises(ow.PlanError, match="1000 left"):
        ow.create_stream(plan_of(root, t=4).settings, "direct")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_disk_of_1000")
def test_what_may_be_compressed_is_worth_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1024 bytes.* enough only if they can be compressed that much"):
        require_space(plan_of(t=4, compression="gzip"), str(tmp_path / "a"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_space(plan_of(compression="gzip"), str(tmp_path / "a"))


@pytest.mark.usefixtures("_disk_of_1000")
@pytest.mark.parametrize("folder", [True, False])
def test_what_is_replaced_counts_as_free(tmp_path: Path, *, folder: bool) -> None:
    root = tmp_path / "a"
    if folder:
        (root / "0").mkdir(parents=True)
    (root / "0" / "pixels" if folder else root).write_bytes(bytes(100_000))
    plan = plan_of(t=100)
    with pytest.raises(ow.PlanError):
        require_space(plan, str(root))
    require_space(plan, str(root), overwrite=True)
    with pytest.raises(ow.PlanError):
        require_space(plan_of(t=1000), str(root), overwrite=True)


@pytest.mark.usefixtures("_disk_of_1000")
def test_what_takes_no_room_frees_none(tmp_path: Path) -> None:
    """A file of which nothing was written is long and takes no blocks."""
    root = tmp_path / "a"
    with root.open("wb") as file:
        file.truncate(10_000_000)
    if getattr(root.stat(), "st_blocks", 1):
        pytest.skip("this file system has no files with holes, or does not say how much room they take")
    with pytest.raises(ow.PlanError):
        require_space(plan_of(t=100), str(root), overwrite=True)
