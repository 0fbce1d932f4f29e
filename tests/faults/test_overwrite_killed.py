"""Processes that are killed while they replace a dataset: the old one is not lost, and `recover` never cuts it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.cli.app import run
from ome_writers.journal import journal_folder
from ome_writers.lock import Lock

DIMS = ow.dims_from_standard_axes({"t": 6, "y": 8, "x": 8})
CODE = """
    import os, sys
    from pathlib import Path
    import numpy as np
    import ome_writers as ow
    root, when = sys.argv[1], int(sys.argv[2])
    renamed = [0]
    real = Path.rename
    def rename(path, target):
        # Of the dataset alone, not of its journal.
        if path.name == Path(root).name or ".new-" in path.name:
            if renamed[0] == when:
                os._exit(9)
            renamed[0] += 1
        return real(path, target)
    Path.rename = rename
    dims = ow.dims_from_standard_axes({"t": 2, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint8", dimensions=dims, overwrite=True)
    stream = ow.create_stream(settings, "direct")
    stream.append(np.ones((4, 4), "uint8"))
    os._exit(9)
"""


def killed(root: Path, when: int) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(CODE), str(root), str(when)], check=False)
    assert done.returncode == 9


def acquire(root: Path, frames: int) -> np.ndarray:
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=DIMS, overwrite=True)
    with ow.create_stream(settings, "direct") as stream:
        for number in range(frames):
            stream.append(np.full((8, 8), 40 + number, "uint16"))
    return np.asarray(ow.open_view(root)[...])


@pytest.mark.parametrize("frames", [6, 4], ids=["complete", "stopped"])
@pytest.mark.parametrize("when", [0, 1], ids=["before the old one moved", "between the renames"])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_recover_puts_the_old_dataset_back(tmp_path: Path, suffix: str, when: int, frames: int) -> None:
    root = tmp_path / f"a{suffix}"
    before = acquire(root, frames)
    killed(root, when)
    assert root.exists() == (when == 0)
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.frames) == ("complete" if frames == 6 else "stopped", frames)
    assert np.array_equal(ow.open_view(root)[...], before)
    stays = [root.name] if frames == 6 else [root.name, journal_folder(root).name]
    assert sorted(path.name for path in tmp_path.iterdir()) == stays
    assert ow.validate(root).failed == ()


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_overwriting_again_leaves_nothing_behind(tmp_path: Path, suffix: str, when: int) -> None:
    root = tmp_path / f"a{suffix}"
    acquire(root, 4)
    killed(root, when)
    acquire(root, 6)
    assert ow.validate(root).failed == ()
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def test_what_replaced_the_old_one_is_recovered_itself(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.zarr"
    acquire(root, 6)
    killed(root, 9)
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.frames) == ("stopped", 1)
    assert ow.open_view(root).shape == (1, 4, 4)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_recover_is_refused_while_another_process_writes(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / f"a{suffix}"
    code = textwrap.dedent("""
        import sys, numpy as np, ome_writers as ow
        dims = ow.dims_from_standard_axes({"t": 6, "y": 8, "x": 8})
        with ow.create_stream(ow.AcquisitionSettings(root_path=sys.argv[1], dtype="uint16", dimensions=dims)) as stream:
            for number in range(6):
                stream.append(np.full((8, 8), 40 + number, "uint16"))
                if number == 2:
                    print("half", flush=True)
                    sys.stdin.readline()
    """)
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    assert writer.stdout.readline() == "half\n"
    with pytest.raises(FileExistsError, match=r"^root_path: another stream is writing .*a\.ome"):
        ow.recover(root)
    assert run(["recover", str(root)]) == 1
    assert "another stream is writing" in capsys.readouterr().err
    writer.communicate("\n")
    assert writer.returncode == 0
    assert ow.validate(root).failed == ()
    assert np.asarray(ow.open_view(root)[...])[:, 0, 0].tolist() == [40, 41, 42, 43, 44, 45]
    Lock(root).release()
