"""Given contenders, this answers: what does each of them take to write the same frames, side by side on one disk?

1. Each round begins with another contender, and each has a process of its own: memory of one is not that of another.
2. Before each, the disk is synchronised; after each, what it wrote is removed. So none pays for the dirty pages of
   another, and the disk needs room for one of them only.
3. One that fails is left out from then on, with the reason; the others go on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from errno import ENOSPC
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path

import numpy as np
from attrs import asdict

from ome_writers._version import __version__
from ome_writers.bench.contenders import FLOOR, Contender, Refused
from ome_writers.bench.pictures import pictures
from ome_writers.bench.results import Comparison, Measured, Result
from ome_writers.bench.worker import Job
from ome_writers.errors import Problem, SettingsError
from ome_writers.layout import Layout
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.serial import dumps
from ome_writers.writer import WRITERS

_START = "import sys; sys.path[:] = {path!r}; from ome_writers.bench.worker import main; sys.exit(main(sys.argv[1]))"
"""So that a worker is the same installation as this process, however that came to be found."""
_MARGIN = 1.1
"""For indices, documents, and what a writer reserves ahead."""


def compare(  # noqa: PLR0913 - what may be left out is named
    contenders: Sequence[Contender],
    refused: Sequence[Refused] = (),
    *,
    folder: Path | None = None,
    rounds: int = 3,
    frames: int | None = None,
    tell: Callable[[str], object] = str,
) -> Comparison:
    """Let contenders and the floor write frames on the disk that holds `folder`, and return what that took.

    Parameters
    ----------
    contenders
        All of them write frames of one shape and dtype.
    frames
        How many; by default all that are planned.
    tell
        Called with a word about what comes next.

    Raises
    ------
    SettingsError
        If it is not said where the frames end.
    OSError
        If the disk has no room. Nothing has been written.
    """
    plans = [compile(one.settings) for one in contenders if one.settings is not None]
    spec = plans[0].layout.arrays[0]
    if len({(one.shape[-2:], one.dtype) for one in plans[0].layout.arrays}) > 1:
        message = "must have frames of one size and dtype to be raced; give one camera, and do so for each"
        raise SettingsError([Problem(("dimensions",), "unsupported", message)])
    planned = plans[0].frames
    counts = [count for count in (planned, frames) if count is not None]
    if not counts:
        message = "must be known here; give the count of the first dimension, or a number of frames"
        raise SettingsError([Problem(("dimensions", 0, "count"), "missing", message)])
    count = min(counts)
    height, width = (size or 1 for size in spec.shape[-2:])
    frame_bytes = height * width * np.dtype(spec.dtype).itemsize
    padding = max(_padding(plan.layout) for plan in plans)
    with tempfile.TemporaryDirectory(prefix="ome-writers-bench-", dir=folder) as made:
        place = Path(made)
        tell("making frames")
        few = pictures((height, width), spec.dtype)
        _require_room(place, round(count * frame_bytes * max(1.0, padding) * _MARGIN) + few.nbytes)
        np.save(place / "pictures.npy", few)
        results = _race([FLOOR, *contenders], place, count, rounds, tell)
    return Comparison(
        shape=(height, width),
        dtype=spec.dtype,
        frames=count,
        frame_bytes=frame_bytes,
        folder=str(place.parent),
        machine=_machine(),
        results=tuple(results),
        refused=tuple(refused),
    )


def _race(
    contenders: Sequence[Contender], place: Path, count: int, rounds: int, tell: Callable[[str], object]
) -> list[Result]:
    took: dict[Contender, list[Measured]] = {one: [] for one in contenders}
    errors: dict[Contender, str] = {}
    for turn in range(rounds):
        first = turn % len(contenders)
        for one in (*contenders[first:], *contenders[:first]):
            if one in errors:
                continue
            tell(f"round {turn + 1} of {rounds}: {one.name}")
            answer = _asked(one, place, count)
            if isinstance(answer, Measured):
                took[one].append(answer)
            else:
                errors[one] = answer
    return [Result(one, tuple(took[one]), errors.get(one)) for one in contenders]


def _asked(one: Contender, place: Path, count: int) -> Measured | str:
    """Let a worker do one round of a contender; return what it took, or why it failed."""
    # A folder that cannot be removed at once, as another program looks into it, shall not end the run.
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as made:
        data = Path(made, "data")
        data.mkdir()
        job = Job(
            writer=one.writer,
            settings=None if one.settings is None else dumps(one.settings),
            frames=count,
            pictures=str(place / "pictures.npy"),
            folder=str(data),
        )
        asked, answered = Path(made, "job.json"), Path(made, "result.json")
        asked.write_text(json.dumps(asdict(job)), "utf-8")
        command = [sys.executable, "-c", _START.format(path=sys.path), str(asked)]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own code
        try:
            said = json.loads(answered.read_text("utf-8"))
        except (OSError, ValueError):
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return f"its process ended with code {done.returncode}{''.join(f': {line}' for line in last)}"
    return str(said["error"]) if "error" in said else Measured(**said)


def _padding(layout: Layout) -> float:
    """Return how much larger the arrays are on disk, cut into whole chunks or shards, than what is planned."""
    pixels = stored = 0
    for spec in layout.arrays:
        blocks = spec.shard_shape or spec.chunk_shape
        shape = [size or block for size, block in zip(spec.shape, blocks, strict=True)]
        pixels += prod(shape)
        stored += prod(-(-size // block) * block for size, block in zip(shape, blocks, strict=True))
    return stored / pixels


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        message = (
            f"a round takes {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free here; "
            "choose another folder, or fewer frames"
        )
        raise OSError(ENOSPC, message, str(folder.parent))


def _machine() -> dict[str, str]:
    """Return what figures depend on: the system, and versions of what is installed."""
    names = ["numpy", *dict.fromkeys(entry.requires for entry in WRITERS.values() if entry.requires), "numcodecs"]
    said = {"system": platform.platform(), "cores": str(os.cpu_count()), "python": platform.python_version()}
    said["ome-writers"] = __version__
    for name in names:
        try:
            said[name] = version(name.replace("_", "-"))
        except PackageNotFoundError:
            continue
    return said
