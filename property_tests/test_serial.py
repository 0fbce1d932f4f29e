"""Laws of documents and plan files: what is written is read as it was; what comes from anywhere is refused in order."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ome_writers import AcquisitionSettings, Plan, PlanError, SettingsError, compile
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.plan_file import plan_from_npz, plan_to_npz, table_to_npy
from ome_writers.schemas import schema
from ome_writers.serial import dumps, loads, make_converter, parse
from ome_writers.testing.strategies import names, settings

FORMATS = st.sampled_from(["json", "toml", "yaml"])
SCHEMA = Draft202012Validator(schema())
SUFFIXES = st.sampled_from([".zarr", ""])
ANY_FORMAT = (
    st.builds(OmeZarrFormat, backend=st.sampled_from(["auto", "direct", "zarr-python"]), suffix=SUFFIXES)
    | st.builds(OmeTiffFormat, backend=st.sampled_from(["auto", "tifffile"]), companion_file=st.just("a.companion.ome"))
    | st.builds(ScratchFormat, backend=st.sampled_from(["auto", "memory"]), max_memory_bytes=st.integers(0, 2**63 - 1))
)
PATHS = names() | st.sampled_from(["", "a.zarr", "a.OME.TIFF", "../b/a.ome.zarr", "1e-3", "null", "yes", "12", "~"])
KEYS = st.sampled_from(["name", "count", "type", "coords", "q"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=15,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from([*AcquisitionSettings.__attrs_attrs__]).map(lambda field: field.name), VALUES
)


class TestSettingsSurviveARoundTrip:
    """`loads(dumps(settings)) == settings`, in every format."""

    @given(settings(), FORMATS)
    def test_of_acquisitions(self, settings: AcquisitionSettings, format_: str) -> None:
        assert loads(dumps(settings, format_), format_) == settings

    @given(PATHS, ANY_FORMAT, st.booleans(), FORMATS)
    def test_of_unfinished_ones(self, path: str, how: Any, overwrite: bool, format_: str) -> None:  # noqa: FBT001 - drawn
        unfinished = AcquisitionSettings(root_path=path, format=how, overwrite=overwrite)
        assert loads(dumps(unfinished, format_), format_) == unfinished

    @given(settings(), FORMATS)
    def test_of_acquisitions_and_the_schema_lets_them_pass(self, settings: AcquisitionSettings, format_: str) -> None:
        assert list(SCHEMA.iter_errors(parse(dumps(settings, format_), format_))) == []

    @given(settings())
    def test_of_their_parts(self, settings: AcquisitionSettings) -> None:
        converter = make_converter()
        parts = [*settings.dimensions, settings.format, *([settings.plate] if settings.plate else [])]
        parts += [
            coord for dim in settings.dimensions if dim.type in ("channel", "position") for coord in dim.coords or ()
        ]
        for part in parts:
            plain = json.loads(json.dumps(converter.unstructure(part)))
            assert converter.structure(plain, type(part)) == part


class TestWhateverComesIsReadOrRefused:
    """Nothing but a `SettingsError` comes out of a document, and it has its reasons."""

    @given(DOCUMENTS)
    def test_values_in_json(self, values: dict[str, Any]) -> None:
        self.read(json.dumps(values), "json")

    @given(st.text(max_size=30) | st.text("{}[]:,\"'&*!-|>%@ \nab1.", max_size=20), FORMATS)
    def test_text(self, text: str, format_: str) -> None:
        self.read(text, format_)

    def read(self, text: str, format_: str) -> None:
        with suppress(SettingsError):
            assert isinstance(loads(text, format_), AcquisitionSettings)


Row = tuple[int, int, int, tuple[int, ...]]


def plain(rows: np.ndarray) -> list[Row]:
    return [(frame, position, array, tuple(index)) for frame, position, array, index in rows.tolist()]


def same(one: Plan, other: Plan) -> bool:
    stop = 40 if one.frames is None else one.frames
    return (one.settings, one.layout, one.frames) == (other.settings, other.layout, other.frames) and plain(
        one.rows(0, stop)
    ) == plain(other.rows(0, stop))


@st.composite
def parts(draw: st.DrawFn) -> Plan:
    plan = compile(draw(settings()))
    if draw(st.booleans()):
        plan = plan.rest(draw(st.integers(0, 40 if plan.frames is None else plan.frames)))
    if plan.frames and draw(st.booleans()):
        plan = draw(st.sampled_from(plan.split(draw(st.integers(1, 3)), "frame")))
    return plan


class TestPlansSurviveARoundTrip:
    """A plan that was saved is the same plan when it is loaded, and the file the same whenever it is made."""

    @given(parts())
    def test_whole_plans_and_parts_of_them(self, plan: Plan) -> None:
        data = plan_to_npz(plan)
        again = plan_from_npz(data)
        assert same(again, plan)
        assert plan_to_npz(again) == data

    @given(settings())
    def test_equal_settings_give_equal_files(self, settings: AcquisitionSettings) -> None:
        assert plan_to_npz(compile(settings)) == plan_to_npz(compile(evolve(settings)))

    @given(parts())
    def test_numpy_expands_the_table_by_the_rule_of_the_file(self, plan: Plan) -> None:
        stop = 40 if plan.frames is None else plan.frames
        rows = []
        with np.load(io.BytesIO(plan_to_npz(plan)), allow_pickle=False) as file:
            for number in range(len(file.files) // 2):
                rows += written_out(file[f"rows_{number}"], file[f"loops_{number}"], stop)
        assert plain(plan.rows(0, stop)) == rows[:stop]

    @given(parts())
    def test_the_bare_table(self, plan: Plan) -> None:
        if plan.frames is None:
            with pytest.raises(PlanError):
                table_to_npy(plan)
        else:
            assert plain(np.load(io.BytesIO(table_to_npy(plan)), allow_pickle=False)) == plain(plan.table)


def written_out(rows: np.ndarray, loops: np.ndarray, stop: int) -> list[Row]:
    """Write a segment out as the documentation of the file says: the last loop is the fastest."""
    out: list[Row] = []

    def turn(depth: int, moved: list[np.ndarray]) -> None:
        if len(out) >= stop:
            return
        if depth == len(loops):
            for row in rows:
                index = row["index"] + sum(loop["index"] for loop in moved)
                first = [
                    int(row[name]) + sum(int(loop[name]) for loop in moved) for name in ("frame", "position", "array")
                ]
                out.append((*first, tuple(index.tolist())))
            return
        loop = loops[depth]
        for number in range(stop if loop["repeats"] == -1 else int(loop["repeats"])):
            step = {name: loop[name] * number for name in ("frame", "position", "array", "index")}
            turn(depth + 1, [*moved, step])

    turn(0, [])
    return out


@st.composite
def tampered(draw: st.DrawFn) -> bytes:
    """Draw a plan file of which some bytes were changed, within its members (with a good checksum) or anywhere."""
    data = plan_to_npz(draw(parts()))
    changes = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from([0, 1, 255, *b"19[(-"])), min_size=1, max_size=4)
    if draw(st.booleans()):
        return changed(data, draw(changes))[: draw(st.none() | st.integers(0, len(data)))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        victim = draw(st.sampled_from(old.namelist()))
        for name in old.namelist():
            new.writestr(name, changed(old.read(name), draw(changes)) if name == victim else old.read(name))
    return buffer.getvalue()


def changed(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    out = bytearray(data)
    for place, byte in changes:
        out[place % len(out)] = byte
    return bytes(out)


class TestATamperedPlanIsRefusedOrHarmless:
    """Whatever a file claims, either `PlanError` says what is wrong, or the plan stays within its arrays."""

    @given(tampered())
    def test_tampered(self, data: bytes) -> None:
        try:
            plan = plan_from_npz(data)
        except PlanError:
            return
        stop = 40 if plan.frames is None else min(plan.frames, 1000)
        for row in plain(plan.rows(0, stop)):
            spec = plan.layout.arrays[row[2]]
            assert spec.position == row[1]
            assert all(0 <= index < (size or 2**31) for index, size in zip(row[3], spec.shape, strict=False))
