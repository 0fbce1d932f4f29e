"""The public names: pinned, documented, each with an example that runs (doctests are on)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ome_writers

NAMES = [
    "AcquisitionSettings",
    "ArraySpec",
    "Assembly",
    "Block",
    "Camera",
    "Capabilities",
    "Channel",
    "Check",
    "Codec",
    "CoordUpdate",
    "Cost",
    "Cycle",
    "Dimension",
    "Document",
    "FrameError",
    "Layout",
    "Location",
    "OMEStream",
    "OmeTiffFormat",
    "OmeZarrFormat",
    "Outcome",
    "Placement",
    "Plan",
    "PlanError",
    "PlanExhausted",
    "Plate",
    "Position",
    "PositionDimension",
    "Problem",
    "Report",
    "ScratchFormat",
    "SettingsError",
    "Stamp",
    "StandardAxis",
    "Stream",
    "StreamView",
    "WriteError",
    "Writer",
    "__version__",
    "arrange",
    "assemble",
    "compile",
    "convert",
    "cost",
    "create_stream",
    "dims_from_standard_axes",
    "dims_from_useq",
    "documents",
    "dump",
    "dumps",
    "finish",
    "flat",
    "load",
    "load_plan",
    "loads",
    "open_view",
    "peak_bytes",
    "place",
    "plot",
    "prepare",
    "preview",
    "recover",
    "save_plan",
    "save_table",
    "save_triggers",
    "unmet",
    "useq_to_acquisition_settings",
    "validate",
    "write",
]


def test_the_public_names():
    assert ome_writers.__all__ == NAMES


def test_names_that_are_imported_are_public_and_none_is_made_here():
    tree = ast.parse(Path(ome_writers.__file__).read_text(encoding="utf-8"))
    imported = [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    late = ome_writers._LATE  # noqa: SLF001 - whose names are loaded later
    assert sorted([*imported, *late]) == sorted(NAMES)
    for_type_checkers = [
        name.name for node in tree.body if isinstance(node, ast.If) for part in node.body for name in part.names
    ]
    assert sorted(for_type_checkers) == sorted(late)
    made = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert made == ["__getattr__"]


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'ome_writers' has no attribute 'OMEStreamer'"):
        _ = ome_writers.OMEStreamer


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_each_has_a_docstring_with_an_example(name):
    # Of the object itself: what it inherits does not count.
    assert ">>> " in (vars(getattr(ome_writers, name)).get("__doc__") or getattr(ome_writers, name).__doc__)


def test_the_version_is_that_of_the_package():
    assert ome_writers.__version__.split(".")[0] == "1"
