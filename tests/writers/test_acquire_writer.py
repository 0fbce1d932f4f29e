"""The writer over acquire-zarr: what it wrote is read with tensorstore and zarr-python, its documents are ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from attrs import evolve
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import begun, run_through, zarr_runs
from ome_writers.testing.runs import files_below as files
from ome_writers.testing.runs import zarr_plan as plan_of
from ome_writers.writer import choose_writer, unmet
from ome_writers.writers.acquire import AcquireZarrWriter
from ome_writers.writers.tensorstore import TensorStoreWriter

FINAL = ow.Document("", "group", {"said": "complete"})


def frames_of(number: int, missing: Sequence[int] = (), dtype: str = "uint16") -> list[NDArray[Any] | None]:
    return [None if n in missing else frame_pixels(n, (6, 5), dtype) for n in range(number)]


def stored(root: Path, path: str = "0") -> NDArray[Any]:
    """Return what tensorstore reads, once it is known that zarr-python reads the same."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
    found = np.asarray(ts.open(spec).result().read().result())
    np.testing.assert_array_equal(zarr.open_array(root / path, mode="r")[...], found)
    return found


def test_it_is_a_writer() -> None:
    assert isinstance(AcquireZarrWriter(), ow.Writer)
    assert type(choose_writer(plan_of({"t": 2, "y": 8, "x": 8}, format="acquire-zarr"))) is AcquireZarrWriter


@pytest.mark.parametrize("name", zarr_runs())
def test_pixels_are_where_loops_put_them_and_documents_are_those_of_tensorstore(tmp_path: Path, name: str) -> None:
    plan, number, missing = zarr_runs()[name]
    frames = frames_of(number, [*missing])
    outcome = run_through(AcquireZarrWriter(), tmp_path / "a", plan, frames)
    assert (outcome.cursor, outcome.missing.tolist()) == (number, sorted(missing))
    for array, wanted in expected_arrays(plan.settings, frames).items():
        np.testing.assert_array_equal(stored(tmp_path / "a", plan.layout.arrays[array].path), wanted)
    # Its arrays are always sharded. Those of tensorstore are like them if they are sharded by one chunk.
    sharded = [dim if dim.shard_size_chunks else evolve(dim, shard_size_chunks=1) for dim in plan.settings.dimensions]
    like = ow.compile(evolve(plan.settings, dimensions=tuple(sharded)))
    run_through(TensorStoreWriter(), tmp_path / "b", like, frames)
    ours, theirs = files(tmp_path / "a"), files(tmp_path / "b")
    found = {key for key in ours if key.endswith((".json", ".xml"))}
    assert found == {key for key in theirs if key.endswith((".json", ".xml"))}
    for key in found:
        assert ours[key].replace(b"acquire-zarr", b"tensorstore") == theirs[key], key


@pytest.mark.parametrize("level", [None, 0, 9])
@pytest.mark.parametrize("codec", ["blosc-zstd", "blosc-lz4", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_our_document_of_an_array_says_what_its_own_says(
    tmp_path: Path, dtype: str, codec: str, level: int | None
) -> None:
    plan = plan_of(
        {"t": 4, "c": 2, "y": 6, "x": 5}, shards={"t": 2}, dtype=dtype, compression=codec, compression_level=level
    )
    writer, frames = AcquireZarrWriter(), frames_of(8, dtype=dtype)
    run = begun(writer, tmp_path / "a", plan)
    for frame in frames:
        run.take(frame)
    writer._stream.close()  # noqa: SLF001 - what its `close` does first, before it replaces the documents
    own = json.loads((tmp_path / "a" / "0" / "zarr.json").read_text("utf-8"))
    run.close()
    ours = json.loads((tmp_path / "a" / "0" / "zarr.json").read_text("utf-8"))
    assert own.pop("storage_transformers") == []
    assert own.pop("dimension_names") == ["axis0", "axis1", "axis2", "axis3"]
    assert ours.pop("dimension_names") == ["t", "c", "y", "x"]
    if dtype == "uint8":
        # It names an order of bytes where there is one byte.
        own["codecs"][0]["configuration"]["codecs"][0].pop("configuration")
    assert own == ours
    np.testing.assert_array_equal(stored(tmp_path / "a"), expected_arrays(plan.settings, frames)[0])


@pytest.mark.parametrize("dtype", sorted(AcquireZarrWriter.capabilities.dtypes or ()))
def test_every_dtype_that_it_has(tmp_path: Path, dtype: str) -> None:
    plan, frames = plan_of({"t": 3, "y": 6, "x": 5}, chunks={"t": 2, "y": 4}, dtype=dtype), frames_of(3, dtype=dtype)
    run_through(AcquireZarrWriter(), tmp_path / "a", plan, frames)
    found = stored(tmp_path / "a")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(frames))


# ── what it cannot do ────────────────────────────────────────────────────────────────────────────────────────────────


def problems(plan: ow.Plan) -> list[str]:
    return [str(problem) for problem in unmet(plan, AcquireZarrWriter.capabilities)]


def loops(*names: str, **options: Any) -> ow.Plan:
    snake = options.pop("snake", ())
    dims = [ow.Dimension(name=name, count=2, snake=name in snake) for name in names]
    frame = [ow.Dimension(name="y", count=6), ow.Dimension(name="x", count=5)]
    return ow.compile(ow.AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=[*dims, *frame], **options))


