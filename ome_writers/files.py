"""Given a path, this answers: which settings, or which plan, does the file hold? And the way back.

The bytes are made and understood elsewhere (`serial.py`, `plan_file.py`); here files are opened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ome_writers import serial
from ome_writers.errors import Problem, SettingsError
from ome_writers.plan import Plan
from ome_writers.regular import IrregularFileError, problems_in, read_regular
from ome_writers.settings import AcquisitionSettings

if TYPE_CHECKING:
    from ome_writers.triggers import Exposure

_FORMATS: Final[dict[str, serial.Text]] = {".json": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
_MOST_SETTINGS: Final = 2**28
"""Bytes that a settings file may have; a list of a million frames takes about a tenth of them."""
_MOST_PLAN: Final = 2**30
"""Bytes that a plan file may have; a table of ten million frames in no order at all takes about a quarter of them."""
_LINES: Final = 65_536
"""Lines of text that are made at a time."""


def load(path: str | os.PathLike[str]) -> AcquisitionSettings:
    """Return the settings that a file holds: `.json`, `.toml`, `.yaml` or `.yml`.

    Raises
    ------
    SettingsError
        With every problem of the file, each with its path.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     dump(AcquisitionSettings(root_path="cells.ome.zarr", dtype="uint16"), Path(folder, "settings.json"))
    ...     load(Path(folder, "settings.json")).output_path
    'cells.ome.zarr'
    """
    format_ = _format(path)
    try:
        # A byte-order mark, as editors on Windows set it, is no part of the text.
        text = read_regular(path, _MOST_SETTINGS).decode("utf-8-sig")
    except IrregularFileError as error:
        raise SettingsError([Problem((), "invalid_file", _why(error))]) from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            [Problem((), "syntax", f"must be UTF-8 text: {error.reason} (at byte {error.start})")]
        ) from None
    return serial.loads(text, format_)


def dump(settings: AcquisitionSettings, path: str | os.PathLike[str]) -> None:
    """Write settings to a file: `.json`, `.toml`, `.yaml` or `.yml`.

    Raises
    ------
    SettingsError
        If the suffix is another one.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "settings.yaml")
    ...     dump(AcquisitionSettings(root_path="cells.ome.tiff", dtype="uint8"), path)
    ...     print(path.read_text(), end="")
    root_path: cells.ome.tiff
    dtype: uint8
    format:
      name: ome-tiff
      suffix: .ome.tiff
    """
    Path(path).write_bytes(serial.dumps(settings, _format(path)).encode())


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan to a file (`.npz`), from which `load_plan` makes it again; equal plans give equal files.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "c": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> with TemporaryDirectory() as folder:
    ...     save_plan(plan, Path(folder, "plan.npz"))
    ...     load_plan(Path(folder, "plan.npz"))
    <Plan: frames without end in 1 array>
    """
    from ome_writers.plan_file import plan_to_npz  # zip files are not needed by those who only plan

    Path(path).write_bytes(plan_to_npz(plan))


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Return the plan that `save_plan` wrote.

    The file may come from anywhere: nothing in it is run, or believed unchecked.

    Raises
    ------
    PlanError
        If it holds no plan, or one whose table does not fit its settings.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> with TemporaryDirectory() as folder:
    ...     save_plan(plan.rest(1), Path(folder, "rest.npz"))
    ...     load_plan(Path(folder, "rest.npz")).table["frame"].tolist()
    [1, 2]
    """
    from ome_writers.plan_file import plan_from_npz  # as above

    with problems_in(path):
        return plan_from_npz(read_regular(path, _MOST_PLAN))


def save_table(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write the whole frame table of a plan to a file (`.npy`), for a hardware controller to read.

    The file holds one record a frame, little-endian and packed: `frame` (8 bytes), `position`, `array` and each
    `index` (4 bytes each).

    Raises
    ------
    PlanError
        If the plan has no end.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from ome_writers import compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"z": 2, "c": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> with TemporaryDirectory() as folder:
    ...     save_table(plan, Path(folder, "table.npy"))
    ...     np.load(Path(folder, "table.npy"))["index"].tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    from ome_writers.plan_file import table_to_npy  # as above

    Path(path).write_bytes(table_to_npy(plan))


def save_triggers(plan: Plan, path: str | os.PathLike[str], *, exposure: Exposure = None) -> None:
    """Write what a hardware controller has to do for each frame to a file: `.csv` (UTF-8, with a header) or `.npy`.

    The columns are those of `Plan.triggers`; what is not known is empty in a `.csv` and NaN in a `.npy`.

    Parameters
    ----------
    exposure
        In seconds: of all channels, or by their names.

    Raises
    ------
    PlanError
        If the plan has no end, or an exposure fits no channel.
    SettingsError
        If the suffix is another one.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import Dimension, compile
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="z", count=2, scale=0.5, unit="um"), Dimension(name="c", coords=["DAPI", "GFP"]),
    ...     Dimension(name="y", count=8), Dimension(name="x", count=8)]))
    >>> with TemporaryDirectory() as folder:
    ...     save_triggers(plan, Path(folder, "triggers.csv"), exposure={"DAPI": 0.01, "GFP": 0.1})
    ...     print(Path(folder, "triggers.csv").read_text("utf-8"), end="")
    frame,position,time (s),x (µm),y (µm),z (µm),channel,camera,exposure (s)
    0,0,,,,0.0,0,0,0.01
    1,0,,,,0.0,1,0,0.1
    2,0,,,,0.5,0,0,0.01
    3,0,,,,0.5,1,0,0.1
    """
    from ome_writers import triggers  # controllers are few

    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".npy"):
        message = f"a file of triggers ends in .csv or .npy; got {os.fspath(path)!r}"
        raise SettingsError([Problem((), "unsupported", message)])
    triggers.require_end(plan)
    table = plan.triggers(exposure=exposure)
    with Path(path).open("wb") as file:
        if suffix == ".npy":
            np.save(file, table, allow_pickle=False)
            return
        file.write(triggers.HEAD.encode())
        file.writelines(
            triggers.csv_lines(table[start : start + _LINES]).encode() for start in range(0, len(table), _LINES)
        )


def _why(error: IrregularFileError) -> str:
    return f"{error.strerror}: {error.filename!r}"


def _format(path: str | os.PathLike[str]) -> serial.Text:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        message = f"a settings file ends in {', '.join(_FORMATS)}; got {os.fspath(path)!r}"
        raise SettingsError([Problem((), "unsupported", message)])
    return _FORMATS[suffix]
