"""Streams that go on with a dataset: the end is that of a run that nobody interrupted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ome_writers as ow
from ome_writers.testing.killed import Case, Killed, acquire, must_hold
from ome_writers.testing.living import C, P, T

CASES = [
    Case("direct-zarr", 9, {"t": 2}, {"t": 4}, passed=(3,)),
    Case("direct-zarr", 7, {"t": 4}, compression="gzip"),
    Case("direct-tiff-redundant", 9, passed=(3,)),
    Case("direct-tiff-single", 6),
    Case("tensorstore", 7, {"t": 4}, pause=1.2, passed=(2,)),
    Case("zarr-python", 9, {"t": 2, "c": 2}),
    Case("scratch", 9),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Killed]]:
    folder = tmp_path_factory.mktemp("killed")
    started: dict[str, Killed] = {}
    with contextlib.ExitStack() as stack:
        for case in CASES:
            started[case.name] = one = Killed(case, folder / case.name)
            stack.callback(one.die)
        yield started


def said(stream: ow.Stream) -> Any:
    """Return all that the documents say, but for the date and the UUIDs."""
    outcome = stream.outcome
    assert outcome is not None
    documents = [(one.path, one.kind, one.body if one.kind == "group" else "") for one in stream._run.documents()]  # noqa: SLF001 - as they were written
    return documents, dict(outcome.records), outcome.missing.tolist(), outcome.verdict, outcome.cursor, outcome.error


@pytest.mark.parametrize("how", ["killed", "recovered", "stopped"])
@EVERY
def test_it_ends_as_if_nobody_had_interrupted_it(
    case: Case, how: str, every: dict[str, Killed], tmp_path: Path
) -> None:
    whole = acquire(case, tmp_path / "whole", stop=T * P * C)
    whole.close()
    if how in ("killed", "recovered"):
        killed = every[case.name].die()
        folder = tmp_path / "killed"
        # The process is dead; of its dataset each test has a copy.
        shutil.copytree(killed.folder, folder)
        if how == "recovered":
            ow.recover(case.settings(folder).output_path)
    else:
        folder = tmp_path / "stopped"
        stream = acquire(case, folder)
        stream.close()
    stream = ow.create_stream(case.settings(folder), resume=True)
    assert stream.cursor <= case.frames
    acquire(case, folder, stream=stream, stop=T * P * C)
    stream.close()
    must_hold(case, folder, T * P * C, list(case.passed))
    assert said(stream) == said(whole)
    assert not Path(f"{case.settings(folder).output_path}.journal").exists()
