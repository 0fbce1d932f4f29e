"""The formats that an acquisition can be written in, and which one a path or a word stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from ome_writers import acquisition_rules
from ome_writers.beyond import ask
from ome_writers.bridge import Bridged
from ome_writers.casts import as_flag, as_whole, split_suffix
from ome_writers.check import Draft, build, shown
from ome_writers.errors import Problem


@frozen(kw_only=True)
class OmeZarrFormat(Bridged):
    """Write OME-Zarr 0.5.

    Examples
    --------
    >>> OmeZarrFormat(backend="tensorstore").get_output_path("data/cells")
    'data/cells.ome.zarr'
    """

    _rules = acquisition_rules.OME_ZARR

    name: Literal["ome-zarr"] = "ome-zarr"
    backend: str = "auto"
    """Name of the writer; `"auto"` takes the best that is installed and can do the plan."""
    suffix: str = ".ome.zarr"
    group_names: Literal["number", "position"] = "number"
    """Whether the images of several positions lie in groups `0`, `1`, …, which every reader finds, or in ones named
    after the positions, as `ome-writers` 0.3 did."""

    def get_output_path(self, root_path: str, *, num_positions: int = 1) -> str:  # noqa: ARG002 - one face for all formats
        """Return the folder that `root_path` stands for."""
        return split_suffix(root_path)[0] + self.suffix


def _single_file(value: object) -> Any:
    return {True: "always", False: "never"}[value] if isinstance(value, bool) else value


@frozen(kw_only=True)
class OmeTiffFormat(Bridged):
    """Write OME-TIFF.

    Examples
    --------
    >>> OmeTiffFormat().get_output_path("data/cells"), OmeTiffFormat().get_output_path("data/cells", num_positions=3)
    ('data/cells.ome.tiff', 'data/cells')
    """

    _rules = acquisition_rules.OME_TIFF

    name: Literal["ome-tiff"] = "ome-tiff"
    backend: str = "auto"
    """Name of the writer; `"auto"` takes the best that is installed and can do the plan."""
    suffix: str = ".ome.tiff"
    prefer_single_file: Literal["auto", "always", "never"] = field(default="auto", converter=_single_file)
    """`"auto"`: one file if there is one position, else a folder with a file for each."""
    multi_file_metadata: Literal["redundant", "master-tiff", "companion-file"] = "redundant"
    """Where a folder keeps its OME-XML: in every file, in the first, or in a file of its own."""
    companion_file: str = "companion.ome"
    """Name of that file of its own. Other readers look for `*.companion.ome`, so the default becomes
    `<folder>.companion.ome`."""

    def get_output_path(self, root_path: str, *, num_positions: int = 1) -> str:
        """Return the file, or for several files the folder, that `root_path` stands for."""
        stem, _ = split_suffix(root_path)
        return stem + self.suffix if self.is_single_file(num_positions) else stem

    def is_single_file(self, num_positions: int) -> bool:
        """Return whether the images of that many positions go into one file."""
        return self.prefer_single_file == "always" or (self.prefer_single_file == "auto" and num_positions <= 1)


@frozen(kw_only=True)
class ScratchFormat(Bridged):
    """Keep the data in memory, or in plain files if they are too large.

    Examples
    --------
    >>> ScratchFormat()
    ScratchFormat(name='scratch', backend='scratch', max_memory_bytes=4294967296, suffix='', spill_to_disk=True)
    """

    _rules = acquisition_rules.SCRATCH

    name: Literal["scratch"] = "scratch"
    backend: str = "scratch"
    max_memory_bytes: int = field(default=4 * 1024**3, converter=as_whole)
    suffix: str = ""
    spill_to_disk: bool = field(default=True, converter=as_flag)

    def get_output_path(self, root_path: str, *, num_positions: int = 1) -> str:  # noqa: ARG002 - one face for all formats
        """Return `root_path`."""
        return root_path


Format = OmeZarrFormat | OmeTiffFormat | ScratchFormat
_FORMATS: dict[str, type[Format]] = {"ome-zarr": OmeZarrFormat, "ome-tiff": OmeTiffFormat, "scratch": ScratchFormat}
_FORMAT_WORDS = {"zarr": "ome-zarr", "tiff": "ome-tiff"} | {name: name for name in _FORMATS}
_BACKEND_FORMATS = {
    backend: name
    for name, backends in acquisition_rules.BACKENDS.items()
    for backend in backends
    if backend not in ("auto", "direct")
}


def resolve(value: object, root_path: object) -> Any:
    """Return the format that `value` and the suffix of `root_path` stand for, or a draft of it."""
    if isinstance(value, (*_FORMATS.values(), Draft)):
        return value
    path = root_path if isinstance(root_path, str) else ""
    suffix = split_suffix(path)[1]
    by_path = "ome-tiff" if suffix.endswith((".tif", ".tiff")) else "ome-zarr" if path else "scratch"
    given = {} if value is None else {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        return Draft(given, [Problem((), "invalid_type", f"must be a format, or the name of one; got {shown(given)}")])
    given = dict(given)
    name = given.pop("name", None)
    said = given.get("backend", "auto") if name is None else name
    word = said.lower() if isinstance(said, str) else ""
    meant = _meant(word, by_path, said)
    if isinstance(meant, Problem):
        return Draft(value, [meant])
    format_name, is_writer = meant
    if is_writer:
        given.setdefault("backend", word)
    if suffix and format_name != "scratch":
        given.setdefault("suffix", suffix)
    return build(_FORMATS[format_name], {"name": format_name, **given})


def _meant(word: str, by_path: str, said: object) -> tuple[str, bool] | Problem:
    """Return the format that a word stands for, and whether it is the name of a writer."""
    if word in _BACKEND_FORMATS:
        return _BACKEND_FORMATS[word], True
    if word in ("auto", "direct"):
        return by_path, word == "direct"
    if word in _FORMAT_WORDS:
        return _FORMAT_WORDS[word], False
    # Only now is it asked what else is installed.
    plugged = ask("plugins", "format_for", word, by_path) if word else None
    if isinstance(plugged, Problem):
        return Problem((), plugged.kind, plugged.message)
    if plugged:
        return plugged, True
    others = ask("plugins", "plugin_names")
    words = ", ".join(map(repr, dict.fromkeys(("auto", *_FORMAT_WORDS, "direct", *_BACKEND_FORMATS, *others))))
    return Problem((), "invalid_value", f"must be one of {words}; got {shown(said)}")
