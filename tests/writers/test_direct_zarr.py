"""The direct writer's uncompressed OME-Zarr, through the public ways to write; zarr-python and tensorstore read it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import growth, placement
from ome_writers.layout import ArraySpec
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import begun
from ome_writers.writer import Block, unit_for
from ome_writers.writers import direct_zarr, placed
from ome_writers.writers.direct import DirectWriter

Y, X = 6, 5
CUTS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "frames": ({}, {}),
    "shards": ({}, {"t": 2, "c": 2}),
    "one frame a shard": ({}, {"t": 1}),
    "tiles": ({"y": 4, "x": 3}, {}),
    "tiles in shards": ({"y": 2, "x": 3}, {"t": 3, "y": 3, "x": 2}),
    "tiles in shards of tiles": ({"y": 2, "x": 2}, {"t": 2, "y": 2}),
    "frames together": ({"t": 3}, {}),
    "frames together in shards": ({"t": 2}, {"t": 2, "c": 2}),
    "tiles of frames": ({"t": 2, "c": 2, "y": 4}, {}),
    "tiles of frames in shards": ({"t": 2, "y": 3, "x": 4}, {"t": 2, "y": 2}),
}
EVERY = pytest.mark.parametrize("cut", CUTS)


def settings_of(root: Path, cut: str, sizes: dict[str, Any], **more: Any) -> ow.AcquisitionSettings:
    chunks, shards = CUTS[cut]
    dims = ow.dims_from_standard_axes(sizes | {"y": Y, "x": X}, chunk_shapes=chunks, shard_shapes=shards)
    return ow.AcquisitionSettings(root_path=str(root / "a.ome.zarr"), dimensions=dims, **({"dtype": "uint16"} | more))


def frames(count: int, dtype: str = "uint16") -> list[NDArray[Any]]:
    return [frame_pixels(number, (Y, X), dtype) for number in range(count)]


def read_by_both(root: Path, path: str) -> NDArray[Any]:
    found = np.asarray(zarr.open_array(f"{root}/{path}", mode="r")[...])
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
    np.testing.assert_array_equal(found, np.asarray(ts.open(spec).result().read().result()))
    return found


def must_hold(plan: ow.Plan, came: Sequence[NDArray[Any] | None], *, whole: bool = False) -> None:
    """Check that readers find what came, and zeros beyond it; with `whole` there is nothing beyond it."""
    expected = expected_arrays(plan.settings, came)
    for array in plan.layout.arrays:
        found, wanted = read_by_both(Path(plan.settings.root_path), array.path), expected[array.image]
        assert found.shape == wanted.shape if whole else all(map(int.__ge__, found.shape, wanted.shape))
        inside = tuple(map(slice, wanted.shape))
        np.testing.assert_array_equal(found[inside], wanted)
        assert np.count_nonzero(found) == np.count_nonzero(wanted)


def files_in(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(params=["positioned", "seeking"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write with system calls at a place, and as on a system without them."""
    if request.param == "seeking":
        monkeypatch.setattr(placed, "POSITIONED", False)


@pytest.fixture
def _long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take runs of any length for long enough to be written one by one, as those of large frames are."""
    monkeypatch.setattr(placement, "SHORT_RUN", 1)


@pytest.fixture
def _made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next file made ahead, however few frames lie in each, and however small."""
    monkeypatch.setattr(direct_zarr, "_DEEP", 1)
    monkeypatch.setattr(direct_zarr, "_LONG", 1)


@EVERY
@pytest.mark.parametrize("rounds", [4, None])
@pytest.mark.usefixtures("_either_way", "_long_runs", "_made_ahead")
def test_readers_see_every_frame_at_once(
    tmp_path: Path, cut: str, rounds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "STEP_BYTES", 300)
    settings = settings_of(tmp_path, cut, {"t": rounds, "p": 2, "c": 2})
    plan, data = ow.compile(settings), frames(13)
    assert unit_for(plan, DirectWriter().capabilities) == "frame"
    came: list[NDArray[Any] | None] = []
    with ow.create_stream(settings, backend="direct") as stream:
        must_hold(plan, came)
        for number, pixels in enumerate(data):
            if number in (0, 6, 7):
                stream.skip()
                came.append(None)
                continue
            stream.append(pixels)
            came.append(pixels)
            must_hold(plan, came)
    must_hold(plan, came, whole=True)
    assert stream.outcome is not None
    assert (stream.outcome.cursor, stream.outcome.missing.tolist()) == (13, [0, 6, 7])


