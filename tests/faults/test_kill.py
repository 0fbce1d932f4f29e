"""Programs that are killed in the middle of a run: what others read afterwards is what had been acknowledged.

`OME_WRITERS_FAULTS=50 pytest -n0 tests/faults` tries fifty times as many moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ome_writers.testing import Way, ways
from ome_writers.testing.faults import Case, acknowledged, running

TIMES = int(os.environ.get("OME_WRITERS_FAULTS", "1"))
STORED = [way for way in ways() if way.persistent]
EVERY = pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
# What happens in the shell, or in a library, is no matter of the layouts of OME-TIFF.
_ONE_EACH = {(way.writer, way.format.name): way for way in reversed(STORED)}
ONE_EACH = pytest.mark.parametrize("way", STORED if TIMES > 1 else _ONE_EACH.values(), ids=lambda way: way.name)
LAYOUTS: list[dict[str, Any]] = [
    {"t": None, "p": 2, "c": 2},
    {"t": 20, "p": 1, "c": 2, "shards": {"t": 10}},
    {"t": 10, "p": 2, "c": 2, "chunks": {"t": 3}},
]


def held_back(case: Case) -> int:
    """Return how many of the last frames a writer may hold when it is killed, by what it says of itself."""
    from ome_writers import compile
    from ome_writers.writer import ack_for

    plan, able = compile(case.acquisition()), case.stored_in.make().capabilities
    kind = ack_for(plan, able)
    if kind == "append":
        return 0
    if kind == "close":
        return case.frames
    # Frames of a block come one round apart, and some blocks may be on their way to the disk.
    deep = (case.shards or case.chunks or {}).get("t", 1)
    return case.frames if able.in_flight_bytes else deep * case.p * case.c


@EVERY
@pytest.mark.parametrize("attempt", range(TIMES))
def test_killed_at_any_moment(tmp_path: Path, way: Way, attempt: int) -> None:
    chance = random.Random(f"{way.name} {attempt}")  # noqa: S311 - any moment will do
    layout = LAYOUTS[(STORED.index(way) + attempt) % len(LAYOUTS)]
    case = Case(way=way.name, folder=str(tmp_path), then="wait", **layout)
    with running(case) as process:
        taken = acknowledged(process, chance.randrange(1, 40))
        process.send_signal(signal.SIGKILL)
        taken = max(taken, acknowledged(process))
    there = case.there()
    held = held_back(case)
    assert set(range(taken - held)) <= set(there), f"{taken} were acknowledged"


@ONE_EACH
def test_an_interrupt_leaves_a_whole_dataset_and_says_what_it_holds(tmp_path: Path, way: Way) -> None:
    case = Case(way=way.name, folder=str(tmp_path), t=20_000, frames=20_000, p=1, c=2, y=8, x=8)
    with running(case) as process:
        taken = acknowledged(process, 5)
        process.send_signal(signal.SIGINT)
        taken = max(taken, acknowledged(process))
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    last = said.strip().splitlines()[-1]
    assert "frames (stopped)" in last, said
    holds = int(last.split(" holds ")[1].split()[0])
    # A frame that was being taken when the signal came may be there or not.
    assert taken <= holds <= taken + 1
    assert set(range(taken)) <= set(case.there())


@ONE_EACH
def test_an_interpreter_ends_with_an_open_stream_and_a_child_that_was_forked_off(tmp_path: Path, way: Way) -> None:
    """The child never touches the data of its parent; the parent stores what it holds."""
    fork = 8 if hasattr(os, "fork") else None
    case = Case(way=way.name, folder=str(tmp_path), t=10, p=2, c=1, frames=15, chunks={"t": 3}, fork=fork, then="leave")
    with running(case) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert fork is None or f"child {7 << 8}" in said.splitlines()
    assert case.there() == list(range(15))


def test_what_is_killed_while_it_compresses(tmp_path: Path) -> None:
    case = Case(
        way="direct-zarr",
        folder=str(tmp_path),
        t=20,
        p=1,
        c=2,
        shards={"t": 4},
        settings={"compression": "gzip"},
        then="wait",
    )
    with running(case) as process:
        acknowledged(process, 40)
        process.kill()
    assert set(case.there()) <= set(range(40))


def test_the_program_finds_its_own_faults(tmp_path: Path) -> None:
    """A frame that another program changed is seen."""
    case = Case(way="direct-zarr", folder=str(tmp_path), t=3, frames=3, y=32, x=32)
    with running(case) as process:
        process.communicate(timeout=60)
    assert case.there() == [0, 1, 2]
    chunk = next(path for path in tmp_path.rglob("c/1/**/*") if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[100] ^= 0x55
    chunk.write_bytes(data)
    with pytest.raises(AssertionError, match="frame 1 has pixels that were not sent"):
        case.there()


def test_a_termination_is_no_worse_than_a_kill(tmp_path: Path) -> None:
    case = Case(way="direct-tiff-redundant", folder=str(tmp_path), t=20, p=2, then="wait")
    with running(case) as process:
        acknowledged(process, 40)
        process.terminate()
        process.wait(timeout=60)
    assert case.there() == list(range(40))


FORKS = """
import os, sys
import numpy as np
import ome_writers as ow

dims = ow.dims_from_standard_axes({"t": 400, "y": 64, "x": 64})
settings = ow.AcquisitionSettings(root_path=sys.argv[1], dtype="uint16", dimensions=dims, buffer_bytes=1 << 24)
with ow.create_stream(settings, sys.argv[2]) as stream:
    for number in range(400):
        stream.append(np.full((64, 64), number + 1, "uint16"))
        if number == 300:
            if os.fork() == 0:
                os._exit(0)
            os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks there")
@pytest.mark.parametrize("writer", ["direct", "tensorstore", "zarr-python", "zarrs-python"])
def test_a_fork_with_frames_in_line(tmp_path: Path, writer: str) -> None:
    """Threads of libraries are needed to store them, and other libraries lock what these need while there is a fork."""
    command = [sys.executable, "-c", FORKS, str(tmp_path / "a.ome.zarr"), writer]
    subprocess.run(command, check=True, timeout=60)
    pixels = zarr.open_array(tmp_path / "a.ome.zarr" / "0", mode="r")[:]
    assert (pixels == np.arange(1, 401)[:, None, None]).all()
