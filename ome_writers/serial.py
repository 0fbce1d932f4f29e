"""Given a settings document in JSON, TOML or YAML, this answers: for which settings does it stand, or what is wrong?

1. The document is parsed into plain values. What is no JSON (TOML, YAML) at all is one problem, with line and column.
2. A key that comes twice is a problem, where the format lets it pass.
3. `check.build` turns the values into settings, or lists every problem, each with its path.

The way back writes what differs from the defaults and is not inferred anyway, so that files read well. Conversion rules
stay here, in a converter of our own: none is registered globally. Files are opened elsewhere (`files.py`).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from math import isnan
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from ome_writers.check import Draft, build, shown
from ome_writers.errors import Problem, SettingsError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.items import Camera, Channel, Position
from ome_writers.omission import Frames, Omit
from ome_writers.settings import AcquisitionSettings, Dimension, Plate

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")
Text = Literal["json", "toml", "yaml"]


def loads(text: str, format: Text = "json") -> AcquisitionSettings:  # noqa: A002 - the word that users know
    """Return the settings that a document in JSON, TOML or YAML stands for.

    Every shorthand of the constructors is understood (`format: tensorstore`, a string for a channel, `um`). A relative
    `root_path` stays relative.

    Raises
    ------
    SettingsError
        With every problem, each with its path; or with the one place where the document is no JSON, TOML or YAML.

    Examples
    --------
    >>> loads('{dtype: uint8, root_path: cells.ome.tiff, compression: lzw}', "yaml").output_path
    'cells.ome.tiff'
    >>> loads('{"dtype": "uint17", "overwrite": 2}')
    Traceback (most recent call last):
    ome_writers.errors.SettingsError: dtype: must be the name of a numpy dtype, such as 'uint16'; got 'uint17'
    overwrite: must be one of True, False; got 2
    """
    return settings_from(parse(text, format))


def dumps(settings: AcquisitionSettings, format: Text = "json") -> str:  # noqa: A002 - the word that users know
    """Return settings as a document in JSON, TOML or YAML, of what differs from the defaults.

    Examples
    --------
    >>> print(dumps(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8"), "toml"))
    root_path = "a.ome.zarr"
    dtype = "uint8"
    <BLANKLINE>
    [format]
    name = "ome-zarr"
    suffix = ".ome.zarr"
    <BLANKLINE>
    """
    if format not in _WRITERS:
        raise _unknown(format)
    return _WRITERS[format](make_converter().unstructure(settings))


def parse(text: str, format: Text) -> Any:  # noqa: A002 - as above
    """Return the plain values of a document, whatever they stand for.

    Raises
    ------
    SettingsError
        If it is no document of that format: one problem, with the line and the column where they are known.
    """
    if format not in _READERS:
        raise _unknown(format)
    try:
        return _READERS[format](text)
    except RecursionError:
        raise _fault("is nested too deeply") from None


def settings_from(values: object) -> AcquisitionSettings:
    """Return the settings that plain values stand for.

    Raises
    ------
    SettingsError
        With every problem, each with its path.
    """
    try:
        problems = [Problem(loc, "conflict", "is given more than once") for loc in _doubled(values)]
    except RecursionError:
        raise _fault("is nested too deeply") from None
    if isinstance(values, Mapping):
        # Editors look here for the schema of a JSON document (`ome-writers schema`).
        values = {name: value for name, value in values.items() if name != "$schema"}
    built = build(AcquisitionSettings, values)
    if isinstance(built, Draft):
        problems += built.problems
    if problems or isinstance(built, Draft):
        raise SettingsError(problems)
    return built


_OF_A_RUN: Final = ("root_path", "format", "overwrite", "buffer_bytes", "sync", "compression", "compression_level")
"""Fields of settings that do not say which frames there are, or where they go."""


def essentials(settings: AcquisitionSettings) -> Any:
    """Return of settings, as plain values, what says which frames there are and where they go.

    Examples
    --------
    >>> essentials(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", compression="gzip"))
    {'dtype': 'uint8'}
    """
    return {name: value for name, value in make_converter().unstructure(settings).items() if name not in _OF_A_RUN}


def make_converter() -> Converter:
    """Make a converter between settings and plain values: mappings, lists, text, numbers.

    Examples
    --------
    >>> make_converter().unstructure(Dimension(name="c", coords=["DAPI", Channel(name="GFP", color="lime")]))
    {'name': 'c', 'type': 'channel', 'coords': ['DAPI', {'name': 'GFP', 'color': '#00FF00'}]}
    >>> make_converter().structure({"name": "z", "count": 5, "unit": "um"}, Dimension).unit
    'micrometer'
    """
    from cattrs import Converter  # costs half as much as numpy, and planning needs none of it
    from cattrs.gen import make_dict_unstructure_fn, override

    converter = Converter(unstruct_collection_overrides={tuple: list})
    always = override(omit_if_default=False)
    kept = {
        Channel: (), Position: (), Camera: (), Dimension: (), Plate: (), Omit: (), Frames: (), AcquisitionSettings: (),
        ScratchFormat: ("name",),
        # Where a suffix is left out it is taken from `root_path`, which may have another.
        OmeZarrFormat: ("name", "suffix"), OmeTiffFormat: ("name", "suffix"),
    }  # fmt: skip
    short: _Shortenings = {
        Channel: _name_alone, Position: _name_alone, Camera: _name_alone, Dimension: _uninferred, Frames: _as_lists
    }  # fmt: skip
    for cls, names in kept.items():
        written: dict[str, Any] = dict.fromkeys(names, always)
        # Columns cannot be compared with a default; those that there are none of, `_as_lists` leaves out.
        brief = cls is not Frames
        to_plain: _ToPlain = make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=brief, **written)
        converter.register_unstructure_hook(cls, _then(to_plain, short.get(cls, dict)))
        converter.register_structure_hook(cls, _structure)
    return converter


_ToPlain = Callable[[Any], dict[str, Any]]
_Shortenings = dict[type, Callable[[dict[str, Any]], Any]]


def _structure(value: object, cls: type[T]) -> T:
    built = build(cls, value, "name" if cls in (Channel, Position, Camera) else None)
    if isinstance(built, Draft):
        raise SettingsError(built.problems)
    return built


def _then(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: second(first(value))


def _name_alone(fields: dict[str, Any]) -> Any:
    return fields["name"] if len(fields) == 1 else fields


def _as_lists(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a list of frames as lists, in which `None` stands for what is not known."""
    plain = {name: value.tolist() for name, value in fields.items() if value is not None}
    return {
        name: items if name == "index" else [None if isnan(item) else item for item in items]
        for name, items in plain.items()
    }


def _uninferred(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a constructor makes of the rest: the coordinates of plain positions, the count of others."""
    coords = fields.get("coords")
    if coords is None:
        return fields
    numbered = fields.get("type") == "position" and coords == [str(number) for number in range(len(coords))]
    return {name: value for name, value in fields.items() if name != ("coords" if numbered else "count")}


# ── documents, to plain values and back ──────────────────────────────────────────────────────────────────────────────


class _Doubled(dict[Hashable, Any]):
    """A mapping in which some keys came more than once; the last one counts."""

    keys_twice: tuple[Hashable, ...] = ()


def _mapping(pairs: Iterable[tuple[Hashable, Any]]) -> _Doubled:
    out = _Doubled()
    for key, value in pairs:
        if key in out:
            out.keys_twice = (*out.keys_twice, key)
        out[key] = value
    return out


def _doubled(value: object, loc: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every key that comes more than once."""
    if isinstance(value, _Doubled):
        yield from ((*loc, str(key)) for key in dict.fromkeys(value.keys_twice))
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, Mapping) else ()
    for key, item in items:
        if isinstance(item, (list, Mapping)):
            yield from _doubled(item, (*loc, key if isinstance(key, int) else str(key)))


def _unknown(format_: object) -> SettingsError:
    message = f"a settings document is 'json', 'toml' or 'yaml'; got {shown(format_)}"
    return SettingsError([Problem((), "unsupported", message)])


def _fault(message: str) -> SettingsError:
    return SettingsError([Problem((), "syntax", message)])


_MOST_DIGITS = 20
"""No field holds a whole number with more; `int` takes its time for thousands, and then refuses."""


_DEEPEST = 100
"""Levels of a document in YAML; settings have ten."""


def _from_json(text: str) -> Any:
    def whole(digits: str) -> int | float:
        return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)

    try:
        # `NaN` and `Infinity` become floats, which the rules refuse with the path of the field.
        return json.loads(text, object_pairs_hook=_mapping, parse_int=whole)
    except json.JSONDecodeError as error:
        raise _fault(f"is no JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from None


def _from_toml(text: str) -> Any:
    import tomllib  # not needed by those who only plan

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise _fault(f"is no TOML: {error}") from None


def _from_yaml(text: str) -> Any:
    yaml = _library("yaml", "YAML", "PyYAML")

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            # Each level costs the library a look at all levels above it.
            self.depth += 1
            if self.depth > _DEEPEST:
                raise RecursionError
            try:
                return self.compose_flat(parent, index)
            finally:
                self.depth -= 1

        def compose_flat(self, parent: Any, index: Any) -> Any:
            # A few lines of aliases of aliases stand for more values than fit into any memory.
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                message = f"aliases such as '*{event.anchor}' are not understood; write the values out"
                raise yaml.composer.ComposerError(None, None, message, event.start_mark)
            return super().compose_node(parent, index)

        def construct_map(self, node: Any) -> _Doubled:
            pairs = self.construct_pairs(node, deep=True)
            for (key, _), (key_node, _) in zip(pairs, node.value, strict=True):
                if not isinstance(key, Hashable):
                    raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            return _mapping(pairs)

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_map)
    _add_numbers(Loader)
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _fault(f"is no YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # The library lets such errors pass where a tag is at odds with its value (`!!int ""`).
        raise _fault(f"is no YAML: {' '.join(str(error).split())}") from None


def _add_numbers(cls: Any) -> None:
    """Make YAML read `1e-3` as a number, which YAML 1.1 takes for text and everybody else for a number."""
    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    cls.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))


def _to_json(values: Any) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_toml(values: Any) -> str:
    return str(_library("tomli_w", "writing TOML", "tomli-w").dumps(values))


def _to_yaml(values: Any) -> str:
    yaml = _library("yaml", "YAML", "PyYAML")

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the same answer for all
            return True

        def represent_text(self, text: str) -> Any:
            # Plain and single-quoted, some line breaks of Unicode would come back as spaces.
            return self.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"')

    Dumper.add_representer(str, Dumper.represent_text)
    _add_numbers(Dumper)
    return str(yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))


def _library(module: str, purpose: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        message = f"{purpose} needs the library {name}, which is not installed: pip install 'ome-writers[cli]'"
        raise SettingsError([Problem((), "missing_library", message)]) from None


_READERS: Final[dict[str, Callable[[str], Any]]] = {"json": _from_json, "toml": _from_toml, "yaml": _from_yaml}
_WRITERS: Final[dict[str, Callable[[Any], str]]] = {"json": _to_json, "toml": _to_toml, "yaml": _to_yaml}
