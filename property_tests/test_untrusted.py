"""Documents that somebody tampered with are refused, or harmless: no code runs, nothing hangs or fills the memory."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ome_writers as ow
from ome_writers import files, serial
from ome_writers.readers.scratch import frame_metadata
from ome_writers.readers.tifftext import parsed

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
NASTY = st.sampled_from(
    [
        *(None, True, -1, 0, 10**12, 10**30, 1.5, float("nan"), "", "x", "../../etc", "/etc/passwd", "O", "V9"),
        *([], {}, [[]], [None], {"path": "../.."}, ["../.."], [0, 10**12], [[0, 10**12]], "9" * 400, "a\0b"),
    ]
)
REFUSED = (ValueError, OSError, NotImplementedError)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def tampered(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    out = copy.deepcopy(value)
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return out


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("made"), {}
    dims = ow.dims_from_standard_axes({"t": 2, "p": 2, "c": ["DAPI", "GFP"], "y": 4, "x": 4})
    for name, format_ in (("a.ome.zarr", "ome-zarr"), ("b.ome.tiff", "ome-tiff"), ("c", "scratch")):
        root = folder / name
        stream = ow.create_stream(
            ow.AcquisitionSettings(root_path=str(root), dimensions=dims, dtype="uint16", format=format_)
        )
        with stream:
            for number in range(8):
                stream.append(np.full((4, 4), number, "uint16"), frame_metadata={"n": number})
        assert stream.outcome is not None
        made[format_] = Path(stream.outcome.root)
    ow.prepare(
        ow.compile(ow.AcquisitionSettings(root_path=str(folder / "p.ome.zarr"), dimensions=dims, dtype="uint16"))
    )
    made["prepared"] = folder / "p.ome.zarr"
    return made


def looked_at(root: Path) -> None:
    """Open a dataset and read what is cheap to read of it."""
    try:
        view = ow.open_view(str(root))
        assert len(view.shape) == len(view.dims)
        assert np.asarray(view[(0,) * (len(view.shape) - 2)]).nbytes < 2**20
    except (*REFUSED, IndexError):
        pass


def with_each(path: Path, text: str, look: Any) -> None:
    before = path.read_bytes()
    try:
        path.write_text(text, "utf-8")
        look()
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("ome-zarr", "zarr.json"),
        ("ome-zarr", "OME/zarr.json"),
        ("ome-zarr", "0/zarr.json"),
        ("ome-zarr", "0/0/zarr.json"),
        ("scratch", "manifest.json"),
    ],
)
@QUICK
@given(data=st.data())
def test_documents_in_json(datasets: dict[str, Path], name: str, document: str, data: st.DataObject) -> None:
    root = datasets[name]
    said = json.loads((root / document).read_bytes())
    path = data.draw(st.sampled_from(list(leaves(said))))
    text = json.dumps(tampered(said, path, data.draw(NASTY)))
    if document == "0/0/zarr.json" and "10" + "0" * 10 in text:
        return  # tensorstore and zarr know their own limits

    def look() -> None:
        looked_at(root)
        if name == "scratch":
            with contextlib.suppress(*REFUSED):
                frame_metadata(root)

    with_each(root / document, text, look)


@QUICK
@given(data=st.data())
def test_documents_in_xml(datasets: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    import tifffile

    first = min(datasets["ome-tiff"].glob("*.tiff"))
    with tifffile.TiffFile(first) as file:
        text = str(file.ome_metadata)
    places = [match.span(1) for match in re.finditer(r'(?:="|<M[^>]*>)([^"<]*)', text)]
    start, stop = data.draw(st.sampled_from(places))
    new = data.draw(
        st.sampled_from(["", "-1", "0", "1000000", "10000000000", "x", "../../x.tiff", "/etc/passwd", "[[]]"])
    )
    path = tmp_path / "t.ome.tiff"
    tifffile.imwrite(
        path, np.zeros((4, 4), "u2"), description=(text[:start] + new + text[stop:]).encode(), metadata=None
    )
    looked_at(path)


@QUICK
@given(data=st.data())
def test_lists_of_places(datasets: dict[str, Path], data: st.DataObject) -> None:
    root = datasets["prepared"]
    list_ = root.with_name("p.ome.zarr.placement.json")
    said = json.loads(list_.read_bytes())
    path = data.draw(st.sampled_from(list(leaves(said))))
    text = json.dumps(tampered(said, path, data.draw(NASTY)))

    def look() -> None:
        with contextlib.suppress(*REFUSED):
            ow.finish(root)

    with_each(list_, text, look)


@QUICK
@given(st.binary(max_size=300), st.sampled_from(["json", "toml", "yaml"]))
def test_settings_of_any_bytes(data: bytes, format_: str) -> None:
    try:
        serial.loads(data.decode("latin-1"), format_)  # type: ignore[arg-type]
    except ow.SettingsError as error:
        assert error.problems  # noqa: PT017 - it may be settings


BOMBS = {
    "deep json": ("json", "[" * 200_000),
    "deep yaml": ("yaml", "[" * 20_000),
    "deep toml": ("toml", "a = " + "[" * 100_000),
    "digits": ("json", '{"buffer_bytes": ' + "9" * 1_000_000 + "}"),
    "aliases": (
        "yaml",
        "a: &a [x, x]\n" + "\n".join(f"{c}: &{c} [*{b}, *{b}]" for b, c in zip("abcdefgh", "bcdefghi", strict=True)),
    ),
    "code": ("yaml", "!!python/object/apply:os.system ['exit 1']"),
    "positions": ("json", '{"dimensions": [{"name": "p", "type": "position", "count": 1000000000}]}'),
}


@pytest.mark.parametrize(("format_", "text"), BOMBS.values(), ids=BOMBS)
def test_small_settings_that_would_take_much(format_: str, text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ow.SettingsError):
            serial.loads(text, format_)  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_xml_that_stands_for_more_than_it_is() -> None:
    lines = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    for text in (
        f'<!DOCTYPE OME [<!ENTITY a "x">{lines}]><OME>&i;</OME>',
        '<!DOCTYPE OME SYSTEM "file:///etc/passwd"><OME/>',
    ):
        with pytest.raises(ValueError, match="document type"):
            parsed(text)
    assert parsed("<OME/>").tag == "OME"


def test_a_manifest_that_claims_more_than_there_is(datasets: dict[str, Path]) -> None:
    manifest = datasets["scratch"] / "manifest.json"
    said = json.loads(manifest.read_bytes())
    said["position_shapes"] = [[10**7, 2, 4, 4]] * 2

    def look() -> None:
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"is shorter than manifest\.json says"):
                ow.open_view(str(datasets["scratch"]))
            assert tracemalloc.get_traced_memory()[1] < 2**26
        finally:
            tracemalloc.stop()

    with_each(manifest, json.dumps(said), look)


def test_a_zip_that_claims_more_than_there_is(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "plan.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plan.json", bytes(2**26))
    with pytest.raises(ow.PlanError, match="compressed"):
        files.load_plan(path)
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(ow.PlanError):
        files.load_plan(path)