TURN = (
    "storage_order: acquire-zarr only appends to an array: its first axis, {!r}, must be its outermost loop, "
    "and no loop may go backwards"
)


@pytest.mark.parametrize(
    ("plan", "first"),
    [
        (loops("c", "t"), "t"),
        (loops("z", "p", "t"), "t"),
        (plan_of({"c": None, "t": 2, "y": 6, "x": 5}), "t"),
        (plan_of({"c": None, "t": 1, "y": 6, "x": 5}), "t"),
        (loops("t", "z", snake=["z"]), "t"),
    ],
)
def test_it_says_that_it_cannot_go_back(tmp_path: Path, plan: ow.Plan, first: str) -> None:
    assert problems(plan) == [TURN.format(first)]
    with pytest.raises(ow.PlanError, match="only appends"):
        ow.write(ow.compile(evolve(plan.settings, root_path=str(tmp_path / "a.zarr"))), [], "acquire-zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plan",
    [
        *(plan for plan, _, _ in zarr_runs().values()),
        loops("p", "t", "z"),
        loops("t", "p", snake=["p"]),
        loops("t", "z", "c"),
        loops("t", "c", "z").select(t=1),
        loops("t", "c", "z").rest(5),
        plan_of({"t": 100_000, "c": 3, "y": 6, "x": 5}),
    ],
)
def test_it_can_do_what_only_goes_on(plan: ow.Plan) -> None:
    assert problems(plan) == []


def test_it_says_what_else_it_cannot_do() -> None:
    plan = plan_of({"t": 2, "y": 6, "x": 5}, dtype="float16", compression="gzip")
    assert problems(ow.compile(evolve(plan.settings, root_path="s3://bucket/a.zarr"))) == [
        "root_path: acquire-zarr writes to a local path; got 's3://bucket/a.zarr'",
        (
            "dtype: acquire-zarr stores float32, float64, int16, int32, int64, int8, uint16, uint32, uint64, uint8; "
            "got 'float16'"
        ),
        "compression: acquire-zarr can do blosc-lz4, blosc-zstd, zstd; got 'gzip'",
    ]


def test_a_part_of_a_plan_lands_in_its_places(tmp_path: Path) -> None:
    plan, frames = plan_of({"t": 4, "c": 2, "y": 6, "x": 5}, chunks={"t": 2}), frames_of(8)
    run_through(AcquireZarrWriter(), tmp_path / "a", plan.rest(5), frames[5:])
    expected = expected_arrays(plan.settings, [*[None] * 5, *frames[5:]])[0]
    np.testing.assert_array_equal(stored(tmp_path / "a"), expected)


