"""What is seen of a run from another process: from its files alone, for every writer; and the command `watch`."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import ome_writers as ow
from ome_writers import watching
from ome_writers.cli.app import run
from ome_writers.items import Camera
from ome_writers.watching import follow, state_of

WRITERS = {
    ".ome.zarr": ("direct", "tensorstore", "zarr-python"),
    ".ome.tiff": ("direct", "tifffile"),
}
PROGRAM = "import sys; from ome_writers.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def settings_of(suffix: str = ".ome.zarr", times: int | None = 5, **more: Any) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(
        root_path=f"cells{suffix}",
        dtype="uint16",
        dimensions=[
            ow.Dimension(name="t", count=times, type="time"),
            ow.Dimension(name="p", coords=["left", "right"], type="position"),
            ow.Dimension(name="c", coords=["DAPI", "GFP"], type="channel"),
            ow.Dimension(name="y", count=8, type="space"),
            ow.Dimension(name="x", count=8, type="space"),
        ],
        **more,
    )


def frame(number: int) -> np.ndarray:
    return np.full((8, 8), number + 1, "uint16")


def stored(place: Path, most: int) -> int:
    """Return how many frames are seen; of some writers the last ones are on their way for a moment."""
    for _ in range(500):
        if (seen := state_of(place).frames) == most:
            break
        time.sleep(0.01)
    return seen


@pytest.mark.parametrize("times", [5, None], ids=["bounded", "endless"])
@pytest.mark.parametrize(("suffix", "writer"), [(suffix, name) for suffix, names in WRITERS.items() for name in names])
def test_a_run_is_seen_from_its_files(suffix: str, writer: str, times: int | None) -> None:
    with ow.create_stream(settings_of(suffix, times), writer) as stream:
        place = Path(stream.plan.settings.output_path)
        if writer == "tifffile":  # it makes a file when the first frame comes
            with pytest.raises(ValueError, match="is neither an OME-Zarr nor a folder of OME-TIFF files"):
                state_of(place)
        else:
            begun = state_of(place)
            assert (begun.frames, begun.planned) == (0, None if times is None else 20)
            assert (begun.missing, begun.verdict) == (0, "running")
        for number in range(11):
            stream.append(frame(number))
        assert stored(place, 11) == 11
        stream.skip()
    ended = state_of(place)
    assert (ended.frames, ended.missing, ended.verdict) == (11, 1, "stopped" if times else "complete")
    assert ended.nbytes == 11 * 128
    assert ended.final
    assert ended.exact


@pytest.fixture
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at pixels alone, as where another program writes what was prepared."""
    monkeypatch.setattr(watching, "marks_beside", lambda *_: None)


@pytest.mark.usefixtures("no_journal")
@pytest.mark.parametrize("came", [1, 2, 3, 7, 8, 9, 19, 20])
def test_however_many_came_they_are_found(came: int) -> None:
    with ow.create_stream(settings_of(), "direct") as stream:
        for number in range(came):
            stream.append(frame(number))
        looked = state_of("cells.ome.zarr")
        assert (looked.frames, looked.missing, looked.exact) == (came, None, False)
        # From where it was before, as from the beginning.
        assert state_of("cells.ome.zarr", looked).frames == came
        if came > 2:
            earlier = watching.Sight(frames=came - 2)
            assert state_of("cells.ome.zarr", earlier).frames == came


@pytest.mark.usefixtures("no_journal")
def test_missing_frames_do_not_hide_those_behind_them() -> None:
    with ow.create_stream(settings_of(), "direct") as stream:
        for number in range(20):
            if number in {0, 3, 4, 5, 6, 7, 8}:
                stream.skip()
            else:
                stream.append(frame(number))
        assert state_of("cells.ome.zarr").frames == 20


@pytest.mark.usefixtures("no_journal")
def test_looking_costs_few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = watching._has_come  # noqa: SLF001
    monkeypatch.setattr(watching, "_has_come", lambda view, number: looks.append(number) or real(view, number))
    with ow.create_stream(settings_of(times=100), "direct") as stream:
        for number in range(390):
            stream.append(frame(number))
        first = state_of("cells.ome.zarr")
        assert first.frames == 390
        assert len(looks) < 120
        looks.clear()
        stream.append(frame(390))
        assert state_of("cells.ome.zarr", first).frames == 391
        assert len(looks) < 25


