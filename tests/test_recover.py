"""Processes that are killed in mid-acquisition: what was acknowledged is found by other people's readers."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.datasets import read_dataset
from ome_writers.journal import journal_folder
from ome_writers.testing.killed import Case, Killed, must_hold

CASES = [
    Case("direct-zarr", 9),
    Case("direct-zarr", 9, {"t": 2}, {"t": 4}, endless=True, passed=(3, 4)),
    Case("direct-zarr", 7, {"t": 4}, compression="gzip", pause=1.2),
    Case("direct-zarr", 11, {"t": 2}, {"t": 4}, compression="blosc-zstd"),
    Case("direct-zarr", 5, put=True),
    Case("direct-tiff-redundant", 9, passed=(3,)),
    Case("direct-tiff-single", 6, endless=True),
    Case("tensorstore", 7, {"t": 4}, pause=1.2, passed=(2,)),
    Case("tensorstore", 9, {"t": 2}, endless=True),
    Case("zarr-python", 7, {"t": 4, "c": 2}, pause=1.2, endless=True),
    Case("zarrs-python", 7, {"t": 2}),
    Case("zarr-python", 5, {"t": 4}, put=True),
    Case("acquire-zarr", 14),
    Case("acquire-zarr", 5, put=True),
    Case("tifffile-redundant", 7, passed=(1, 2)),
    Case("tifffile-single", 9, endless=True),
    Case("tifffile-redundant", 6, put=True),
    Case("scratch", 9, passed=(2,)),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Case, Killed]]:
    folder = tmp_path_factory.mktemp("killed")
    started: dict[str, Killed] = {}
    with contextlib.ExitStack() as stack:
        for case in CASES:
            started[case.name] = one = Killed(case, folder / case.name)
            stack.callback(one.die)
        yield started


@EVERY
def test_what_was_acknowledged_is_found(case: Case, every: dict[str, Killed]) -> None:
    killed = every[case.name].die()
    taken = case.frames - len(case.passed)
    if case.writer == "scratch" or case.name.startswith("acquire-zarr-14"):
        assert killed.safe == 0
    elif case.pause or case.put or case.writer == "tifffile" or "tiff" in case.way:
        assert killed.safe == taken
    outcome = ow.recover(killed.root)
    assert outcome.frames >= killed.safe
    assert (outcome.verdict, outcome.error) == (
        "stopped",
        "the process that wrote it ended before the stream was closed",
    )
    assert outcome.cursor <= case.frames
    assert {number for number in case.passed if number < outcome.cursor} <= set(outcome.missing.tolist())
    must_hold(case, killed.folder, outcome.cursor, outcome.missing.tolist())
    came = [number for number in range(outcome.cursor) if number not in outcome.missing]
    for number in came:
        assert outcome.records[number] == {"exposure_time": 0.5, "number": number}
    assert dict(outcome.globals) == {"lab": {"room": 3}}
    if case.writer == "scratch":
        assert outcome.frames == taken
        return
    said = read_dataset(killed.root)
    assert (said.verdict, said.frames) == ("stopped", outcome.frames)
    again = ow.recover(killed.root)
    assert (again.verdict, again.frames) == ("stopped", outcome.frames)
    must_hold(case, killed.folder, outcome.cursor, outcome.missing.tolist())


@pytest.mark.parametrize(("backend", "suffix"), [("direct", ".ome.zarr"), ("tifffile", ".ome.tiff"), ("scratch", "")])
def test_what_has_no_journal_any_more_still_tells_of_its_holes(tmp_path: Path, backend: str, suffix: str) -> None:
    root = tmp_path / f"cells{suffix}"
    settings = ow.AcquisitionSettings(
        root_path=str(root),
        dtype="uint8",
        dimensions=ow.dims_from_standard_axes({"t": 9, "y": 8, "x": 8}),
        format="auto" if suffix else "scratch",
    )
    with ow.create_stream(settings, backend) as stream:
        stream.append(np.ones((8, 8), "uint8"))
        stream.skip(frames=2)
        stream.append(np.ones((8, 8), "uint8"))
    shutil.rmtree(journal_folder(root), ignore_errors=True)
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.cursor, outcome.missing.tolist()) == ("stopped", 4, [1, 2])


@pytest.mark.parametrize("missing", [[[5, 4]], [[-1, 3]], [[0, 2**40]], [["a", 2]], 5])
def test_holes_that_cannot_be_are_not_believed(tmp_path: Path, missing: Any) -> None:
    root = tmp_path / "cells.ome.zarr"
    settings = ow.AcquisitionSettings(
        root_path=str(root), dtype="uint8", dimensions=ow.dims_from_standard_axes({"t": 9, "y": 8, "x": 8})
    )
    with ow.create_stream(settings, "direct") as stream:
        stream.append(np.ones((8, 8), "uint8"))
    shutil.rmtree(journal_folder(root))
    document = json.loads((root / "zarr.json").read_bytes())
    document["attributes"]["ome_writers"]["missing"] = missing
    (root / "zarr.json").write_text(json.dumps(document))
    assert ow.recover(root).missing.tolist() == []
    document["attributes"]["ome_writers"]["frames"] = "many"
    (root / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="cannot be understood"):
        ow.recover(root)
