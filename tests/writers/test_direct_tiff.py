"""The direct writer's OME-TIFF, through `write` and `create_stream`, read with tifffile and libtiff (imagecodecs)."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import ome_types
import pytest
import tifffile
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import growth
from ome_writers.writers import placed
from ome_writers.writers.direct import DirectWriter

LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one image": ({"t": 4, "c": 2, "z": 3}, {}),
    "redundant": ({"t": 4, "p": ["a", "b", "c"], "c": 2}, {}),
    "master": ({"t": 4, "p": ["a", "b", "c"], "c": 2}, {"multi_file_metadata": "master-tiff"}),
    "companion": ({"t": 4, "p": ["a", "b", "c"], "c": 2}, {"multi_file_metadata": "companion-file"}),
    "one file": ({"t": 4, "p": ["a", "b", "c"], "c": 2}, {"prefer_single_file": "always"}),
    "positions outermost": ({"p": ["a", "b", "c"], "t": 4, "c": 2}, {"prefer_single_file": "always"}),
    "stored c, t": ({"t": 4, "p": ["a", "b"], "c": 2}, {"prefer_single_file": "always", "order": ["p", "c", "t"]}),
    "set, stored c, t": ({"t": 4, "p": ["a", "b"], "c": 2}, {"order": ["p", "c", "t"]}),
}
Key = tuple[int, ...]
"""Image, and index in storage order."""


def settings_of(root: Path, layout: str, dtype: str = "uint16", **change: Any) -> ow.AcquisitionSettings:
    sizes, options = LAYOUTS[layout]
    options = dict(options)
    order = options.pop("order", None)
    given: dict[str, Any] = {} if order is None else {"storage_order": [*order, "y", "x"]}
    return ow.AcquisitionSettings(
        root_path=str(root / "a.ome.tiff"),
        dtype=dtype,
        dimensions=ow.dims_from_standard_axes(sizes | change | {"y": 5, "x": 7}),
        format=ow.OmeTiffFormat(**options),
        **given,
    )


def frames(count: int, dtype: str = "uint16") -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0 if dtype == "bool" else 1, 2 if dtype == "bool" else 100, (count, 5, 7)).astype(dtype)


def keys(plan: ow.Plan, count: int) -> list[Key]:
    """Return where frames go, by nested loops over the acquisition's dimensions."""
    dims = plan.settings.dimensions[:-2]
    names = plan.layout.arrays[0].dimension_names[:-2]
    found: list[Key] = []
    sizes = [dim.count or count for dim in dims]
    for index in np.ndindex(*sizes):
        if len(found) == count:
            break
        loop = {dim.name: i for dim, i in zip(dims, index, strict=True)}
        found.append((loop.get("p", 0), *(loop[name] for name in names)))
    return found


def first_file(root: Path) -> Path:
    return root / "a.ome.tiff" if (root / "a.ome.tiff").is_file() else min((root / "a").glob("*.tiff"))


def files_of(root: Path) -> list[Path]:
    return [root / "a.ome.tiff"] if (root / "a.ome.tiff").is_file() else sorted((root / "a").glob("*.tiff"))


def metadata(root: Path) -> str:
    """Return the OME-XML that tells of all images."""
    companions = list(root.glob("a/*.companion.ome"))
    if companions:
        return companions[0].read_text(encoding="utf-8")
    with tifffile.TiffFile(first_file(root), is_ome=False) as file:
        return str(file.pages.first.description)


def by_xml(root: Path, text: str) -> dict[Key, NDArray[Any]]:
    """Return all planes that an OME-XML names, found as it says, page by page; those of zeros are left out."""
    found: dict[Key, NDArray[Any]] = {}
    pages: dict[Path, list[NDArray[Any]]] = {}
    for image in ome_types.from_xml(text).images:
        order = image.pixels.dimension_order.value[:1:-1]
        sizes = {"T": image.pixels.size_t, "C": image.pixels.size_c, "Z": image.pixels.size_z}
        number = int(image.id.split(":")[1])
        for block in image.pixels.tiff_data_blocks:
            path = first_file(root) if block.uuid is None else root / "a" / block.uuid.file_name
            if path not in pages:
                with tifffile.TiffFile(path, is_ome=False) as file:
                    pages[path] = [page.asarray() for page in file.pages]
            first = {"T": block.first_t, "C": block.first_c, "Z": block.first_z}
            flat = int(np.ravel_multi_index([first[a] for a in order], [sizes[a] for a in order]))
            for k in range(block.plane_count):
                index = np.unravel_index(flat + k, [sizes[a] for a in order])
                if (pixels := pages[path][block.ifd + k]).any():
                    found[number, *(int(i) for i in index)] = pixels
    return found


