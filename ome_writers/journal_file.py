"""Given what a run knows that its dataset does not say yet, this answers: which bytes keep it? And the way back.

A journal is a folder beside the dataset, `cells.ome.zarr.journal`, from before the first frame to the last document:

* `plan.npz`: the plan (see `plan_file.py`);
* `run.json`: what began the run: the writer, and the date and UUIDs of its documents;
* `came`: a byte for each place of the plan, in its order, written behind the frame's pixels and metadata: `CAME`, the
  pixels are in the dataset; `WAITS`, they are in `waiting`; `PASSED`, the frame was said not to come; `GIVEN`, an
  engine has it that does not say when it is stored. 0, or the end of the file: nobody knows of it;
* `metadata`: a line for whatever was said, in the order in which it was: a checksum (CRC-32, hexadecimal), the place of
  the frame (-1: of the whole acquisition), and a JSON object;
* `waiting`: raw frames that rest in unfinished chunks, or for their turn (see `spool.py`).

Nothing that stands there is believed before it is checked. A line that is torn, or was changed, is none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from ome_writers.documents import Stamp
from ome_writers.edits import Change, Edits, may_stand
from ome_writers.errors import FrameError, Loc, Malformed, PlanError, Problem
from ome_writers.jsontext import object_in
from ome_writers.place_file import stamp_from
from ome_writers.records import Record, as_json_object

CAME: Final = 1
WAITS: Final = 2
PASSED: Final = 3
GIVEN: Final = 4
MOST_PLACES: Final = 2**31
"""Bytes that `came` may have, if the plan does not say it."""
MOST_UNKNOWN: Final = 2**26
"""Places of a plan without end of which nobody knows: a file that is all holes has no size of its own."""
MOST_LINE: Final = 2**26
"""Bytes that a line of `metadata` may have."""
_MARK: Final = "ome_writers_journal"
_VERSION: Final = 1
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


@frozen
class Begun:
    """What began a run."""

    writer: str
    """Name of the writer."""
    stamp: Stamp


def begun_to_json(begun: Begun) -> bytes:
    """Return the bytes of `run.json`."""
    stamp = {"now": begun.stamp.now.isoformat(), "uuids": list(begun.stamp.uuids)}
    return json.dumps({_MARK: _VERSION, "writer": begun.writer, "stamp": stamp}, indent=1).encode()


def begun_from_json(data: bytes) -> Begun:
    """Return what stands in `run.json`.

    Raises
    ------
    PlanError
        If it is none, or one of another version.
    """
    try:
        values = object_in(data)
    except Malformed as error:
        _refuse((), f"is no journal: {error}")
    if values.get(_MARK) != _VERSION:
        _refuse((_MARK,), f"must be {_VERSION}, the version that is understood")
    if not isinstance(values.get("writer"), str) or not isinstance(values.get("stamp"), dict):
        _refuse((), "must name a writer and hold a stamp")
    return Begun(values["writer"], stamp_from(values["stamp"]))


def _refuse(loc: Loc, message: str) -> NoReturn:
    raise PlanError([Problem(loc, "invalid_file", message)])


# ── what was said ─────────────────────────────────────────────────────────────────────────────────────────────────────


def said(place: int, value: Mapping[str, Any]) -> bytes:
    r"""Return a line of `metadata`.

    Examples
    --------
    >>> said(5, {"exposure_time": 0.01})[8:]
    b' 5 {"exposure_time":0.01}\n'
    """
    data = f"{place} {_encode(value)}".encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(data), data)


def place_in(line: bytes) -> int | None:
    """Return of which frame a line tells, -1 of the whole acquisition, `None` if it is not as it was written."""
    if line[8:9] != b" " or line[-1:] != b"\n" or line[:8] != b"%08x" % zlib.crc32(line[9:-1]):
        return None
    place = line[9:].partition(b" ")[0]
    digits = place.removeprefix(b"-")
    return int(place) if digits.isdigit() and len(digits) < 19 else None  # noqa: PLR2004 - 64 bits


def said_in(line: bytes) -> Record:
    """Return what a line says that `said` made."""
    found: Record = _decode(line[9:].partition(b" ")[2].decode())
    return found


def value_in(line: bytes) -> Record:
    """Return what a line says that may come from anywhere; nothing if it cannot be stored."""
    try:
        return as_json_object(said_in(line))
    except (ValueError, RecursionError, FrameError):
        return {}


@frozen
class Told:
    """What was said of the whole acquisition."""

    globals: Mapping[str, Record] = field(factory=dict)
    edits: Edits = field(factory=Edits)
    put: bool = False
    """Whether frames come in any order."""
    lanes: bool = False
    """Whether those of each camera come by themselves."""
    ended: str = ""
    """The verdict with which the run ended, if it did."""
    error: str | None = None
    """What ended it."""


def edits_to_json(edits: Edits) -> Record:
    """Return what users changed, as plain JSON values."""
    groups = {
        path: [{"where": list(change.where), "value": change.value, "gone": change.gone} for change in changes]
        for path, changes in edits.groups.items()
    }
    return as_json_object({"groups": groups, "texts": dict(edits.texts)})


def told_by(values: Iterable[Record]) -> Told:
    """Return what was said of the whole acquisition, of which the last counts; what makes no sense is left out.

    Examples
    --------
    >>> told_by([{"globals": {"lab": {"room": 1}}}, {"globals": {"lab": {"room": 2}}}, {"put": True}])
    Told(globals={'lab': {'room': 2}}, edits=Edits(groups={}, texts={}), put=True, lanes=False, ended='', error=None)
    """
    found: dict[str, Record] = {}
    edits, put, lanes, ended, error = Edits(), False, False, "", None
    for value in values:
        more = value.get("globals")
        if isinstance(more, dict):
            found |= {name: record for name, record in more.items() if isinstance(record, dict) and may_stand(name)}
        if isinstance(value.get("edits"), dict):
            edits = _edits(value["edits"])
        put, lanes = put or value.get("put") is True, lanes or value.get("lanes") is True
        if isinstance(value.get("ended"), str):
            ended, why = str(value["ended"]), value.get("error")
            error = why if isinstance(why, str) else None
    return Told(found, edits, put, lanes, ended, error)


def _edits(value: Any) -> Edits:
    groups, texts = value.get("groups"), value.get("texts")
    return Edits(
        {path: tuple(_changes(changes)) for path, changes in groups.items()} if isinstance(groups, dict) else {},
        {path: text for path, text in texts.items() if isinstance(text, str)} if isinstance(texts, dict) else {},
    )


def _changes(changes: Any) -> Iterator[Change]:
    for change in changes if isinstance(changes, list) else ():
        where = change.get("where") if isinstance(change, dict) else None
        if isinstance(where, list) and all(isinstance(key, (str, int)) for key in where):
            yield Change(tuple(where), change.get("value"), gone=change.get("gone") is True)


# ── what came ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def reached(marks: NDArray[np.uint8]) -> int:
    """Return how many places of the plan a run has gone through: up to the last that anybody knows of.

    Examples
    --------
    >>> reached(np.array([CAME, 0, PASSED, 0], np.uint8))
    3
    """
    known = marks[::-1] != 0
    return len(marks) - int(known.argmax()) if known.any() else 0


def absent(marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the places that were gone through, and whose frames did not come or are lost.

    Examples
    --------
    >>> absent(np.array([CAME, 0, PASSED, WAITS, 0], np.uint8)).tolist()
    [1, 2]
    """
    return np.flatnonzero(~np.isin(marks[: reached(marks)], (CAME, WAITS, GIVEN)))