def test_the_journal_counts_black_frames_and_those_that_do_not_come() -> None:
    with ow.create_stream(settings_of(), "direct") as stream:
        for number in range(12):
            if number % 3 == 1:
                stream.skip()
            else:
                stream.append(np.zeros((8, 8), "uint16"))
        seen = state_of("cells.ome.zarr")
        assert (seen.frames, seen.missing, seen.exact, seen.gone) == (8, 4, True, False)


@pytest.mark.usefixtures("no_journal")
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_cameras_that_differ_are_seen_by_their_pixels_too(suffix: str) -> None:
    assert cameras_seen(suffix) == [(0, 0), (3, 2 * 128 + 16), (6, 3 * (128 + 16))]


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_cameras_that_differ_are_counted(suffix: str) -> None:
    assert cameras_seen(suffix) == [(0, 0), (3, 2 * 128 + 16), (6, 3 * (128 + 16))]


def cameras_seen(suffix: str) -> list[tuple[int, int]]:
    """Return frames and bytes at the beginning, in the middle and at the end of a run of two cameras."""
    cameras = [Camera(name="left"), Camera(name="right", shape=(4, 4), dtype="uint8")]
    dims = [
        ow.Dimension(name="t", count=3, type="time"),
        ow.Dimension(name="cam", type="camera", coords=cameras),
        ow.Dimension(name="y", count=8, type="space"),
        ow.Dimension(name="x", count=8, type="space"),
    ]
    place = f"cameras{suffix}"
    frames = [np.ones((8, 8), "uint16"), np.ones((4, 4), "uint8")]
    seen = []
    with ow.create_stream(ow.AcquisitionSettings(root_path=place, dtype="uint16", dimensions=dims), "direct") as stream:
        for number in range(6):
            if number in (0, 3):
                seen.append(state_of(place))
            stream.append(frames[number % 2])
    seen.append(state_of(place))
    return [(one.frames, one.nbytes) for one in seen]


def test_scratch_folders_are_seen_too() -> None:
    with ow.create_stream(settings_of("", format="scratch"), "scratch") as stream:
        stream.append(frame(0))
        assert state_of("cells").verdict == "running"
    assert state_of("cells").verdict == "stopped"


def test_a_run_is_followed_until_it_has_ended() -> None:
    stream = ow.create_stream(settings_of(), "direct")
    numbers = iter(range(20))

    def later(seconds: float) -> None:
        assert seconds >= 0.25
        for number in [next(numbers, None) for _ in range(8)]:
            if number is None:
                stream.close()
            else:
                stream.append(frame(number))

    seen = [sights[-1] for sights in follow("cells.ome.zarr", 0.25, later)]
    assert [(sight.frames, sight.verdict) for sight in seen] == [
        (0, "running"), (8, "running"), (16, "running"), (20, "complete"),
    ]  # fmt: skip


def test_files_that_are_being_replaced_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ow.create_stream(settings_of(), "direct")
    failing = ["torn"] * 3
    real = watching.noted

    def torn(path: str) -> Any:
        if stream.outcome is not None and failing:
            raise ValueError(failing.pop())
        return real(path)

    monkeypatch.setattr(watching, "noted", torn)
    seen = [sights[-1].verdict for sights in follow("cells.ome.zarr", 0.01, lambda _: stream.close())]
    assert seen == ["running", "stopped"]
    assert failing == []


def test_a_dataset_that_goes_away_ends_the_watching() -> None:
    stream = ow.create_stream(settings_of(), "direct")
    place, gone = Path("cells.ome.zarr"), Path("elsewhere")

    def take_away(_: float) -> None:
        if place.exists():
            place.replace(gone)

    seen = follow(place, 0.01, take_away)
    assert next(seen)[-1].verdict == "running"
    with pytest.raises(FileNotFoundError, match="no such file"):
        next(seen)
    gone.replace(place)
    stream.close()


