"""Runs behind a ring of buffers: a disk that fills up meanwhile, and an interpreter that exits."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Failing
from ome_writers.writers.memory import MemoryWriter


def test_a_run_whose_disk_fills_up_behind_it_says_which_frame_failed() -> None:
    inner = Failing(MemoryWriter(), at=3)
    dims = ow.dims_from_standard_axes({"t": 9, "y": 8, "x": 8})
    plan = ow.compile(ow.AcquisitionSettings(dtype="uint8", dimensions=dims, buffer_bytes=64))  # a frame
    stream = ow.Stream(plan, inner)
    with pytest.raises(ow.WriteError, match=r"^frame 3 "):
        for t in range(9):
            stream.append(np.full((8, 8), t, "uint8"))
    with pytest.raises(ow.WriteError, match=r"^frame 3 "):
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"
    assert inner.stored == [0, 1, 2]


@pytest.mark.parametrize("how", ["stream", "writer"])
def test_an_interpreter_that_exits_stores_what_waits(how) -> None:
    program = textwrap.dedent(f"""
        import sys, threading, numpy as np, ome_writers as ow
        from ome_writers.writers.memory import MemoryWriter
        from ome_writers.writers.buffered import BufferedWriter
        go = threading.Event()
        class Slow(MemoryWriter):
            def write(self, blocks):
                go.wait()
                print(*(frame for block in blocks for frame in block.frames))
        dims = ow.dims_from_standard_axes({{"t": 9, "y": 8, "x": 8}})
        plan = ow.compile(ow.AcquisitionSettings(dtype="uint8", dimensions=dims, buffer_bytes=4096))
        if {how == "stream"}:
            kept = ow.Stream(plan, Slow())
            for t in range(5):
                kept.append(np.zeros((8, 8), "uint8"))
        else:
            kept = BufferedWriter(Slow(), 4096)
            kept.open("", plan, [])
            kept.write([ow.Block((t,), 0, (t,), np.zeros((1, 8, 8), "uint8")) for t in range(5)])
        threading.Timer(0.2, go.set).start()
    """)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["0", "1", "2", "3", "4"]
    assert "Traceback" not in ended.stderr