@EVERY
@pytest.mark.usefixtures("_either_way")
def test_blocks_of_short_runs_are_readable_once_they_are_whole(tmp_path: Path, cut: str) -> None:
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 5, "c": 3}))
    data = frames(15)
    deep = unit_for(plan, DirectWriter().capabilities) == "chunk"
    assert deep == (cut in ("tiles of frames", "tiles of frames in shards"))
    with ow.create_stream(plan.settings, backend="direct") as stream:
        for number, pixels in enumerate(data):
            stream.append(pixels)
            # No chunk is longer than two rounds.
            if number == (6 if not deep else 11):
                found = read_by_both(tmp_path / "a.ome.zarr", "0")
                np.testing.assert_array_equal(found[:2].reshape(-1, Y, X), data[:6])
    must_hold(plan, data, whole=True)


@EVERY
@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "uint64", "complex128"])
def test_every_width_of_pixels(tmp_path: Path, cut: str, dtype: str) -> None:
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 3, "c": 2}, dtype=dtype))
    data = frames(6, dtype)
    assert ow.write(plan, np.array(data).reshape(3, 2, Y, X), "direct").verdict == "complete"
    must_hold(plan, data, whole=True)


@EVERY
@pytest.mark.usefixtures("_long_runs")
def test_what_was_written_can_be_seen(tmp_path: Path, cut: str) -> None:
    settings, data = settings_of(tmp_path, cut, {"t": None, "c": 2}), frames(9)
    with ow.create_stream(settings, backend="direct") as stream:
        view = stream.view()
        for number, pixels in enumerate(data):
            stream.append(pixels)
            t, c = divmod(number, 2)
            np.testing.assert_array_equal(view[t, c], pixels)
            np.testing.assert_array_equal(view[0, 0, 1:5:2, -3:], data[0][1:5:2, -3:])
            assert not view[t, c + 1 :].any()
    seen = view[...]
    np.testing.assert_array_equal(seen.reshape(-1, Y, X)[:9], data)
    assert not seen[4, 1].any()


@EVERY
@pytest.mark.usefixtures("_long_runs", "_made_ahead")
def test_any_order_does(tmp_path: Path, cut: str) -> None:
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 4, "p": 2, "c": 3}))
    data = frames(24)
    root, order = tmp_path / "a.ome.zarr", np.random.default_rng(0).permutation(24)
    run = begun(DirectWriter(), root, plan)
    for some in np.array_split(order, 5):
        rows = [plan.rows(place, place + 1)[0] for place in some.tolist()]
        run.writer.write(
            [
                Block([int(row["frame"])], int(row["array"]), tuple(row["index"].tolist()), data[place][None, None])
                for place, row in zip(some, rows, strict=True)
            ]
        )
    run.writer.abort()
    must_hold(plan, data, whole=True)