KILLED = """
import os, signal, sys, numpy as np, ome_writers as ow
dims = ow.dims_from_standard_axes({"t": 40, "y": 8, "x": 8})
settings = ow.AcquisitionSettings(root_path=sys.argv[1], dtype="uint16", dimensions=dims)
stream = ow.create_stream(settings, "direct")
for number in range(7):
    stream.skip() if number == 2 else stream.append(np.zeros((8, 8), "uint16"))
print("came", flush=True)
sys.stdin.readline()
os._exit(9)
"""


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_a_process_that_is_killed_ends_the_watching(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"a{suffix}"
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    assert writer.stdout.readline() == "came\n"
    alive = state_of(place)
    assert (alive.frames, alive.missing, alive.gone, alive.final) == (6, 1, False, False)
    writer.kill()
    writer.communicate()
    dead = state_of(place, alive)
    assert (dead.frames, dead.missing, dead.verdict, dead.gone, dead.final) == (6, 1, "running", True, True)
    assert run(["watch", place, "--every", "0.01"]) == 1
    said = capsys.readouterr()
    assert said.out == f"{place}: 6/40 frames  768 B  1 missing  interrupted\n"
    assert said.err == (
        f"{place}: the process that wrote it is gone; `ome-writers recover {place}` completes it by its journal\n"
    )
    assert ow.recover(place).frames == 6
    assert state_of(place).verdict == "stopped"


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exit_codes_tell_how_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    with ow.create_stream(settings_of(), "direct") as stream:
        for number in range(20):
            stream.append(frame(number))
    assert run(["watch", "cells.ome.zarr"]) == 0
    assert capsys.readouterr().out == "cells.ome.zarr: 20/20 frames  2.6 kB  0 missing  complete\n"
    with ow.create_stream(settings_of(".ome.tiff"), "direct") as stream:
        stream.append(frame(0))
    assert run(["watch", "cells"]) == 1
    assert "1/20 frames" in capsys.readouterr().out
    assert run(["watch", "nowhere"]) == 2
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err
    Path("empty").mkdir()
    assert run(["watch", "empty"]) == 2
    assert "empty: is neither an OME-Zarr nor a folder of OME-TIFF files" in capsys.readouterr().err
    Path("other.zarr").mkdir()
    Path("other.zarr/zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    assert run(["watch", "other.zarr"]) == 2
    assert "does not say how its acquisition went; `ome-writers info` tells" in capsys.readouterr().err


def test_in_a_terminal_one_line_follows_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with ow.create_stream(settings_of(), "direct") as stream:
        for number in range(20):
            stream.append(frame(number))
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200, color_system=None)
    monkeypatch.setattr("ome_writers.cli.watch.out", console)
    assert run(["watch", "cells.ome.zarr"]) == 0
    assert "━━━━━━━━━━━━━━━━━━━━  20/20 frames  2.6 kB  0 missing  complete" in text.getvalue()
    text.truncate(0)
    assert run(["watch", "cells.ome.zarr", "--no-progress"]) == 0
    assert text.getvalue().strip("\0") == "cells.ome.zarr: 20/20 frames  2.6 kB  0 missing  complete\n"


def test_another_process_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    code = """
import sys, numpy as np, ome_writers as ow
dims = ow.dims_from_standard_axes({"t": 40, "y": 8, "x": 8})
with ow.create_stream(ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims)) as stream:
    for number in range(40):
        if number % 10 == 0:
            print(number, flush=True)
            sys.stdin.readline()
        stream.append(np.ones((8, 8), "uint16"))
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdin
    assert writer.stdout
    assert writer.stdout.readline() == "0\n"
    codes: list[int] = []
    watcher = threading.Thread(
        target=lambda: codes.append(run(["watch", "a.ome.zarr", "--every", "0.02", "--progress"]))
    )
    watcher.start()
    said = ""
    for frames in (0, 10, 20, 30):
        while f"a.ome.zarr: {frames}/40 frames" not in said:
            said += capsys.readouterr().out
            time.sleep(0.01)
            assert watcher.is_alive()
        writer.stdin.write("\n")
        writer.stdin.flush()
    watcher.join()
    assert codes == [0]
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("a.ome.zarr: 40/40 frames  ")
    assert last.endswith("/s  5.1 kB  0 missing  complete")
    assert writer.wait() == 0
    writer.stdin.close()
    writer.stdout.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["watch", "--progress"], 130, "no longer watched: cells.ome.zarr, which was running"),
        (["view", "--no-browser"], 0, "no longer shown"),
    ],
    ids=["watch", "view"],
)  # fmt: skip
def test_ctrl_c_ends_it_cleanly(command: list[str], code: int, said: str) -> None:
    with ow.create_stream(settings_of(), "direct"):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, command[0], "cells.ome.zarr", *command[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout
        assert "cells.ome.zarr" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[0]
    assert process.returncode == code
    assert said in rest
    assert "Traceback" not in rest