def expected(plan: ow.Plan, data: NDArray[Any], absent: frozenset[int] = frozenset()) -> dict[Key, NDArray[Any]]:
    """Return what has come, with indices along DimensionOrder's axes, slowest first."""
    names = plan.layout.arrays[0].dimension_names[:-2]
    order = [*names, *(name for name in "tcz" if name not in names)]
    padding = (0,) * (len(order) - len(names))
    # OME-XML's order ends with the axes that there are; those that there are not are the slowest.
    return {
        (key[0], *padding, *key[1:]): frame
        for number, (key, frame) in enumerate(zip(keys(plan, len(data)), data, strict=True))
        if number not in absent and frame.any()
    }


def same(one: dict[Key, NDArray[Any]], other: dict[Key, NDArray[Any]]) -> None:
    assert sorted(one) == sorted(other)
    for key, pixels in one.items():
        assert np.array_equal(pixels, other[key]), key


def check_order(root: Path) -> None:
    """Check that every document counts the pages as they lie: viv reads them so, whatever the OME-XML says."""
    for path in files_of(root):
        with tifffile.TiffFile(path, is_ome=False) as file:
            count = len(file.pages)
        blocks = [
            block
            for image in ome_types.from_xml(metadata(root)).images
            for block in image.pixels.tiff_data_blocks
            if block.uuid is None or block.uuid.file_name == path.name
        ]
        assert sorted(block.ifd for block in blocks) == list(range(count))


