"""As somebody meets the command line for the first time: its examples work, and its errors say what to do next."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers.cli.app import app, run

COMMANDS = sorted(name for name in app if not name.startswith("-"))
TAKES_LONG = {"bench", "demo", "view"}
"""They write gigabytes, simulate for seconds, and end with Ctrl-C; all have tests of their own."""
MADE_BY = {"write": "cells.ome.zarr", "prepare": "cells.ome.zarr", "arrange": "cells.ome.zarr", "init": "cells.toml"}
"""What is in the way of an example, as the others read it."""


def examples(command: str) -> list[str]:
    text = app[command].default_command.__doc__ or ""
    return [" ".join(one.split()) for one in re.findall(r"Example: `(ome-writers [^`]+)`", text)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the examples read."""
    folder = tmp_path_factory.mktemp("newcomer")
    dims = ow.dims_from_standard_axes({"t": 60, "c": ["DAPI", "GFP"], "y": 16, "x": 16})
    frames = np.arange(120 * 256, dtype="uint16").reshape(60, 2, 16, 16) + 1
    for name in ("cells.ome.zarr", "demo.ome.zarr"):
        settings = ow.AcquisitionSettings(root_path=str(folder / name), dtype="uint16", dimensions=dims)
        ow.write(ow.compile(settings), frames, "direct")
    ow.dump(settings.model_copy(update={"root_path": "cells.ome.zarr"}), folder / "cells.toml")
    (folder / "recorded").mkdir()
    tifffile.imwrite(folder / "recorded" / "all.tif", frames.reshape(120, 16, 16), photometric="minisblack")
    tifffile.imwrite(folder / "stack.tif", frames[:2, :, :8].reshape(2, 2, 8, 16), photometric="minisblack")
    with ow.create_stream(ow.flat((16, 16), "uint16", root_path=str(folder / "events.ome.zarr"))) as stream:
        for number in range(3):
            stream.append(frames[number, 0], frame_metadata={"index": {"t": number}})
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_works(
    command: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examples(command)
    if command in TAKES_LONG:
        return
    for number, example in enumerate(examples(command)):
        folder = shutil.copytree(prepared, tmp_path / str(number))
        monkeypatch.chdir(folder)
        if (old := Path(MADE_BY.get(command, "nothing"))).is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if command == "finish":
            shutil.rmtree("cells.ome.zarr")
            assert run(["prepare", "cells.toml", "--to", "cells.ome.zarr"]) == 0
        assert run(shlex.split(example)[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check nothere.toml", "nothere.toml: there is no such file or folder; ome-writers init nothere.toml makes"),
        ("info two.ome.tiff", "no such file or folder; but several images of an OME-TIFF are in a folder: two"),
        ("recover nothing", "nothing: there is no such file or folder"),
        ("write", "How it goes, with an example: ome-writers write --help"),
        ("frobnicate", "How it goes, with an example: ome-writers --help"),
        ("plan cells.toml --plot plan.gif", "plot: must end with .png, .svg, .pdf; got 'plan.gif'"),
    ],
)
def test_an_error_says_what_to_do_next(
    line: str, said: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(prepared)
    dims = ow.dims_from_standard_axes({"p": 2, "y": 16, "x": 16})
    two = ow.AcquisitionSettings(root_path="two.ome.tiff", dtype="uint8", dimensions=dims, overwrite=True)
    ow.write(ow.compile(two), np.zeros((2, 16, 16), "uint8"), "direct")
    assert run(line.split()) in (1, 2)
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_a_library_that_is_missing_is_named_with_its_extra(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ome-writers\[tensorstore\]'"):
        ow.convert(prepared / "demo.ome.zarr", prepared / "other.ome.zarr")


def test_it_is_a_module_too() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "ome_writers", "--version"], capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip() == f"ome-writers {ow.__version__}"


def test_ctrl_c_before_the_first_frame_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ome_writers.cli.app.demo_frames", interrupted)
    assert run(["demo", str(tmp_path / "demo.ome.zarr")]) == 1
    assert "nothing was written yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
