"""Data sets for other people's readers: what was asked for, what came, and where it lies.

Sizes, scales, units, colours and places all differ, and the pixels of a frame tell its number, so that no mix-up goes
unseen. What is expected comes from nested loops over the dimensions.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import define, evolve, field, frozen

import ome_writers as ow

HEIGHT, WIDTH = 6, 10
SCALES = {"t": 2.5, "z": 1.5, "y": 0.65, "x": 0.325}
COUNTS = {"t": 2, "c": 2, "z": 3}
CHANNELS = (
    ow.Channel(name="DAPI nuclei", color="#0000FF", excitation_wavelength_nm=405, emission_wavelength_nm=461.5),
    ow.Channel(name="µ-GFP <2>", color="#00FF10", excitation_wavelength_nm=488, emission_wavelength_nm=510.25),
)
POSITIONS = (
    ow.Position(name="left well", x_coord=100.5, y_coord=-20.25, z_coord=7.0),
    ow.Position(name="right (2)", x_coord=-300.0, y_coord=40.75, z_coord=9.5),
    ow.Position(name="far µ", x_coord=0.0, y_coord=4000.125, z_coord=-1.25),
)
FIELDS = tuple(
    ow.Position(name=f"field {name}", plate_row=row, plate_column=column, x_coord=x, y_coord=y, z_coord=z)
    for row, column, name, x, y, z in [
        ("A", "2", "one", 1.5, 2.5, 3.5), ("A", "2", "two", 11.5, 12.5, 13.5),
        ("B", "1", "one", -21.5, 22.5, 23.5), ("B", "1", "two", -31.5, 32.5, 33.5),
    ]
)  # fmt: skip
PLATE = ow.Plate(name="screen 7", row_names=("A", "B"), column_names=("1", "2", "3"))


def pixels(frame: int, dtype: str) -> np.ndarray:
    """Return an image that tells the number of its frame."""
    ramp = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    if dtype == "bool":
        return (frame + 1) >> (ramp % 8) & 1 == 1
    if np.dtype(dtype).kind == "f":
        return (ramp / 64 + frame - 2.5).astype(dtype)
    return ((ramp + 41 * frame + 1) % np.iinfo(dtype).max).astype(dtype)


@frozen
class Case:
    """A data set to be written."""

    loops: str = "tpcz"
    """In order of acquisition; `p` is the positions, `T` a time without end."""
    positions: tuple[ow.Position, ...] = POSITIONS
    dtype: str = "uint16"
    format: dict[str, Any] = field(factory=dict)
    plate: ow.Plate | None = None
    chunks: dict[str, tuple[int, int | None]] = field(factory=dict)
    compression: str | None = None
    stop: int | None = None
    """Number of frames after which it stops."""
    skipped: tuple[int, ...] = ()
    channels: tuple[ow.Channel, ...] = CHANNELS

    def dimensions(self) -> list[ow.Dimension]:
        """Return the loops as dimensions, then those of a frame."""
        units = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
        made = []
        for loop in [*self.loops, "y", "x"]:
            name = loop.lower()
            coords = {"p": self.positions, "c": self.channels}.get(name)
            count = None if loop == "T" else {"y": HEIGHT, "x": WIDTH, **COUNTS}.get(name)
            chunk, shard = self.chunks.get(name, (None, None))
            made.append(
                ow.Dimension(
                    name=name, count=count if coords is None else None, coords=coords, scale=SCALES.get(name),
                    unit=units.get(name), chunk_size=chunk, shard_size_chunks=shard,
                )
            )  # fmt: skip
        return made

    def planned(self) -> list[dict[str, int]]:
        """Return the indices of every frame, in order of acquisition."""
        sizes = {"p": len(self.positions), "T": 3} | COUNTS
        loops = [range(sizes[loop]) for loop in self.loops]
        return [dict(zip(self.loops.lower(), index, strict=True)) for index in itertools.product(*loops)]


@frozen
class Dataset:
    """A data set that was written."""

    case: Case
    root: Path
    writer: str

    @property
    def positions(self) -> tuple[ow.Position | None, ...]:
        """Stage positions; `None` stands for the one of an acquisition that has none."""
        return self.case.positions if "p" in self.case.loops else (None,)

    @property
    def names(self) -> list[str]:
        """Names of the images that there are."""
        return [place.name if place else "my cells" for place in (self.positions[number] for number in self.shown)]

    @property
    def shown(self) -> list[int]:
        """The positions that have an image: in one file for all, those that were reached if pages are appended."""
        reached = {index.get("p", 0) for _, index in self.came()}
        together = self.case.format.get("prefer_single_file") == "always" and self.writer == "tifffile"
        return [number for number in range(len(self.positions)) if number in reached or not together]

    @property
    def groups(self) -> list[Path]:
        """The groups of an OME-Zarr that are images."""
        if self.case.plate:
            return [self.root / path for path in ("A/2/0", "A/2/1", "B/1/0", "B/1/1")]
        return [self.root / str(number) for number in self.shown] if "p" in self.case.loops else [self.root]

    @property
    def files(self) -> list[Path]:
        """Every file from which the set can be opened."""
        return [self.root] if self.root.is_file() else sorted(self.root.iterdir())

    def came(self) -> list[tuple[int, dict[str, int]]]:
        """Return number and indices of each frame that came."""
        frames = list(enumerate(self.case.planned()))[: self.case.stop]
        return [(number, index) for number, index in frames if number not in self.case.skipped]

    def image(self, position: int) -> np.ndarray:
        """Return what a reader should find: t, c, z, y, x; frames that did not come are black."""
        gone = [index for index in self.case.planned()[: self.case.stop] if index.get("p", 0) == position]
        sizes = {name: COUNTS[name] if name in self.case.loops.lower() else 1 for name in "tcz"}
        outer = self.case.loops.lower().replace("p", "")[:1]
        if outer:
            sizes[outer] = max((index[outer] + 1 for index in gone), default=1)
        made = np.zeros((*sizes.values(), HEIGHT, WIDTH), self.case.dtype)
        for number, index in self.came():
            if index.get("p", 0) == position:
                made[index.get("t", 0), index.get("c", 0), index.get("z", 0)] = pixels(number, self.case.dtype)
        return made


LAYOUTS = {
    "redundant": {"multi_file_metadata": "redundant"},
    "master": {"multi_file_metadata": "master-tiff"},
    "companion": {"multi_file_metadata": "companion-file"},
    "together": {"prefer_single_file": "always"},
}
TIFF_WRITERS = ("direct", "tifffile")
TIFF = {
    "one": Case("tcz"),
    "order": Case("czt"),
    "frame": Case(""),
    "stopped": Case("tcz", stop=8),
    "skipped": Case("tcz", skipped=(0, 3, 7, 11)),
    "endless": Case("Tcz", stop=16),
    **{f"packed-{name}": Case("tcz", compression=name, skipped=(0, 7)) for name in ("lzw", "zlib", "zstd")},
    **{dtype: Case("tz", dtype=dtype) for dtype in ("bool", "uint8", "int16", "float32", "float64")},
}
for _name, _layout in LAYOUTS.items():
    TIFF |= {
        _name: Case(format=_layout),
        f"{_name}-frames": Case("p", format=_layout),
        f"{_name}-plate": Case("pcz", FIELDS, plate=PLATE, format=_layout),
        f"{_name}-stopped": Case(format=_layout, stop=27),
        f"{_name}-unreached": Case("ptc", format=_layout, stop=5),
        f"{_name}-skipped": Case(format=_layout, skipped=(0, 7, 8, 20)),
        f"{_name}-endless": Case("Tpcz", format=_layout, stop=41),
        f"{_name}-packed": Case(format=_layout, compression="zlib"),
        f"{_name}-bool": Case("pt", dtype="bool", format=_layout),
        f"{_name}-float32": Case("pt", dtype="float32", format=_layout),
    }
SHARDS = {"t": (1, 2), "c": (1, 2), "z": (2, 2), "y": (3, 2), "x": (5, 2)}
ZARR_WRITERS = ("direct", "tensorstore")
ZARR = {
    "one": Case("tcz"),
    "order": Case("ztc"),
    "frame": Case(""),
    "positions": Case(),
    "plate": Case("pcz", FIELDS, plate=PLATE),
    "stopped": Case(stop=27),
    "skipped": Case(skipped=(0, 7, 8, 20)),
    "endless": Case("Tpcz", stop=41),
    "packed": Case("tcz", compression="blosc-zstd"),
    "shards": Case("tcz", chunks=SHARDS),
    "packed-shards": Case("tcz", compression="blosc-zstd", chunks=SHARDS),
    **{dtype: Case("tz", dtype=dtype) for dtype in ("bool", "uint8", "float32")},
}
ALSO = {"zarr-python": "positions", "zarrs-python": "plate", "acquire-zarr": "positions"}
"""The documents of all writers are the same: of each further one, one case."""


def write(case: Case, folder: Path, suffix: str, writer: str) -> Dataset:
    """Write a data set, and move it elsewhere."""
    folder.mkdir(parents=True)
    settings = ow.AcquisitionSettings(
        root_path=str(folder / "made" / f"my cells{suffix}"),
        dimensions=case.dimensions(), dtype=case.dtype, plate=case.plate, compression=case.compression,
    )  # fmt: skip
    settings = evolve(settings, format=evolve(settings.format, **case.format))
    frames = len(case.planned()) if case.stop is None else case.stop
    with ow.create_stream(settings, backend=writer) as stream:
        for number in range(frames):
            if number in case.skipped:
                stream.skip()
            else:
                stream.append(pixels(number, case.dtype))
    (folder / "made").rename(folder / "moved")
    return Dataset(case, folder / "moved" / Path(settings.output_path).name, writer)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `tiff` or `zarr` the data sets, by each writer.

    A module says in `READS_TIFF` and `READS_ZARR` of which cases its reader knows the kind.
    """
    every = {
        "tiff": [
            (name, writer)
            for writer in TIFF_WRITERS
            for name, case in TIFF.items()
            if writer == "tifffile" or not case.compression  # the only one that compresses
        ],
        "zarr": [(name, writer) for writer in ZARR_WRITERS for name in ZARR]
        + [(name, writer) for writer, name in ALSO.items()],
    }
    for kind, cases in (("tiff", TIFF), ("zarr", ZARR)):
        if kind in metafunc.fixturenames:
            reads = getattr(metafunc.module, f"READS_{kind.upper()}", lambda _: True)
            pairs = [(name, writer) for name, writer in every[kind] if reads(cases[name])]
            ids = [f"{name}-{writer}" for name, writer in pairs]
            metafunc.parametrize(kind, pairs, indirect=True, ids=ids, scope="session")


