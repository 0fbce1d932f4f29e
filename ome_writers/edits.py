"""Given documents and what users changed in them, this answers: what do they say now?

The documents of a run are made several times: when it begins, when it ends, when somebody changes something. So what
users changed is kept as a value (`Edits`) and put on top of what was made.

1. Attributes of OME-Zarr groups: kept is what differs from what was made, place by place. All else goes on to follow
   the run; what stands under `ome_writers` always does.
2. OME-XML of OME-TIFF: kept is the whole text, which therefore can only be changed when the run has ended.
3. Metadata of the whole acquisition (`set_global_metadata`) is no edit: the documents are made with it
   (`Outcome.globals`). Only texts that users changed have to be given it here.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from attrs import evolve, field, frozen

from ome_writers.documents import Document
from ome_writers.errors import FrameError
from ome_writers.plan import Plan
from ome_writers.records import JSON, Record, as_json_object

if TYPE_CHECKING:
    from ome_types import OME

_OURS: Final = "ome_writers"
_RESERVED: Final = frozenset(
    {_OURS, "ome", "multiscales", "omero", "plate", "well", "labels", "image-label", "bioformats2raw.layout"}
)
"""Keys that readers of OME-Zarr, 0.5 or 0.4, take for their own."""


@frozen
class Change:
    """One place where a document shall differ from what was made."""

    where: tuple[str | int, ...]
    """Keys of objects and numbers of list items that lead there."""
    value: JSON = field(default=None, hash=False)
    gone: bool = False
    """Whether it shall be removed instead."""


@frozen
class Edits:
    """All that users changed in the documents of a dataset, by path."""

    groups: Mapping[str, tuple[Change, ...]] = field(factory=dict)
    texts: Mapping[str, str] = field(factory=dict)


def edited(documents: Sequence[Document], edits: Edits) -> Sequence[Document]:
    """Return the documents with what users changed."""
    return _Edited(documents, edits) if edits.groups or edits.texts else documents


@frozen
class _Edited(Sequence[Document]):
    """Documents, each of which is changed when it is asked for: together they may be large."""

    documents: Sequence[Document]
    edits: Edits

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        if isinstance(index, slice):
            return _Edited(self.documents[index], self.edits)
        document = self.documents[index]
        if document.kind == "group":
            body = document.body
            for change in self.edits.groups.get(document.path, ()):
                body = changed(body, change.where, change)
            return evolve(document, body=body)
        return evolve(document, body=self.edits.texts.get(document.path, document.body))


# ── attributes of groups ──────────────────────────────────────────────────────────────────────────────────────────────


def attributes_of(plan: Plan, documents: Sequence[Document]) -> dict[str, Record]:
    """Return copies of the attributes of the groups that are images, by path; that of the root is `.`."""
    images = {posixpath.dirname(spec.path) for spec in plan.layout.arrays}
    return {
        document.path or ".": as_json_object(document.body)
        for document in documents
        if document.kind == "group" and document.path in images
    }


def with_attributes(edits: Edits, made: Mapping[str, Record], given: Mapping[str, Mapping[str, Any]]) -> Edits:
    """Return edits by which the attributes that were `made` become what is `given`, but for those under `ome_writers`.

    Raises
    ------
    KeyError
        If there is no such group.
    ValueError
        If something cannot be stored; the message begins with the path to it.
    """
    groups = dict(edits.groups)
    for path, attributes in given.items():
        if path not in made:
            raise KeyError(f"there is no image group {path!r}; there are {', '.join(map(repr, made))}")
        wanted = normalised(path, attributes)
        kept = {key: value for key, value in made[path].items() if key == _OURS}
        groups[path if path != "." else ""] = tuple(differences(made[path], wanted | kept))
    return evolve(edits, groups=groups)


def normalised(name: str, metadata: Mapping[str, Any]) -> Record:
    """Return metadata as plain JSON values.

    Raises
    ------
    ValueError
        If something cannot be stored.
    """
    try:
        return as_json_object(metadata)
    except FrameError as error:
        raise ValueError(f"{name}: {error}") from error


def differences(made: JSON, given: JSON, where: tuple[str | int, ...] = ()) -> Iterator[Change]:
    """Yield the changes that lead from one value to another.

    Examples
    --------
    >>> list(differences({"a": [1, 2], "b": 3}, {"a": [1, 5]}))
    [Change(where=('a', 1), value=5, gone=False), Change(where=('b',), value=None, gone=True)]
    """
    if isinstance(made, dict) and isinstance(given, dict):
        for key, value in given.items():
            if key in made:
                yield from differences(made[key], value, (*where, key))
            else:
                yield Change((*where, key), value)
        yield from (Change((*where, key), gone=True) for key in made if key not in given)
    elif isinstance(made, list) and isinstance(given, list) and len(made) == len(given):
        for number, (old, new) in enumerate(zip(made, given, strict=True)):
            yield from differences(old, new, (*where, number))
    elif made != given or type(made) is not type(given):
        yield Change(where, given)


def changed(value: JSON, where: tuple[str | int, ...], change: Change) -> JSON:
    """Return a value with one change; what the change is about may have gone, and then nothing changes.

    Examples
    --------
    >>> changed({"a": [1, 2]}, ("a", 1), Change(("a", 1), 5)), changed({"a": [1]}, ("a", 1), Change(("a", 1), 5))
    ({'a': [1, 5]}, {'a': [1]})
    """
    if not where:
        return change.value
    first, rest = where[0], where[1:]
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        return [*value[:first], changed(value[first], rest, change), *value[first + 1 :]]
    if isinstance(value, dict) and isinstance(first, str):
        if change.gone and not rest:
            return {key: item for key, item in value.items() if key != first}
        if first in value or not rest:
            return value | {first: changed(value.get(first), rest, change)}
    return value


# ── OME-XML ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def models_of(documents: Sequence[Document]) -> dict[int, OME]:
    """Return the OME-XML of each file of an OME-TIFF dataset as a model of ome-types.

    The files that hold pixels count from 0, the one that holds metadata only is -1.
    """
    try:
        from ome_types import from_xml
    except ModuleNotFoundError as error:
        message = "the metadata of OME-TIFF are models of 'ome_types', which is not installed"
        raise ModuleNotFoundError(f"{message}: pip install 'ome-writers[tifffile]'", name="ome_types") from error

    return {number: from_xml(str(document.body)) for number, document in _numbered(documents)}


def with_models(edits: Edits, documents: Sequence[Document], models: Mapping[int, OME]) -> Edits:
    """Return edits by which the OME-XML of files becomes that of the models.

    Raises
    ------
    TypeError
        If one is no model of ome-types.
    KeyError
        If there is no such file.
    """
    from ome_types import OME

    paths = {number: document.path for number, document in _numbered(documents)}
    texts = dict(edits.texts)
    for number, model in models.items():
        if not isinstance(model, OME):
            raise TypeError(f"must be ome_types.OME for each file; got {type(model).__name__} for {number!r}")
        if number not in paths:
            raise KeyError(f"there is no file {number!r}; there are {', '.join(map(repr, paths))}")
        texts[paths[number]] = _text(model)
    return evolve(edits, texts=texts)


def with_annotation(edits: Edits, namespace: str, record: Record) -> Edits:
    """Return edits in which every text that describes the dataset holds a map of that namespace."""
    if not edits.texts:
        return edits
    from ome_types import from_xml
    from ome_types.model import Map, MapAnnotation, StructuredAnnotations

    texts = {}
    for path, text in edits.texts.items():
        model = from_xml(text)
        if model.binary_only is None:
            annotations = model.structured_annotations or StructuredAnnotations()
            others = [one for one in annotations.map_annotations if one.namespace != namespace]
            value = Map(ms=[Map.M(k=key, value=json.dumps(item)) for key, item in record.items()])
            annotations.map_annotations = [*others, MapAnnotation(namespace=namespace, value=value)]
            model.structured_annotations = annotations
        texts[path] = _text(model)
    return evolve(edits, texts=texts)


def _numbered(documents: Sequence[Document]) -> Iterator[tuple[int, Document]]:
    number = 0
    for document in documents:
        if document.kind == "comment":
            yield number, document
            number += 1
        elif document.kind == "xml":
            yield -1, document


def _text(model: OME) -> str:
    # As all our OME-XML: readers disagree about how other characters are encoded in a TIFF.
    return model.to_xml().encode("ascii", "xmlcharrefreplace").decode("ascii")


# ── namespaces ────────────────────────────────────────────────────────────────────────────────────────────────────────


def may_stand(namespace: str) -> bool:
    """Return whether readers would not take what stands under that name for something else."""
    return bool(namespace) and namespace not in _RESERVED and not namespace.startswith("ome-writers/")


def require_namespace(namespace: object) -> None:
    """Raise `ValueError` if metadata of the whole acquisition cannot stand under that name."""
    if not isinstance(namespace, str) or not namespace:
        raise ValueError(f"a namespace must be a non-empty text; got {namespace!r}")
    if not may_stand(namespace):
        raise ValueError(f"the namespace {namespace!r} is reserved: readers would take it for something else")