def test_a_frame_before_others_is_refused(tmp_path: Path) -> None:
    plan, frame = plan_of({"t": 3, "y": 6, "x": 5}), np.ones((1, 6, 5), "uint16")
    writer = AcquireZarrWriter()
    writer.open(str(tmp_path / "a"), plan, [])
    writer.write([ow.Block((1,), 0, (1,), frame)])
    with pytest.raises(ValueError, match="only appends, and has 2 frames of the array; got one for its place 0"):
        writer.write([ow.Block((0,), 0, (0,), frame)])
    writer.flush()
    assert stored(tmp_path / "a")[:, 0, 0].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="only appends, and has ended"):
        writer.write([ow.Block((2,), 0, (2,), frame)])
    assert writer.read(0, (slice(None), 0, 0)).tolist() == [0, 1, 0]
    assert int(writer.read(0, (-2, 0, 4))) == 1
    writer.close([])


# ── documents while it runs, and after it ────────────────────────────────────────────────────────────────────────────


def test_documents_can_be_replaced_while_it_runs_and_long_after(tmp_path: Path) -> None:
    plan, writer = plan_of({"t": 6, "y": 6, "x": 5}, chunks={"t": 2}), AcquireZarrWriter()
    run = begun(writer, tmp_path / "a", plan)
    assert stored(tmp_path / "a").shape == (6, 6, 5)
    for number in range(3):
        run.take(frame_pixels(number, (6, 5), "uint16"))
        writer.flush([ow.Document("", "group", {"at": number})])
        assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"at": number}
    run.take(frame_pixels(3, (6, 5), "uint16"))
    run.close()
    stood = files(tmp_path / "a")
    later = AcquireZarrWriter()
    later.open(str(tmp_path / "a"), plan, [FINAL], attach=True)
    assert files(tmp_path / "a") == stood
    later.close([FINAL])
    changed = files(tmp_path / "a")
    assert {key for key in changed if changed[key] != stood[key]} == {"zarr.json"}
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "complete"}
    with pytest.raises(FileNotFoundError):
        later.open(str(tmp_path / "b"), plan, [], attach=True)


def test_what_stands_at_the_root_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    run_through(AcquireZarrWriter(), tmp_path / "a", plan_of({"t": 2, "y": 6, "x": 5}), frames_of(2))
    stood = files(tmp_path)
    with pytest.raises(FileExistsError, match="a exists"):
        AcquireZarrWriter().open(str(tmp_path / "a"), plan_of({"t": 2, "y": 6, "x": 5}), [])
    assert files(tmp_path) == stood


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_in_the_middle_is_told_and_the_documents_say_so(tmp_path: Path) -> None:
    run = begun(AcquireZarrWriter(), tmp_path / "a", plan_of({"t": 500, "y": 6, "x": 5}))
    (tmp_path / "a" / "0" / "c").write_text("in the way")
    # The first frame is taken, and fails when the engine comes to it.
    run.take(np.ones((6, 5), "uint16"))
    with pytest.raises(ow.WriteError, match=r"^frame \d+, or one before it: "):
        for _ in range(499):
            sleep(0.01)
            run.take(np.ones((6, 5), "uint16"))
    with pytest.raises(ow.WriteError):
        run.close()
    assert '"verdict": "failed"' in (tmp_path / "a" / "zarr.json").read_text("utf-8")


def test_an_error_at_the_end_is_told_and_the_documents_say_so(tmp_path: Path) -> None:
    run = begun(AcquireZarrWriter(), tmp_path / "a", plan_of({"t": 4, "y": 6, "x": 5}, shards={"t": 4}))
    (tmp_path / "a" / "0" / "c").write_text("in the way")
    run.take(np.ones((6, 5), "uint16"))
    with pytest.raises(ow.WriteError, match="not all frames could be stored"):
        run.close()
    assert '"verdict": "failed"' in (tmp_path / "a" / "zarr.json").read_text("utf-8")


def test_an_error_that_only_closing_finds_leaves_the_documents_of_before(tmp_path: Path) -> None:
    plan, writer = plan_of({"t": 4, "y": 6, "x": 5}, shards={"t": 4}), AcquireZarrWriter()
    writer.open(str(tmp_path / "a"), plan, [ow.Document("", "group", {"said": "running"})])
    (tmp_path / "a" / "0" / "c").write_text("in the way")
    writer.write([ow.Block((0,), 0, (0,), np.ones((1, 6, 5), "uint16"))])
    with pytest.raises(ow.WriteError, match="not all frames could be stored"):
        writer.close([FINAL])
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "running"}
    writer.abort()