@pytest.fixture(scope="session")
def tiff(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    name, writer = request.param
    return write(TIFF[name], tmp_path_factory.mktemp(name) / "set", ".ome.tiff", writer)


@pytest.fixture(scope="session")
def zarr(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    name, writer = request.param
    return write(ZARR[name], tmp_path_factory.mktemp(name) / "set", ".ome.zarr", writer)


@define
class Asked:
    """A program of another project that answers each line with a line of JSON, and the complaints before it."""

    process: subprocess.Popen[str]

    def __call__(self, question: str) -> tuple[dict[str, Any], list[str]]:
        """Ask, and return the answer and what else was said."""
        assert self.process.stdin
        assert self.process.stdout
        said: list[str] = []
        with suppress(BrokenPipeError):  # it has ended, and said why
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith('{"'):
                return json.loads(line), said
            said.append(line.rstrip())
        pytest.fail(f"{self.process.args} ended: " + "\n".join(said))


@pytest.fixture(scope="session")
def asked() -> Iterator[Callable[..., Asked]]:
    """Start programs, and end them."""
    with ExitStack() as stack:

        def start(*command: str) -> Asked:
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
                )
            )
            stack.callback(process.kill)
            return Asked(process)

        yield start


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Run what installs into a folder, once for all runs of these tests, and return the folder."""
    cache = request.config.cache
    assert cache

    def install(name: str, *command: str, env: dict[str, str] | None = None) -> Path:
        folder = cache.mkdir("readers") / name
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            done = subprocess.run(
                [part.format(folder=made) for part in command],
                capture_output=True, text=True, check=False, cwd=made, env=os.environ | (env or {}),
            )  # fmt: skip
            if done.returncode:
                pytest.fail(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
            with suppress(OSError):  # another worker was faster
                Path(made).rename(folder)
        return folder

    return install


@pytest.fixture(scope="session")
def placed() -> Callable[[Path, bytes], Path]:
    """Write a file that other workers may use at the same time."""

    def place(path: Path, data: bytes) -> Path:
        if not path.exists() or path.read_bytes() != data:
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            beside.write_bytes(data)
            beside.replace(path)
        return path

    return place
