"""By hand: a million small frames, or many gigabytes of large ones, through a writer; memory, rate and files stay flat.

    python tests/faults/soak.py direct small /some/disk
    python tests/faults/soak.py tensorstore large /some/disk --gigabytes 20

It prints a line for each twentieth of the run, and ends with an error if memory or open files grow, or the rate falls
to less than half of what it was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil

import ome_writers as ow

_SLACK = 64 << 20
"""Bytes that memory may differ by from one twentieth to another: allocators keep what they had."""
_MOST_FILES = 128
"""Writers keep some files open, and no more than that."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("writer")
    parser.add_argument("size", choices=["small", "large"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--format", choices=["ome-zarr", "ome-tiff", "scratch"], default="ome-zarr")
    given = parser.parse_args()
    edge = 16 if given.size == "small" else 2048
    frames = given.frames if given.size == "small" else int(given.gigabytes * 2**30 / (edge * edge * 2))
    shards = {"t": 1000 if given.size == "small" else 10} if given.format == "ome-zarr" else None
    dims = ow.dims_from_standard_axes({"t": frames, "y": edge, "x": edge}, shard_shapes=shards)
    root = given.folder / "soak"
    settings = ow.AcquisitionSettings(root_path=str(root), dimensions=dims, dtype="uint16", format=given.format)
    process, buffer = psutil.Process(), np.zeros((edge, edge), "uint16")
    seen: list[tuple[float, int, int]] = []
    stream = ow.create_stream(settings, given.writer)
    begin, since, step = time.perf_counter(), 0, max(1, frames // 20)
    for number in range(frames):
        buffer[:] = number % 60_000 + 1
        stream.append(buffer)
        if (number + 1) % step == 0:
            seconds = time.perf_counter() - begin
            seen.append(((number + 1 - since) / seconds, process.memory_info().rss, process.num_fds()))
            rate, rss, files = seen[-1]
            print(f"{number + 1:>9} frames {rate:>10.0f} /s {rss / 2**20:>8.0f} MiB {files:>5} files", flush=True)  # noqa: T201
            begin, since = time.perf_counter(), number + 1
    begin = time.perf_counter()
    stream.close()
    print(f"closed in {time.perf_counter() - begin:.1f} s: {stream.outcome}"[:120])  # noqa: T201
    assert stream.outcome is not None
    path = Path(stream.outcome.root)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    settled = seen[4:]
    rates, memory, open_files = zip(*settled, strict=True)
    faults = [
        *(["memory grows"] if memory[-1] - memory[0] > _SLACK else []),
        *(["files stay open"] if max(open_files) > _MOST_FILES else []),
        *(["it slows down"] if np.median(rates[-5:]) < np.median(rates[:5]) / 2 else []),
    ]
    print("; ".join(faults) or "flat")  # noqa: T201
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
