"""What is seen of a run from within: what it shows, when it shows nothing, and what it costs the loop."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from rich.console import Console

import ome_writers as ow
from ome_writers import progress
from ome_writers.sights import Sight, columns, rate, share, size
from ome_writers.writers.memory import MemoryWriter

PIXELS = np.ones((8, 8), "uint16")


def settings_of(frames: int | None = 6, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": frames, "y": 8, "x": 8})
    return ow.AcquisitionSettings(root_path="cells.ome.zarr", dtype="uint16", dimensions=dims, **more)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Sight]:
    """Look at runs often, and remember what was seen."""
    sights: list[Sight] = []

    class Picture:
        def __init__(self, console: Console | None = None) -> None:
            pass

        def show(self, shown: Any) -> None:
            sights.append(shown[-1])

        def end(self) -> None:
            pass

    monkeypatch.setattr(progress, "Terminal", Picture)
    monkeypatch.setattr(progress, "_LOOKS", 1000)
    monkeypatch.setattr(progress, "_EVERY", 1)
    return sights


def until(condition: Any) -> None:
    """Wait until something is so; the test fails by its own limit of looks if it never is."""
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.005)
    pytest.fail("it never came")


def test_what_is_shown_of_a_run() -> None:
    sights = [
        Sight(at=0, planned=1000),
        Sight(at=4, frames=20, planned=1000, nbytes=5_000_000, missing=3, pressure=0.251),
    ]
    assert rate(sights) == 5
    said = "20/1000 frames|5.00/s|5.0 MB|back-pressure 25 %|3 missing|0:03:15 left"
    assert "|".join(columns(sights)) == said
    assert share(sights[-1]) == 0.023
    ended = Sight(frames=990, missing=10, planned=1000, verdict="stopped")
    assert columns([ended]) == ("990/1000 frames", "0 B", "10 missing", "stopped")
    endless = [Sight(at=0, missing=None, exact=False), Sight(at=1, frames=300, missing=None, exact=False)]
    assert columns(endless) == ("about 300 frames", "300/s", "0 B")
    assert share(endless[-1]) is None
    assert [size(count) for count in (0, 999, 1000, 2.5e12, 3e15)] == ["0 B", "999 B", "1.0 kB", "2.5 TB", "3.0 PB"]
    assert columns([Sight(at=0, planned=9), Sight(at=1, planned=9)])[1:] == ("0/s", "0 B", "0 missing")


def test_a_run_is_seen_while_it_goes_on(seen: list[Sight]) -> None:
    with ow.create_stream(settings_of(), "memory", progress=True) as stream:
        until(lambda: seen)
        stream.append(PIXELS)
        stream.skip(frames=2)
        until(lambda: seen[-1].missing == 2)
    middle = next(sight for sight in seen if sight.missing == 2)
    assert (middle.frames, middle.planned, middle.nbytes, middle.verdict) == (1, 6, 128, "running")
    assert (seen[-1].frames, seen[-1].missing, seen[-1].verdict) == (1, 2, "stopped")


def test_frames_in_any_order_are_counted(seen: list[Sight]) -> None:
    with ow.create_stream(settings_of(), "memory", progress=True) as stream:
        stream.put(PIXELS, t=4)
        stream.put(PIXELS, t=1)
        until(lambda: seen and seen[-1].frames == 2)
        assert seen[-1].missing == 0
    assert (seen[-1].frames, seen[-1].missing) == (2, 3)


def test_a_slow_writer_presses_back(seen: list[Sight]) -> None:
    gate = threading.Event()

    class Stuck(MemoryWriter):
        def write(self, blocks: Any, /) -> None:
            assert gate.wait(30)
            super().write(blocks)

    def frames() -> Any:
        yield PIXELS
        yield PIXELS

    done = threading.Thread(
        target=ow.write, args=(ow.compile(settings_of()), frames(), Stuck()), kwargs={"progress": True}
    )
    done.start()
    until(lambda: seen and (seen[-1].pressure or 0) > 0.9)
    gate.set()
    done.join()
    assert seen[-1].frames == 2


def test_a_buffer_tells_how_full_it_is(seen: list[Sight]) -> None:
    gate = threading.Event()

    class Stuck(MemoryWriter):
        def write(self, blocks: Any, /) -> None:
            assert gate.wait(30)
            super().write(blocks)

    with ow.create_stream(settings_of(100, buffer_bytes=4 * 4096), Stuck(), progress=True) as stream:
        stream.append(PIXELS)
        stream.append(PIXELS)
        until(lambda: seen and (seen[-1].pressure or 0) > 0)
        held = stream._run.writer.ring  # noqa: SLF001 - how many slots it made is its own affair
        assert seen[-1].pressure == pytest.approx(2 / held.count)
        gate.set()
        until(lambda: seen[-1].pressure == 0)


def write_all(count: int, *, shown: bool) -> None:
    ow.write(ow.compile(settings_of(count)), iter([PIXELS] * count), "memory", progress=shown)


def append_all(count: int, *, shown: bool) -> None:
    with ow.create_stream(settings_of(count), "memory", progress=shown) as stream:
        for _ in range(count):
            stream.append(PIXELS)


def calls_of(work: Any, count: int, *, shown: bool) -> int:
    """Return how many calls of functions it takes, in the thread that writes, to write so many frames."""
    calls = 0

    def called(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(called)
    try:
        work(count, shown=shown)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("work", [write_all, append_all])
def test_the_loop_does_nothing_for_it(work: Any, seen: list[Sight]) -> None:
    # Whatever it costs to begin and to end, nothing is added for a frame.
    calls_of(work, 10, shown=True)  # what is done once in a process
    extra = [calls_of(work, count, shown=True) - calls_of(work, count, shown=False) for count in (10, 2000)]
    assert abs(extra[1] - extra[0]) < 100
    assert seen


def test_elsewhere_than_in_a_terminal_only_the_end_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    ow.write(ow.compile(settings_of()), np.ones((6, 8, 8), "uint16"), "memory", progress=True)
    said = capsys.readouterr()
    assert said.out.count("frames") == 1
    assert "6/6 frames" in said.out
    assert "0 missing  complete" in said.out
    ow.write(ow.compile(settings_of()), np.ones((6, 8, 8), "uint16"), "memory")
    assert capsys.readouterr() == ("", "")


def test_a_narrow_terminal_has_no_bar() -> None:
    shown = {}
    for width in (200, 40):
        text = io.StringIO()
        picture = progress.Terminal(Console(file=text, force_terminal=True, width=width, color_system=None))
        picture.show([Sight(frames=3, planned=6)])
        picture.end()
        shown[width] = text.getvalue()
    assert "━━━━━━━━━━──────────  3/6 frames" in shown[200]
    assert "━" not in shown[40]
    assert "3/6 frames" in shown[40]


def test_a_failed_run_ends_what_shows_it(seen: list[Sight]) -> None:
    def frames() -> Any:
        yield PIXELS
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        ow.write(ow.compile(settings_of()), frames(), "memory", progress=True)
    assert seen[-1].verdict == "stopped"
    assert not [thread for thread in threading.enumerate() if "progress" in thread.name]


def test_without_its_library_nothing_is_created(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ow.PlanError, match=r"needs the library 'rich'.*pip install 'ome-writers\[cli\]'"):
        ow.create_stream(settings_of(), progress=True)
    assert list(tmp_path.iterdir()) == []


def test_in_a_notebook_it_is_shown_below_the_cell(tmp_path: Any) -> None:
    code = """
    import numpy as np, ome_writers as ow
    dims = ow.dims_from_standard_axes({"t": 6, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(dtype="uint16", dimensions=dims)
    outcome = ow.write(ow.compile(settings), np.ones((6, 8, 8), "uint16"), "memory", progress=True)
    """
    cell = nbformat.v4.new_code_cell("\n".join(line.strip() for line in code.splitlines()))
    book = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [output["data"]["text/plain"] for output in book.cells[0].outputs]
    assert len(texts) == 1
    assert texts[0].startswith("━━━━━━━━━━━━━━━━━━━━  6/6 frames")
    assert texts[0].endswith("0 missing  complete")
