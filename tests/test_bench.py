"""`ome-writers bench`: who takes part, what is measured, what it leaves behind, and what happens when one fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from attrs import evolve

from ome_writers import PlanError, SettingsError
from ome_writers.bench import race, worker
from ome_writers.bench.contenders import FLOOR, Contender, contenders, dimensions_from, variants
from ome_writers.bench.pictures import pictures
from ome_writers.bench.process import forget_peak, open_files, peak_memory
from ome_writers.bench.results import Comparison, Measured, Result, summary
from ome_writers.bench.worker import Job
from ome_writers.cli.app import run
from ome_writers.serial import dumps, settings_from
from ome_writers.writer import WRITERS, Entry

SMALL = "t:6:1:3,y:32:16:2,x:24"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def described(text: str = SMALL, **more: Any) -> Any:
    return settings_from({"root_path": "a.ome.zarr", "dtype": "uint16", "dimensions": dimensions_from(text), **more})


# ── the notation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_notation_names_count_chunk_and_shard() -> None:
    assert dimensions_from(" t:9:1:3, y:64::2,x") == [
        {"name": "t", "count": 9, "chunk_size": 1, "shard_size_chunks": 3},
        {"name": "y", "count": 64, "shard_size_chunks": 2},
        {"name": "x"},
    ]


@pytest.mark.parametrize(
    ("text", "shards", "said"),
    [
        ("t:9,:64", "", ["dimensions.1: must be name:count:chunk:shard; got ':64'"]),
        ("t:9,,x:4:4:4:4", "", ["dimensions.1: ", "dimensions.2: "]),
        ("t:9,y:8,x:8", "z:2", ["shard.z: names no dimension; they are t, y, x"]),
        ("t:9:1:3,y:8,x:8", "t:3", ["shard.t: the dimensions say it, too"]),
    ],
)
def test_notation_says_what_is_wrong_and_where(text: str, shards: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        dimensions_from(text, shards)
    assert len(caught.value.problems) == len(said)
    for problem, begin in zip(caught.value.problems, said, strict=True):
        assert str(problem).startswith(begin)


def test_what_is_no_number_is_refused_where_it_stands(ask: Any) -> None:
    code, said, complained = ask("bench", "-d", "t:ten,y:8:0,x:8")
    assert (code, said) == (1, "")
    assert "  dimensions.0.count: must be a whole number; got 'ten'" in complained
    assert "  dimensions.1.chunk_size: must be at least 1; got 0" in complained


# ── who takes part ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_writer_that_stores_on_disk_takes_part_by_itself() -> None:
    ready, impossible = variants(described("t:2,y:8,x:8"), ["ome-zarr", "ome-tiff"])
    able, unable = contenders(ready)
    assert not impossible
    assert not unable
    lasting = {name: entry.formats for name, entry in WRITERS.items() if name not in {"memory", "scratch"}}
    assert sorted(one.name for one in able) == sorted(f"{w}, {f}" for w, formats in lasting.items() for f in formats)


def test_who_cannot_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WRITERS, "absent", Entry("nowhere:Absent", ("ome-zarr",), "no_such_library", "absent"))
    ready, impossible = variants(described("t,y:8,x:8"), ["ome-zarr", "ome-tiff"], compression="blosc-lz4")
    able, unable = contenders(ready, ["tensorstore", "absent", "tifffile"])
    assert [one.name for one in able] == ["tensorstore, ome-zarr"]
    assert [one.name for one in impossible] == ["ome-tiff"]
    assert "compression" in impossible[0].reason
    assert [one.name for one in unable] == ["absent, ome-zarr", "tifffile"]
    assert "pip install 'ome-writers[absent]'" in unable[0].reason
    assert "tifffile writes ome-tiff" in unable[1].reason
    buffered, _ = variants(described(), buffer_bytes=10**6)
    assert [(one.buffer_bytes, one.compression) for one in buffered] == [(10**6, None)]
    with pytest.raises(PlanError, match="typewriter"):
        contenders(ready, ["typewriter"])
    with pytest.raises(SettingsError, match="compression"):
        variants(described(), ["ome-tiff"], compression="blosc-lz4")


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bench_measures_prints_saves_draws_and_leaves_nothing_else(ask: Any) -> None:
    code, said, complained = ask(
        "bench", "-d", SMALL, "--shard", "x:1", "--repeats", 2, "--folder", ".", "--compression", "zstd",
        "--writers", "tensorstore,tifffile", "--json", "b.json", "--plot", "b.png",
    )  # fmt: skip
    assert (code, complained) == (0, "")
    saved = json.loads(Path("b.json").read_text())
    assert (saved["frames"], saved["shape"], saved["dtype"], saved["refused"]) == (6, [32, 24], "uint16", [])
    names = ["plain writes to one file", "tensorstore, ome-zarr", "tifffile, ome-tiff"]
    assert [one["name"] for one in saved["contenders"]] == names
    for one in saved["contenders"]:
        assert one["name"] in said
        assert one["error"] is None
        assert len(one["rounds"]) == 2
        for took in one["rounds"]:
            assert took["seconds"] == took["create"] + took["append"] + took["close"] > 0
            assert 0 < took["p50"] <= took["p99"] <= took["worst"] <= took["append"]
    floor, zarr_, tiff = (one["summary"] for one in saved["contenders"])
    pixels = 6 * 32 * 24 * 2
    assert (floor["files"], floor["stored"], floor["ratio"]["median"]) == (1, pixels, 1)
    assert floor["synced"]["median"] < floor["rate"]["median"]
    assert zarr_["files"] == 2 + 2  # two shards, two documents
    assert tiff["files"] == 1
    assert zarr_["ratio"]["least"] <= zarr_["ratio"]["median"] <= zarr_["ratio"]["most"]
    assert Path("b.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path().iterdir()) == ["b.json", "b.png"]


def test_a_settings_file_says_what_to_write_and_frames_where_to_end(ask: Any) -> None:
    Path("s.json").write_text(dumps(described("t,y:16,x:16")), "utf-8")
    code, said, _ = ask("bench", "s.json", "--frames", 5, "--writers", "tensorstore", "--repeats", 1, "--folder", ".")
    assert code == 0
    assert said.startswith("5 frames of 16 × 16 uint16, 2.6 kB")
    code, _, complained = ask("bench", "s.json")
    assert (code, "dimensions.0.count: must be known here" in complained) == (1, True)
    code, _, complained = ask("bench", "s.json", "-d", SMALL, "--dtype", "uint8")
    assert code == 1
    assert "dimensions: is what s.json says" in complained
    assert "dtype: is what s.json says" in complained
    assert [path.name for path in Path().iterdir()] == ["s.json"]


def test_overhead_is_measured_without_a_disk(ask: Any) -> None:
    code, said, _ = ask("bench", "--overhead", "--frames", 1000, "--json", "b.json")
    assert code == 0
    figures = {figure["what"]: figure for figure in json.loads(Path("b.json").read_text())}
    assert figures["stream.append, a frame"]["goal"] == 3
    assert all(figure["value"] > 0 for figure in figures.values())
    assert all(name in said for name in figures)


# ── when something goes wrong ────────────────────────────────────────────────────────────────────────────────────────


def test_one_that_fails_is_reported_and_the_others_go_on() -> None:
    unfit = Contender("a writer of another format", "tifffile", described("t:4,y:8,x:8"))
    able, _ = contenders([described("t:4,y:8,x:8")], ["tensorstore"])
    compared = race.compare([unfit, *able], folder=Path(), rounds=2)
    floor, failed, well = compared.results
    assert compared.failed
    assert (failed.rounds, failed.error) == ((), "PlanError: format: tifffile writes ome-tiff; got 'ome-zarr'")
    assert (len(floor.rounds), len(well.rounds), floor.error, well.error) == (2, 2, None, None)
    assert list(Path().iterdir()) == []


def test_a_failure_shows_in_the_table_and_the_exit_code(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "_START", "import sys; path={path!r}; sys.stderr.write('out of luck'); sys.exit(7)")
    code, said, _ = ask("bench", "-d", SMALL, "--writers", "tensorstore", "--folder", ".")
    assert code == 1
    assert "tensorstore, ome-zarr failed: its process ended with code 7: out of luck" in said
    assert "plain writes to one file failed" in said


def test_without_room_nothing_is_written(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9000))
    code, said, complained = ask("bench", "-d", "t:6,y:32,x:24", "--folder", ".", "--writers", "tensorstore")
    assert (code, said) == (1, "")
    assert "a round takes 0.00 GB, and 0.00 GB are free here; choose another folder, or fewer frames" in complained
    assert list(Path().iterdir()) == []


def test_places_for_results_are_looked_at_first(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, complained = ask("bench", "--json", "nowhere/b.json")
    assert (code, "there is no folder nowhere" in complained) == (1, True)
    monkeypatch.setattr("ome_writers.cli.bench.find_spec", lambda _: None)
    code, _, complained = ask("bench", "--plot", "b.png")
    assert (code, "pip install 'ome-writers[plot]'" in complained) == (1, True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a single process")
def test_ctrl_c_removes_what_was_written() -> None:
    code = f"import sys; sys.path[:] = {sys.path!r}; from ome_writers.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", "-d", "t:100000,y:16,x:16", "--writers", "zarr-python"]
    program = subprocess.Popen([*command, "--folder", "."], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(Path().glob("ome-writers-bench-*/*/data/bench.ome.zarr/0/c/9")):
            assert program.poll() is None, program.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        _, complained = program.communicate(timeout=60)
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 1
    assert "interrupted" in complained
    assert list(Path().iterdir()) == []


# ── a worker, and what it says ───────────────────────────────────────────────────────────────────────────────────────


def job(settings: Any, count: int) -> tuple[Job, np.ndarray]:
    few = np.random.default_rng(1).integers(0, 99, (3, 8, 8), "uint16")
    np.save("few.npy", few)
    Path("data").mkdir()
    writer = "tensorstore" if settings else None
    said = settings and dumps(settings)
    return Job(writer=writer, settings=said, frames=count, pictures="few.npy", folder="data"), few


def test_a_worker_writes_the_frames_in_turn() -> None:
    asked, few = job(evolve(described("t:7,y:8,x:8"), root_path="a.ome.zarr"), 5)
    took = worker.measure(asked)
    stored = zarr.open_group("data/a.ome.zarr", mode="r")["0"][:]
    assert np.array_equal(stored, few[[0, 1, 2, 0, 1]])  # stopped after five of seven
    assert (took.files, took.synced) == (2 + 5, None)
    assert took.clock < took.p50


def test_the_floor_writes_the_same_bytes_to_one_file() -> None:
    asked, few = job(None, 5)
    took = worker.measure(asked)
    assert np.array_equal(np.fromfile("data/frames.raw", "uint16").reshape(5, 8, 8), few[[0, 1, 2, 0, 1]])
    assert (took.files, took.stored) == (1, 5 * 8 * 8 * 2)
    assert took.synced is not None


def test_a_worker_tells_its_error() -> None:
    asked = {"writer": None, "settings": None, "frames": 1, "pictures": "no", "folder": ""}
    Path("job.json").write_text(json.dumps(asked), "utf-8")
    assert worker.main("job.json") == 1
    assert json.loads(Path("result.json").read_text())["error"].startswith("FileNotFoundError: ")


def test_memory_and_open_files_are_seen() -> None:
    forget_peak()
    before, files = peak_memory(), open_files()
    if before is None or files is None:
        pytest.skip("this system does not tell")
    block = np.ones(64_000_000, "uint8")
    with Path("a").open("wb"), Path("b").open("wb"):
        assert open_files() == files + 2
    after = peak_memory()
    assert after is not None
    assert after - before > 50_000_000
    assert block[-1] == 1


def measured(seconds: float, **more: Any) -> Measured:
    base = dict.fromkeys(("p50", "p99", "worst", "clock", "create"), 0.0)
    sizes = {"libraries": None, "memory": None, "files": 1, "stored": 1, "descriptors": None}
    return Measured(**{**base, **sizes, "append": seconds / 2, "close": seconds / 2, **more})


def test_rounds_are_compared_with_the_floor_of_the_same_round() -> None:
    floor = Result(FLOOR, (measured(1.0, synced=1.0), measured(4.0, synced=4.0), measured(2.0, synced=2.0)))
    other = Result(Contender("a", "a"), (measured(2.0, memory=3), measured(4.0, memory=5), measured(2.5)))
    summed = summary(other, floor, 100)
    assert summed is not None
    assert (summed.ratio.median, summed.ratio.least, summed.ratio.most) == (0.8, 0.5, 1.0)
    assert (summed.rate.median, summed.rate.least, summed.rate.most) == (40, 25, 50)
    assert (summed.memory, summed.libraries, summed.synced) == (5, None, None)
    own = summary(floor, floor, 100)
    assert (own.synced.median, own.synced.most) == (25, 50)
    assert summary(Result(FLOOR, (), "broke"), floor, 100) is None


def test_who_begins_changes_from_round_to_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(race, "_asked", lambda one, *_: order.append(one.name) or measured(1.0))
    able, _ = contenders([described()], ["tensorstore", "zarr-python"])
    compared = race.compare(able, folder=Path(), rounds=3)
    a, b, c = (result.contender.name for result in compared.results)
    assert order == [a, b, c, b, c, a, c, a, b]
    assert isinstance(compared, Comparison)


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "uint16", "float32"])
def test_pictures_are_distinct_and_fit_the_dtype(dtype: str) -> None:
    few = pictures((24, 40), dtype)
    assert (few.shape, few.dtype) == ((8, 24, 40), np.dtype(dtype))
    assert len({frame.tobytes() for frame in few}) == 8
    assert np.array_equal(few, pictures((24, 40), dtype))


def test_large_pictures_are_put_together_of_fields_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ome_writers.bench.pictures._FIELD", 16)
    few = pictures((64, 72), "uint16")
    fields = {few[0, y : y + 16, x : x + 16].tobytes() for y in range(0, 64, 16) for x in range(0, 64, 16)}
    assert len(fields) == 16
    assert few.min() >= 90  # every place is filled