@contextmanager
def disk_of(nbytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(params=["positioned", "seeking"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "seeking":
        monkeypatch.setattr(placed, "POSITIONED", False)


@pytest.mark.parametrize("dtype", ["uint16", "bool", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_either_way")
def test_a_complete_run(tmp_path: Path, layout: str, dtype: str) -> None:
    plan = ow.compile(settings_of(tmp_path, layout, dtype))
    data = frames(plan.frames or 0, dtype)
    assert ow.write(plan, data, DirectWriter()).verdict == "complete"
    text = metadata(tmp_path)
    same(by_xml(tmp_path, text), expected(plan, data))
    check_order(tmp_path)
    assert all("ome-writers/blank" not in path.read_text("latin-1") for path in files_of(tmp_path))


@pytest.mark.parametrize("layout", ["one image", "redundant", "master", "one file"])
def test_tifffile_reads_each_series(tmp_path: Path, layout: str) -> None:
    plan = ow.compile(settings_of(tmp_path, layout))
    data = frames(plan.frames or 0)
    ow.write(plan, data, DirectWriter())
    found = expected(plan, data)
    for path in files_of(tmp_path)[: 1 if layout == "master" else None]:
        with tifffile.TiffFile(path) as file:
            assert len(file.series) == len(plan.layout.arrays)
            for number, series in enumerate(file.series):
                planes = series.asarray().reshape(-1, 5, 7)
                mine = [found[key] for key in sorted(found) if key[0] == number]
                assert np.array_equal(planes, mine)


@pytest.mark.parametrize("count", [0, 1, 5, 11, 23])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_stopped_early(tmp_path: Path, layout: str, count: int) -> None:
    plan = ow.compile(settings_of(tmp_path, layout))
    count = min(count, (plan.frames or 0) - 1)
    data = frames(count)
    with ow.create_stream(plan.settings, backend=DirectWriter()) as stream:
        for frame in data:
            stream.append(frame)
    text = metadata(tmp_path)
    same(by_xml(tmp_path, text), expected(plan, data))
    check_order(tmp_path)
    assert stream.outcome is not None
    assert stream.outcome.verdict == "stopped"
    for path in files_of(tmp_path):
        with tifffile.TiffFile(path, is_ome=False) as file:
            ends = [max(page.dataoffsets) + page.databytecounts[-1] for page in file.pages]
            assert path.stat().st_size <= max(ends) + 4096 + len(file.pages.first.description) + 320 * len(ends)
    first = first_file(tmp_path).read_bytes()
    assert imagecodecs.tiff_decode(first, index=0).shape == (5, 7)


@pytest.mark.parametrize("layout", ["one image", "redundant", "stored c, t"])
def test_skipped_frames_read_as_zeros(tmp_path: Path, layout: str) -> None:
    plan = ow.compile(settings_of(tmp_path, layout))
    data = frames(plan.frames or 0)
    with ow.create_stream(plan.settings, backend=DirectWriter()) as stream:
        for number, frame in enumerate(data):
            if number in (2, 3, 7):
                stream.skip()
            else:
                stream.append(frame)
    text = metadata(tmp_path)
    same(by_xml(tmp_path, text), expected(plan, data, frozenset({2, 3, 7})))
    check_order(tmp_path)
    blank = re.findall('ome-writers/blank"><Value><M K="pages">([^<]*)', text)
    listed = [range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1) for each in blank for part in each.split()]
    assert sum(map(len, listed)) == 3


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "positions outermost"])
def test_without_end(tmp_path: Path, layout: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "STEP_BYTES", 900)
    settings = settings_of(tmp_path, layout, t=None)
    plan, data = ow.compile(settings), frames(count)
    with ow.create_stream(settings, backend=DirectWriter()) as stream:
        for number, frame in enumerate(data, 1):
            stream.append(frame)
            if number in (1, 6, 12, 13, 39):
                whole: dict[Key, NDArray[Any]] = {}
                if layout.startswith(("redundant", "set")):
                    for path in files_of(tmp_path):
                        with tifffile.TiffFile(path, is_ome=False) as file:
                            whole |= by_xml(tmp_path, file.pages.first.description)
                else:
                    whole = by_xml(tmp_path, metadata(tmp_path))
                same(whole, expected(plan, data[:number]))
                # What a killed run leaves can be opened as a whole.
                stored = np.asarray(ow.open_view(first_file(tmp_path))[...]).reshape(-1, 5, 7)
                assert np.array_equal(stored[:number], data[:number])
                assert not stored[number:].any()
    same(by_xml(tmp_path, metadata(tmp_path)), expected(plan, data))
    check_order(tmp_path)


def test_open_files_and_links_while_it_runs(tmp_path: Path) -> None:
    """Before the first frame every file is there, whole, and tells of its own image or of all."""
    for layout in LAYOUTS:
        root = tmp_path / layout.replace(" ", "_")
        root.mkdir()
        with ow.create_stream(settings_of(root, layout), backend=DirectWriter()) as stream:
            for path in files_of(root):
                with tifffile.TiffFile(path) as file:
                    assert not any(page.asarray().any() for page in file.pages)
                    assert file.pages.first.description.startswith("<?xml")
                assert not imagecodecs.tiff_decode(path.read_bytes(), index=0).any()
            assert "running" in metadata(root)
            stream.append(frames(1)[0])
            assert len(by_xml(root, metadata(root))) == 1


KILLED = """
    import os, signal, sys
    import numpy as np
    import ome_writers as ow
    from ome_writers import growth
    from ome_writers.writers.direct import DirectWriter

    growth.STEP_BYTES = 900
    settings = ow.loads(sys.argv[1])
    data = np.load(sys.argv[2])
    stream = ow.create_stream(settings, backend=DirectWriter())
    for frame in data:
        stream.append(frame)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("layout", "t", "count"), [("one image", 4, 17), ("one file", None, 40), ("master", 4, 9)])
def test_killed(tmp_path: Path, layout: str, t: int | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, data = settings_of(tmp_path, layout, t=t), frames(count)
    np.save(tmp_path / "data.npy", data)
    monkeypatch.setattr(growth, "STEP_BYTES", 900)
    plan = ow.compile(settings)
    code = textwrap.dedent(KILLED)
    done = subprocess.run([sys.executable, "-c", code, ow.dumps(settings), str(tmp_path / "data.npy")], check=False)
    assert done.returncode == -signal.SIGKILL
    same(by_xml(tmp_path, metadata(tmp_path)), expected(plan, data))
    with tifffile.TiffFile(first_file(tmp_path)) as file:
        seen = [frame for series in file.series for frame in series.asarray().reshape(-1, 5, 7) if frame.any()]
    wanted = expected(plan, data)
    assert np.array_equal(seen, [wanted[key] for key in sorted(wanted)])


def test_a_full_disk_is_told_and_leaves_a_valid_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "one image", t=None)
    plan, data = ow.compile(settings), frames(60_000)
    came = 0
    stream = ow.create_stream(settings, backend=DirectWriter())
    limit = first_file(tmp_path).stat().st_size
    with disk_of(limit), pytest.raises(ow.WriteError, match="File too large"):
        for frame in data:
            stream.append(frame)
            came += 1
    assert 1000 < came < 60_000
    with pytest.raises(ow.WriteError):
        stream.close()
    text = metadata(tmp_path)
    assert "failed" in text
    found = by_xml(tmp_path, text)
    wanted = expected(plan, data[:came])
    same(found, wanted)


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    plan = ow.compile(settings_of(tmp_path, "redundant"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("precious")
    with pytest.raises(FileExistsError):
        DirectWriter().open(str(tmp_path / "a"), plan, [])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]


def test_a_moved_folder_stays_one_set(tmp_path: Path) -> None:
    plan = ow.compile(settings_of(tmp_path, "master"))
    data = frames(plan.frames or 0)
    ow.write(plan, data, DirectWriter())
    (tmp_path / "b").mkdir()
    (tmp_path / "a").rename(tmp_path / "b" / "a")
    same(by_xml(tmp_path / "b", metadata(tmp_path / "b")), expected(plan, data))
    with tifffile.TiffFile(first_file(tmp_path / "b")) as file:
        for number, series in enumerate(file.series):
            mine = [frame for key, frame in sorted(expected(plan, data).items()) if key[0] == number]
            assert np.array_equal(series.asarray().reshape(-1, 5, 7), mine)