@EVERY
@pytest.mark.usefixtures("_long_runs")
def test_an_array_takes_fewer_calls_and_leaves_the_same_bytes(
    tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def counted(name: str) -> Any:
        call = getattr(os, name)

        def count(*given: Any) -> Any:
            nonlocal calls
            calls += 1
            return call(*given)

        return count

    for name in ("pwrite", "pwritev"):
        monkeypatch.setattr(os, name, counted(name))
    data, left, cost = frames(48), [], []
    for way, given in {"one": iter(data), "all": np.array(data)}.items():
        root = tmp_path / way
        root.mkdir()
        calls = 0
        ow.write(ow.compile(settings_of(root, cut, {"t": 24, "c": 2})), given, "direct")
        cost.append(calls)
        left.append(files_in(root / "a.ome.zarr"))
        for key in [key for key in left[-1] if key.endswith("zarr.json")]:
            # Time and path of a run stand in it.
            left[-1][key] = b"" if json.loads(left[-1][key])["node_type"] == "group" else left[-1][key]
    assert left[0] == left[1]
    if cut == "shards":
        # The journal takes a byte for each frame, or for all that came together, and before that room for all of them.
        assert cost == [48 + 12 + 48 + 1, 12 + 12 + 1 + 1]
    else:
        assert cost[1] <= cost[0]


def test_a_short_write_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call may take fewer bytes than it was given."""
    pwrite, pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, memoryview(data).cast("B")[:7], at))
    monkeypatch.setattr(
        os,
        "pwritev",
        lambda file, parts, at: pwritev(file, [memoryview(b"".join(parts))[:100]], at),
    )
    plan = ow.compile(settings_of(tmp_path, "shards", {"t": 6, "c": 2}, dtype="complex64"))
    data = frames(12, "complex64")
    ow.write(plan, np.array(data), "direct")
    must_hold(plan, data, whole=True)


@EVERY
def test_documents_change_after_the_end(tmp_path: Path, cut: str) -> None:
    settings, data = settings_of(tmp_path, cut, {"t": None, "p": 2}), frames(7)
    with ow.create_stream(settings, backend="direct") as stream:
        for pixels in data:
            stream.append(pixels)
    before = files_in(tmp_path / "a.ome.zarr")
    metadata = stream.get_metadata()
    metadata["0"]["note"] = "später"
    stream.update_metadata(metadata)
    after = files_in(tmp_path / "a.ome.zarr")
    assert zarr.open_group(f"{tmp_path}/a.ome.zarr/0", mode="r").attrs["note"] == "später"
    assert {key for key in after if after[key] != before.get(key)} == {"0/zarr.json"}
    must_hold(ow.compile(settings), data, whole=True)


@EVERY
@pytest.mark.usefixtures("_made_ahead")
def test_open_again_and_go_on(tmp_path: Path, cut: str) -> None:
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 6, "c": 2}))
    data, root = frames(12), tmp_path / "a.ome.zarr"
    writer = begun(DirectWriter(), root, plan).writer
    units = [(0, 6), (6, 12)]
    blocks = [Block([n], 0, divmod(n, 2), data[n][None, None]) for n in range(12)]
    for begin, end in units:
        if begin:
            writer = DirectWriter()
            writer.open(str(root), plan, (), attach=True)
        writer.write(blocks[begin:end])
        writer.flush(durable=True)
        writer.abort()
        must_hold(plan, data[:end])
    with pytest.raises(FileExistsError):
        DirectWriter().open(str(root), plan, ())
    must_hold(plan, data, whole=True)


@EVERY
@pytest.mark.parametrize("first", [1, 3, 5, 8])
@pytest.mark.parametrize("again", [True, False], ids=["opened again", "open"])
@pytest.mark.usefixtures("_made_ahead", "_long_runs")
def test_an_array_that_was_cut_off_goes_on(tmp_path: Path, cut: str, first: int, *, again: bool) -> None:
    """What stood behind the edge is no pixels once the array is longer again."""
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 12, "c": 2}))
    data, root = frames(24), tmp_path / "a.ome.zarr"
    run = begun(DirectWriter(), root, plan)
    for pixels in data[:first]:
        run.take(pixels)
    writer = run.writer
    if again:
        assert run.close().verdict == "stopped"
        must_hold(plan, data[:first], whole=True)
        writer = DirectWriter()
        writer.open(str(root), plan, (), attach=True)
    else:
        writer.resize(0, (-(-first // 2), 2, Y, X))
    writer.resize(0, (12, 2, Y, X))
    must_hold(plan, data[:first])
    # Some come, the last ones first; others do not.
    for number in (20, first + 2, first + 1):
        writer.write([Block([number], 0, divmod(number, 2), data[number][None, None])])
    came = [pixels if n < first or n in (20, first + 2, first + 1) else None for n, pixels in enumerate(data)]
    must_hold(plan, came)
    writer.close(())
    must_hold(plan, came)


@EVERY
@pytest.mark.usefixtures("_made_ahead", "_long_runs")
def test_files_that_stood_before_are_kept(tmp_path: Path, cut: str) -> None:
    """What is made ahead and not used goes; what is there already is neither."""
    plan = ow.compile(settings_of(tmp_path, cut, {"t": 12, "c": 2}))
    data, root = frames(24), tmp_path / "a.ome.zarr"
    writer = begun(DirectWriter(), root, plan).writer
    came: list[NDArray[Any] | None] = [None] * 24
    for late in (range(12, 24), range(6, 8), range(3)):
        for number in late:
            writer.write([Block([number], 0, divmod(number, 2), data[number][None, None])])
            came[number] = data[number]
        writer.close(())
        must_hold(plan, came)
        writer = DirectWriter()
        writer.open(str(root), plan, (), attach=True)
    writer.close(())
    (spec,) = plan.layout.arrays
    step = (spec.shard_shape or spec.chunk_shape)[0]
    used = {number // 2 // step for number, pixels in enumerate(came) if pixels is not None}
    assert {cell[0] for cell in cells_of(root, spec)} == used


def test_what_is_stored_in_another_way_is_not_attached_to(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.zarr"
    begun(DirectWriter(), root, ow.compile(settings_of(tmp_path, "tiles", {"t": 2}))).writer.abort()
    with pytest.raises(ValueError, match="another chunk_grid than planned"):
        DirectWriter().open(str(root), ow.compile(settings_of(tmp_path, "frames", {"t": 2})), (), attach=True)
    with pytest.raises(FileNotFoundError, match="no array '0'"):
        DirectWriter().open(f"{tmp_path}/b", ow.compile(settings_of(tmp_path, "frames", {"t": 2})), (), attach=True)


@EVERY
def test_replaced_by_a_smaller_one(tmp_path: Path, cut: str) -> None:
    for rounds, sizes in (5, {"t": 5, "c": 2}), (2, {"t": 2}):
        plan = ow.compile(settings_of(tmp_path, cut, sizes, overwrite=True))
        data = frames(rounds * sizes.get("c", 1))
        assert ow.write(plan, iter(data), "direct").verdict == "complete"
        must_hold(plan, data, whole=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


@EVERY
@pytest.mark.parametrize("order", [["t", "c", "z"], ["c", "z", "t"]])
@pytest.mark.filterwarnings("ignore:OME-Zarr 0.5 wants axes")
def test_a_smaller_array_has_no_files_beyond_its_shape(tmp_path: Path, cut: str, order: list[str]) -> None:
    settings = settings_of(tmp_path, cut, {"t": None, "c": 2, "z": 2}, storage_order=[*order, "y", "x"])
    plan, root = ow.compile(settings), tmp_path / "a.ome.zarr"
    writer, data, axis = DirectWriter(), frames(24), order.index("t")
    run = begun(writer, root, plan)
    for pixels in data:
        run.take(pixels)
    (spec,) = plan.layout.arrays
    for rounds in (3, 1):
        shape = tuple(rounds if size is None else size for size in spec.shape)
        writer.resize(0, shape)
        writer.flush(durable=True)
        assert cells_of(root, spec) <= within(spec, shape)
        np.testing.assert_array_equal(
            read_by_both(root, "0"), expected_arrays(settings, data)[0].take(range(rounds), axis)
        )
    writer.abort()


def cells_of(root: Path, spec: ArraySpec) -> set[tuple[int, ...]]:
    folder = root / spec.path / "c"
    return {tuple(map(int, path.relative_to(folder).parts)) for path in folder.rglob("*") if path.is_file()}


def within(spec: ArraySpec, shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    grid = spec.shard_shape or spec.chunk_shape
    return set(product(*(range(-(-size // step)) for size, step in zip(shape, grid, strict=True))))


@EVERY
def test_names_are_good_on_windows(tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that files have while they are made."""
    names, replace = set(), Path.replace

    def seen(path: Path, target: Path) -> Path:
        names.add(path.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", seen)
    settings = settings_of(tmp_path, cut, {"t": 3, "p": ["con", 'a/b:c*?"<>|', "x. "]})
    ow.write(ow.compile(settings), iter(frames(9)), "direct")
    names |= {path.name for path in (tmp_path / "a.ome.zarr").rglob("*")}
    assert len(names) > 5
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9_-]", name)
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
