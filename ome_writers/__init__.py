"""Stream camera frames into OME-Zarr and OME-TIFF: compile a plan, then write it."""

from ome_writers._version import __version__
from ome_writers.assembly import Assembly, assemble, peak_bytes
from ome_writers.documents import Document, Outcome, Stamp, documents
from ome_writers.errors import FrameError, PlanError, PlanExhausted, Problem, SettingsError, WriteError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.layout import ArraySpec, Codec, Layout
from ome_writers.plan import Location, Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings, Channel, Dimension, Plate, Position
from ome_writers.shell import Stream, create_stream, write
from ome_writers.shorthand import StandardAxis, dims_from_standard_axes
from ome_writers.writer import Block, Capabilities, Writer, unmet

__all__ = [
    "AcquisitionSettings",
    "ArraySpec",
    "Assembly",
    "Block",
    "Capabilities",
    "Channel",
    "Codec",
    "Dimension",
    "Document",
    "FrameError",
    "Layout",
    "Location",
    "OmeTiffFormat",
    "OmeZarrFormat",
    "Outcome",
    "Plan",
    "PlanError",
    "PlanExhausted",
    "Plate",
    "Position",
    "Problem",
    "ScratchFormat",
    "SettingsError",
    "Stamp",
    "StandardAxis",
    "Stream",
    "WriteError",
    "Writer",
    "__version__",
    "assemble",
    "compile",
    "create_stream",
    "dims_from_standard_axes",
    "documents",
    "peak_bytes",
    "unmet",
    "write",
]