def test_aborting_never_raises_and_keeps_what_came(tmp_path: Path) -> None:
    AcquireZarrWriter().abort()
    writer = AcquireZarrWriter()
    run = begun(writer, tmp_path / "a", plan_of({"t": 3, "y": 6, "x": 5}))
    run.take(frame_pixels(0, (6, 5), "uint16"))
    run.abort()
    writer.abort()
    np.testing.assert_array_equal(stored(tmp_path / "a")[0], frame_pixels(0, (6, 5), "uint16"))
    assert '"verdict": "running"' in (tmp_path / "a" / "zarr.json").read_text("utf-8")


class Stuck:
    """What acquire-zarr may become when the disk fails: its `close` goes on for long, or does not return."""

    def __init__(self, folder: Path, files: int) -> None:
        self.folder, self.files = folder, files
        self.released, self.ended = Event(), Event()

    def append(self, _frame: object, _key: str) -> None:
        raise RuntimeError("no space left")

    def close(self) -> None:
        for number in range(self.files):
            (self.folder / f"{number}").touch()
            sleep(0.05)
        if not self.files:
            self.released.wait()
        (self.folder / "zarr.json").write_text("its own")
        self.ended.set()


def with_stuck(root: Path, files: int) -> tuple[AcquireZarrWriter, Stuck]:
    """Return a writer whose engine gets stuck: the true one does now and then only, when a disk is full."""
    plan, writer = plan_of({"t": 3, "y": 6, "x": 5}), AcquireZarrWriter(patience=1)
    writer.open(str(root), plan, [ow.Document("", "group", {"said": "running"})])
    writer.flush()
    stuck: Any = Stuck(root, files)
    writer._stream = stuck  # noqa: SLF001
    return writer, stuck


def said(root: Path) -> object:
    return dict(zarr.open_group(root, mode="r").attrs)["said"]


def test_an_engine_that_stores_things_is_waited_for(tmp_path: Path) -> None:
    writer, _ = with_stuck(tmp_path / "a", 40)
    writer.close([FINAL])
    assert (tmp_path / "a" / "39").exists()
    assert said(tmp_path / "a") == "complete"


@pytest.mark.parametrize("files", [0, 60])
def test_an_engine_that_does_not_end_is_left_alone(tmp_path: Path, files: int) -> None:
    writer, stuck = with_stuck(tmp_path / "a", files)
    if files:
        # After a failure that has been told it may not even go on for long.
        with pytest.raises(ow.WriteError, match="no space left"):
            writer.write([ow.Block((0,), 0, (0,), np.ones((1, 6, 5), "uint16"))])
        writer.close([FINAL])
    else:
        with pytest.raises(ow.WriteError, match="does not end, after 1 s"):
            writer.close([FINAL])
    before = said(tmp_path / "a")
    assert before == ("complete" if files else "running")
    # When it ends nevertheless, its documents do not stay.
    stuck.released.set()
    assert stuck.ended.wait(60)
    for _ in range(1000):
        if (tmp_path / "a" / "zarr.json").read_text("utf-8") != "its own":
            break
        sleep(0.01)
    assert said(tmp_path / "a") == before


def test_a_process_that_forgets_to_close_ends(tmp_path: Path) -> None:
    code = f"""
import numpy as np
import ome_writers as ow
dims = ow.dims_from_standard_axes({{"t": None, "p": 3, "y": 6, "x": 5}})
settings = ow.AcquisitionSettings(root_path={str(tmp_path / "a.zarr")!r}, dtype="uint8", dimensions=dims)
stream = ow.create_stream(settings, "acquire-zarr")
for _ in range(7):
    stream.append(np.ones((6, 5), "uint8"))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    found = [stored(tmp_path / "a.zarr", f"{position}/0").sum() for position in range(3)]
    assert found == [90, 60, 60]
