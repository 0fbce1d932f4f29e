"""Datasets whose pixels another program writes: one in C, which reads the table and never heard of zarr or TIFF."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import lxml.etree
import numpy as np
import ome_types
import pytest
import tensorstore
import yaozarrs
from attrs import evolve, field, frozen

import ome_writers as ow
from ome_writers import growth
from ome_writers.cli.app import run
from ome_writers.testing.readers import read_tiff, read_zarr
from ome_writers.testing.tiffs import tiff_description

XSD = lxml.etree.XMLSchema(lxml.etree.parse(Path(ome_types.__file__).parent / "ome-2016-06.xsd"))
Place = Callable[..., None]


@frozen
class Case:
    """An acquisition for another program to write."""

    sizes: dict[str, int | None]
    """In order of acquisition; `p` is the positions, `t` may have no end."""
    name: str = "cells.ome.zarr"
    frame: tuple[int, int] = (6, 10)
    dtype: str = "uint16"
    chunks: dict[str, int] = field(factory=dict)
    shards: dict[str, int] = field(factory=dict)
    single: str = "auto"
    frames: int | None = None
    """For how many frames there shall be room, if there is no end."""

    def plan(self, folder: Path) -> ow.Plan:
        def dimension(name: str, size: int | None) -> ow.Dimension:
            if name == "p":
                return ow.Dimension(name=name, coords=[f"place {number}" for number in range(size or 0)])
            chunk, shard = self.chunks.get(name), self.shards.get(name)
            return ow.Dimension(name=name, count=size, chunk_size=chunk, shard_size_chunks=shard)

        dims = [dimension(*one) for one in [*self.sizes.items(), *zip("yx", self.frame, strict=True)]]
        format_ = {"format": ow.OmeTiffFormat(prefer_single_file=self.single)} if "tiff" in self.name else {}
        given = {"root_path": str(folder / self.name), "dtype": self.dtype, "dimensions": dims, **format_}
        return ow.compile(ow.AcquisitionSettings(**given))

    def pixels(self) -> np.ndarray:
        """Return the frames in order of arrival; no pixel is 0, but for those of `bool`."""
        count = self.frames or int(np.prod([size for size in self.sizes.values() if size]))
        numbers = np.random.default_rng(0).integers(1, 250, (count, *self.frame))
        return (numbers % 3 == 0 if self.dtype == "bool" else numbers).astype(self.dtype)

    def stored(self, frames: np.ndarray, came: set[int], stop: int) -> list[np.ndarray]:
        """Return what is to be found in each image once the first `stop` places were gone through, by plain loops."""
        loops = {name: size or -(-len(frames) // self.inner) for name, size in self.sizes.items()}
        axes = [name for name in "tcz" if name in loops]
        shape = (*(loops[name] for name in axes), *self.frame)
        images = [np.zeros(shape, self.dtype) for _ in range(loops.get("p", 1))]
        rounds = [0] * len(images)
        for number, index in enumerate(itertools.product(*map(range, loops.values()))):
            at = dict(zip(loops, index, strict=True))
            if number < stop:
                rounds[at.get("p", 0)] = max(rounds[at.get("p", 0)], at["t"] + 1)
            if number in came:
                images[at.get("p", 0)][tuple(at[name] for name in axes)] = frames[number]
        return [image[: max(1, ended)] for image, ended in zip(images, rounds, strict=True)]

    @property
    def inner(self) -> int:
        return int(np.prod([size for name, size in self.sizes.items() if name != "t"]))


CASES = {
    "sharded": Case({"t": 6, "c": 2}, shards={"t": 4}),
    "sharded, tiles": Case(
        {"t": 3, "z": 2}, frame=(20, 30), chunks={"y": 16, "x": 16}, shards={"t": 2, "y": 2, "x": 2}
    ),
    "a frame in several shards": Case(
        {"t": 3}, frame=(40, 30), chunks={"y": 8, "x": 8}, shards={"t": 2, "y": 2, "x": 4}
    ),
    "chunks of several frames": Case({"t": 5, "c": 2}, chunks={"t": 3, "y": 4, "x": 4}, dtype="float32"),
    "sharded, chunks of several frames": Case({"t": 7}, chunks={"t": 2, "x": 4}, shards={"t": 2, "y": 1, "x": 3}),
    "a file a frame": Case({"c": 2, "t": 3}, frame=(6, 10), dtype="uint8"),
    "positions": Case({"t": 3, "p": 2, "z": 2}, shards={"t": 3, "z": 2}),
    "without end": Case({"t": None, "c": 2}, shards={"t": 4}, frames=9),
    "one TIFF": Case({"t": 3, "c": 2}, name="cells.ome.tiff"),
    "one TIFF, packed": Case({"t": 3}, name="cells.ome.tiff", dtype="bool"),
    "one TIFF for all": Case({"t": 2, "p": 2, "z": 2}, name="cells.ome.tiff", single="always"),
    "a set of TIFFs": Case({"t": 2, "p": 3, "z": 2}, name="cells.ome.tiff", frame=(7, 9)),
    "a set of TIFFs, of one row": Case({"t": 2, "p": 2}, name="cells.ome.tiff", frame=(1, 9)),
    "TIFF without end": Case({"t": None, "c": 2}, name="cells.ome.tiff", frames=9),
}
ENDED = "sharded", "sharded, tiles", "positions", "one TIFF", "a set of TIFFs", "one TIFF for all", "without end"


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an axis without end announced in steps of few frames, so that nine of them need several."""
    monkeypatch.setattr(growth, "STEP_BYTES", 240)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler: none of cc, gcc, clang is on the path")
    made = tmp_path_factory.mktemp("program") / "place_frames"
    source = Path(__file__).parent / "data" / "place_frames.c"
    subprocess.run([compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True)
    return made


@pytest.fixture
def place(program: Path, tmp_path: Path) -> Place:
    """Have the C program write frames `first` to `stop` of those that there are."""

    def call(made: Any, frames: np.ndarray, first: int = 0, stop: int | None = None) -> None:
        said = json.loads(made.places.read_text())
        lines = []
        for array in said["arrays"]:
            cut = [*array["parts"], *array["tiles"], *array["tile"], int(array["padded"]), int(array["packed"])]
            lines.append(" ".join(map(str, [*array["shape"][-2:], np.dtype(array["dtype"]).itemsize, *cut])))
        files, arrays, raw = (tmp_path / name for name in ("files.txt", "arrays.txt", "frames.raw"))
        files.write_text("".join(f"{made.places.parent / file['path']}\n" for file in said["files"]))
        arrays.write_text("\n".join(lines) + "\n")
        raw.write_bytes(frames.tobytes())
        called = [program, made.table, files, arrays, raw, str(first), str(len(frames) if stop is None else stop)]
        subprocess.run(called, check=True)

    return call


def found(plan: ow.Plan) -> list[np.ndarray]:
    """Return what other people's libraries read, once it is known to be a valid dataset."""
    root = plan.settings.output_path
    read: list[np.ndarray] = []
    if plan.settings.format.name == "ome-zarr":
        yaozarrs.validate_zarr_store(root)
        for spec in plan.layout.arrays:
            read.append(read_zarr(None, root, spec))
            kvstore = {"driver": "file", "path": str(Path(root, spec.path))}
            other = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result().read().result()
            np.testing.assert_array_equal(other, read[-1])
        return read
    for name in plan.layout.files:
        XSD.assertValid(lxml.etree.fromstring(tiff_description(Path(root, name)).encode()))
    for spec in plan.layout.arrays:
        image = read_tiff(None, root, spec)
        assert image is not None
        read.append(image)
    return read


def verdict(plan: ow.Plan) -> tuple[str, int]:
    """Return what the documents on disk say of the run."""
    root = Path(plan.settings.output_path)
    if plan.settings.format.name == "ome-zarr":
        facts = json.loads((root / "zarr.json").read_text())["attributes"]["ome_writers"]
        return facts["verdict"], facts["frames"]
    text = tiff_description(root / plan.layout.files[0])
    facts = {item.attrib["K"]: item.text for item in ET.fromstring(text).iter() if item.tag.endswith("}M")}  # noqa: S314
    return str(facts["verdict"]), int(facts["frames"] or -1)


def sizes(plan: ow.Plan) -> dict[str, int]:
    root = Path(plan.settings.output_path)
    return {str(path): path.stat().st_size for path in sorted([root, *root.rglob("*")]) if path.is_file()}


def same(read: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(read) == len(expected)
    for image, planned in zip(read, expected, strict=True):
        assert image.dtype == planned.dtype
        # tifffile leaves out axes of length 1, and has them in an order of its own.
        np.testing.assert_array_equal(image.reshape(planned.shape), planned)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_program_that_knows_nothing_of_formats_writes_the_pixels(case: Case, place: Place, tmp_path: Path) -> None:
    plan, frames = case.plan(tmp_path), case.pixels()
    made = ow.prepare(plan, frames=case.frames)
    head, table = made.table.read_bytes(), ow.place(plan).rows(0, len(frames))
    assert head.endswith(table.tobytes())
    assert table.itemsize == 52, "as the help, the README and the C program say"
    assert not any(image.any() for image in found(plan)), "reads as zeros before the first frame"
    assert verdict(plan) == ("running", 0)
    before = sizes(plan)
    place(made, frames)
    assert sizes(plan) == before, "every file was there, at full length"
    expected = case.stored(frames, set(range(len(frames))), len(frames))
    # An axis without end is said to be longer than what came of it.
    so_far = [image.reshape(-1, *all_.shape[1:]) for image, all_ in zip(found(plan), expected, strict=True)]
    same([image[: len(all_)] for image, all_ in zip(so_far, expected, strict=True)], expected)
    outcome = ow.finish(plan.settings.output_path, frames=case.frames)
    assert (outcome.verdict, outcome.frames) == ("complete", len(frames)) == verdict(plan)
    same(found(plan), expected)


@pytest.mark.parametrize("name", [*ENDED, "TIFF without end"])
def test_an_early_end_with_frames_that_did_not_come(name: str, place: Place, tmp_path: Path) -> None:
    case = CASES[name]
    plan, frames = case.plan(tmp_path), case.pixels()
    made = ow.prepare(plan, frames=case.frames)
    stop = min(5, len(frames) - 2)
    place(made, frames, 0, 2)
    place(made, frames, 3, stop)
    root = plan.settings.output_path
    expected = case.stored(frames, {*range(stop)} - {2}, stop)
    for _ in range(2):  # once more is harmless
        outcome = ow.finish(root, frames=stop, missing=[2])
        assert outcome.missing.tolist() == [2]
        assert verdict(plan) == ("stopped" if plan.frames else "complete", stop - 1)
        same(found(plan), expected)
    before = sizes(plan)
    assert ow.finish(root).missing.tolist() == [2], "as it was told before"
    assert sizes(plan) == before
    same(found(plan), expected)


def test_dates_and_uuids_are_those_of_the_beginning(tmp_path: Path) -> None:
    plan = CASES["a set of TIFFs"].plan(tmp_path)
    ow.prepare(plan)

    def identity() -> list[tuple[str, list[str]]]:
        texts = [tiff_description(Path(plan.settings.output_path, name)) for name in plan.layout.files]
        roots = [ET.fromstring(text) for text in texts]  # noqa: S314 - our own
        return [
            (root.attrib["UUID"], [str(date.text) for date in root.findall(".//{*}AcquisitionDate")]) for root in roots
        ]

    before = identity()
    assert len({uuid for uuid, _ in before}) == 3
    ow.finish(plan.settings.output_path)
    assert [uuid for uuid, _ in identity()] == [uuid for uuid, _ in before]
    assert (
        {date for _, dates in identity() for date in dates} == {date for _, dates in before for date in dates} != set()
    )


def test_a_dataset_may_move_with_the_files_beside_it(place: Place, tmp_path: Path) -> None:
    case = CASES["sharded"]
    plan, frames = case.plan(tmp_path), case.pixels()
    place(ow.prepare(plan), frames)
    there = tmp_path / "elsewhere"
    there.mkdir()
    for path in [*tmp_path.glob("cells.ome.zarr*")]:
        path.rename(there / path.name.replace("cells", "moved"))
    ow.finish(there / "moved.ome.zarr", remove=True)
    assert [path.name for path in there.iterdir()] == ["moved.ome.zarr"]
    moved = evolve(case, name="moved.ome.zarr").plan(there)
    same(found(moved), case.stored(frames, set(range(len(frames))), len(frames)))


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def refused(path: Path | str, **said: Any) -> str:
    with pytest.raises(ow.PlanError) as caught:
        ow.finish(path, **said)
    return str(caught.value)


def test_what_finish_refuses_changes_nothing(tmp_path: Path) -> None:
    plan = CASES["sharded"].plan(tmp_path)
    root = Path(plan.settings.output_path)
    with pytest.raises(FileNotFoundError, match=r"was not prepared, or not here: there is no .*cells\.ome\.zarr"):
        ow.finish(root)
    made = ow.prepare(plan)
    before = {path: Path(path).read_bytes() for path in [*sizes(plan), str(made.places)]}
    assert refused(root, frames=13) == "frames: must be from 0 to 12, as prepared; got 13"
    assert refused(root, frames=5, missing=[4, 5]) == "missing: must be numbers of frames that were to come; got 5"
    places = made.places.read_text()
    for old, new, where in [
        ('"ome_writers_placement": 1', '"ome_writers_placement": 2', "ome_writers_placement"),
        ('"padded": true', '"padded": false', "arrays.0.padded"),
        ('"frames": 12', '"frames": "x"', "frames"),
        ('"now": "2', '"now": "x', "stamp"),
        ('"size"', '"seize"', "files.0"),
        ('"finished": null', '"finished": {}', "finished"),
        ('"finished": null', '"finished": {"frames": 9, "missing": [[3, 2]]}', "finished"),
        ("{\n", "", ""),
    ]:
        assert old in places
        made.places.write_text(places.replace(old, new, 1))
        assert refused(root).startswith(f"{made.places}.{where}: " if where else f"{made.places}: is no list")
    made.places.write_text(places)
    assert {path: Path(path).read_bytes() for path in before} == before
    shard = root / "0" / "c" / "1" / "0" / "0" / "0"
    os.truncate(shard, 7)
    assert refused(root).startswith(f"{made.places}.files.2: ")
    shard.unlink()
    assert "is missing; it was made with " in refused(root)
    assert verdict(plan) == ("running", 0)


def test_what_was_cut_off_does_not_come_back(tmp_path: Path) -> None:
    plan = CASES["one TIFF"].plan(tmp_path)
    root = plan.settings.output_path
    ow.prepare(plan)
    ow.finish(root, frames=3)
    assert refused(root, frames=5) == "frames: was finished with 3, and what lay beyond was cut off; got 5"
    assert ow.finish(root, frames=4).frames == 4, "as long as no more than the same rounds"
    assert ow.finish(root, frames=1).frames == 1
    assert verdict(plan) == ("stopped", 1)


def test_what_prepare_refuses_makes_nothing(tmp_path: Path) -> None:
    endless, sharded = CASES["without end"].plan(tmp_path), CASES["sharded"].plan(tmp_path)
    compressed = ow.compile(evolve(sharded.settings, compression="zstd"))
    for plan, said, problem in [
        (endless, {}, "frames: the plan has no end: say for how many frames there shall be room"),
        (endless, {"frames": 0}, "frames: must be at least 1; got 0"),
        (sharded, {"frames": 3}, "frames: the plan has 12 frames, and room is made for all; got 3"),
        (sharded, {"table": "a.txt"}, "table: a table ends in .npy or .csv; got 'a.txt'"),
        (compressed, {}, "compression: compressed pixels have no place before they come; got 'zstd'"),
    ]:
        with pytest.raises(ow.PlanError) as caught:
            ow.prepare(plan, **said)
        assert str(caught.value) == problem
        assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        ow.prepare(sharded, table=tmp_path / "nowhere" / "a.npy")
    assert not list(tmp_path.iterdir())
    ow.prepare(sharded)
    with pytest.raises(FileExistsError):
        ow.prepare(sharded)


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_commands(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["one TIFF"]
    plan, frames = case.plan(tmp_path), case.pixels()
    settings = tmp_path / "cells.json"
    ow.dump(evolve(plan.settings, root_path="cells.ome.zarr", format="ome-zarr"), settings)
    root, table = str(tmp_path / "cells.ome.tiff"), str(tmp_path / "places.csv")
    assert run(["prepare", str(settings), "--to", root]) == 0
    assert run(["prepare", str(settings), "--to", root, "--table", table]) == 1
    assert "exists" in capsys.readouterr().err
    assert run(["prepare", str(settings), "--to", root, "--table", table, "--overwrite"]) == 0
    names, *rows = csv.reader(Path(table).read_text().splitlines())
    planned = ow.place(ow.load_plan(f"{root}.plan.npz")).rows()
    assert not Path(f"{root}.placement.npy").exists(), "the table of the dataset that stood there before"
    assert tuple(names) == planned.dtype.names
    assert [tuple(map(int, row)) for row in rows] == planned.tolist()
    assert run(["prepare", str(settings), "--to", root, "--overwrite"]) == 0
    capsys.readouterr()
    made = ow.prepare(ow.compile(evolve(plan.settings, overwrite=True)))
    place(made, frames, 0, 3)
    assert run(["finish", root, "--frames", "5", "--missing", "1-2,4"]) == 0
    assert "stopped, 2 frames, 3 missing" in capsys.readouterr().out
    assert run(["finish", root, "--missing", "1-"]) == 1
    assert "must be numbers and ranges, such as 3-5,9; got '1-'" in capsys.readouterr().err
    assert run(["finish", root, "--remove-table"]) == 0
    assert sorted(path.name for path in tmp_path.glob("cells*")) == ["cells.json", "cells.ome.tiff"]
    assert run(["finish", root]) == 1
    assert "was not prepared, or not here" in capsys.readouterr().err
