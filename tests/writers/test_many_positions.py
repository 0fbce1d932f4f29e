"""A thousand positions in OME-TIFF, in a process that may have few files open, by every writer of that format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ome_writers.testing import ways

pytest.importorskip("resource", reason="Windows has no such limit for a process")

POSITIONS = 1000
WAYS = {way.name: way for way in ways() if way.format.name == "ome-tiff" and way.persistent}
# Redundant sets have the whole document in each file: 1,000 times that of the others, and bound to the disk alone.
FEW = [name for name in WAYS if not name.endswith("redundant")]

CHILD = """
import json, resource, sys, threading, time
from pathlib import Path
import numpy as np
import ome_writers as ow
from ome_writers.testing import ways

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
(way,) = [way for way in ways() if way.name == sys.argv[1]]
dims = ow.dims_from_standard_axes({"t": 2, "p": 1000, "y": 4, "x": 4})
begin, threads = time.monotonic(), 0
with ow.Stream(ow.compile(way.settings(sys.argv[2], dims, dtype="uint16")), way.make()) as stream:
    for number in range(2000):
        stream.append(np.full((4, 4), number + 1, "uint16"))
        if number % 250 == 0:
            task = Path("/proc/self/task")
            threads = max(threads, len(list(task.iterdir())) if task.exists() else threading.active_count())
print(json.dumps({"root": stream.outcome.root, "verdict": stream.outcome.verdict, "threads": threads,
                  "seconds": time.monotonic() - begin}))
"""


@pytest.mark.parametrize("name", FEW)
def test_a_thousand_positions_with_few_open_files(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, name, str(tmp_path)], check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    assert said["verdict"] == "complete"
    assert said["threads"] <= 32
    root = Path(said["root"])
    if root.is_file():
        with tifffile.TiffFile(root) as file:
            assert len(file.series) == POSITIONS
            found = file.asarray(key=slice(None))
        # Pages lie in the order of arrival, or position by position; the series say which is whose.
        assert sorted(found[:, 0, 0].tolist()) == list(range(1, 2 * POSITIONS + 1))
        with tifffile.TiffFile(root) as file:
            for position in (0, 1, 500, 999):
                series = file.series[position].asarray()
                assert series[:, 0, 0].tolist() == [position + 1, POSITIONS + position + 1]
        return
    files = sorted(root.glob("*.tiff"))
    assert len(files) == POSITIONS
    for position, path in enumerate(files):
        with tifffile.TiffFile(path, is_ome=False) as file:
            pages = np.stack([page.asarray() for page in file.pages])
        assert (pages == np.array([position + 1, POSITIONS + position + 1])[:, None, None]).all()
    text = (root / next(root.glob("*.companion.ome"), files[0])).read_text("utf-8") if "companion" in name else None
    with tifffile.TiffFile(files[0], omexml=text) as file:
        assert len(file.series) == POSITIONS
        assert file.series[999].asarray()[:, 0, 0].tolist() == [POSITIONS, 2 * POSITIONS]
