"""Processes that are killed in mid-acquisition: what was acknowledged is found by other people's readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import ome_writers as ow
from ome_writers.datasets import read_dataset
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
