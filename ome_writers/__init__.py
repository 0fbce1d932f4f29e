"""Stream camera frames into OME-Zarr and OME-TIFF: compile a plan, then write it."""

import importlib
import typing

from ome_writers._version import __version__
from ome_writers.assembly import Assembly, assemble, peak_bytes
from ome_writers.deprecated import PositionDimension
from ome_writers.documents import Document, Outcome, Stamp, documents
from ome_writers.errors import FrameError, PlanError, PlanExhausted, Problem, SettingsError, WriteError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.items import Camera, Channel, Position
from ome_writers.layout import ArraySpec, Codec, Layout
from ome_writers.location import Location
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.shell import create_stream, write
from ome_writers.shorthand import StandardAxis, dims_from_standard_axes, flat
from ome_writers.stream import Stream
from ome_writers.stream import Stream as OMEStream  # as it was called in 0.3
from ome_writers.writer import Block, Capabilities, Writer, unmet

if typing.TYPE_CHECKING:
    from ome_writers.arranging import arrange
    from ome_writers.conversion import convert
    from ome_writers.drawing import plot
    from ome_writers.events import CoordUpdate
    from ome_writers.files import dump, load, load_plan, save_plan, save_table, save_triggers
    from ome_writers.finished import finish
    from ome_writers.moves import Cost, cost
    from ome_writers.placement import Placement, place
    from ome_writers.prepared import prepare
    from ome_writers.recovered import recover
    from ome_writers.serial import dumps, loads
    from ome_writers.sheet import preview
    from ome_writers.triggers import Cycle
    from ome_writers.useq import dims_from_useq, useq_to_acquisition_settings
    from ome_writers.validation import Check, Report, validate
    from ome_writers.view import StreamView, open_view

__all__ = [
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

_LATE = {
    **dict.fromkeys(("arrange",), "ome_writers.arranging"),
    **dict.fromkeys(("dump", "load", "load_plan", "save_plan", "save_table", "save_triggers"), "ome_writers.files"),
    **dict.fromkeys(("dumps", "loads"), "ome_writers.serial"),
    **dict.fromkeys(("Placement", "place"), "ome_writers.placement"),
    **dict.fromkeys(("convert",), "ome_writers.conversion"),
    **dict.fromkeys(("Check", "Report", "validate"), "ome_writers.validation"),
    **dict.fromkeys(("finish",), "ome_writers.finished"),
    **dict.fromkeys(("prepare",), "ome_writers.prepared"),
    **dict.fromkeys(("preview",), "ome_writers.sheet"),
    **dict.fromkeys(("plot",), "ome_writers.drawing"),
    **dict.fromkeys(("recover",), "ome_writers.recovered"),
    **dict.fromkeys(("CoordUpdate",), "ome_writers.events"),
    **dict.fromkeys(("Cost", "cost"), "ome_writers.moves"),
    **dict.fromkeys(("Cycle",), "ome_writers.triggers"),
    **dict.fromkeys(("StreamView", "open_view"), "ome_writers.view"),
    **dict.fromkeys(("dims_from_useq", "useq_to_acquisition_settings"), "ome_writers.useq"),
}
"""Names that many programs do without, and the modules that have them: loaded when they are asked for."""


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
