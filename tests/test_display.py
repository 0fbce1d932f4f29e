"""What settings and plans show of themselves in a notebook: as a browser reads it, and as Jupyter asks for it."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from lxml import etree, html

import ome_writers as ow
from ome_writers import display
from ome_writers.advice import advise
from ome_writers.layout import ArraySpec
from ome_writers.overview import Overview, overview
from ome_writers.page import page_of
from ome_writers.sights import size
from ome_writers.sketch import array_svg, thinned

GB = 2**30


def settings(sizes: dict[str, Any], chunks: dict[str, int] | None = None, **more: Any) -> ow.AcquisitionSettings:
    shards = more.pop("shards", None)
    dims = ow.dims_from_standard_axes({**sizes, "y": 512, "x": 1024}, chunk_shapes=chunks, shard_shapes=shards)
    return ow.AcquisitionSettings(**{"root_path": "a.ome.zarr", "dtype": "uint16", "dimensions": dims, **more})


def plan(sizes: dict[str, Any], chunks: dict[str, int] | None = None, **more: Any) -> ow.Plan:
    return ow.compile(settings(sizes, chunks, **more))


def seen(found: ow.Plan, *, unit: Any = "frame", peak: int = 0, memory: int | None = None) -> Overview:
    return overview(found, writer="mine", unit=unit, peak=peak, memory=memory)


def texts(page: str) -> str:
    """Return what a browser shows of a page."""
    tree = html.fromstring(page)
    for style in tree.iter("style"):
        style.drop_tree()
    return " ".join(tree.text_content().split())


def facts(page: str) -> dict[str, str]:
    tree = html.fromstring(page)
    return {dt.text_content(): dt.getnext().text_content() for dt in tree.iter("dt")}


# ── warnings, each with a reason ─────────────────────────────────────────────────────────────────────────────────────


def concerns(found: Overview) -> list[str]:
    return [one.about for one in found.concerns]


def test_chunks_under_a_megabyte_are_warned_of_with_better_ones() -> None:
    small = seen(plan({"t": 10, "z": 4}, {"x": 256}))
    assert concerns(small) == ["chunks"]
    assert "A chunk has 262.1 kB" in small.concerns[0].reason
    assert "Better: chunk_size 1024 of x." in small.concerns[0].reason
    assert concerns(seen(plan({"t": 10, "z": 4}))) == []  # 512 × 1024 of 2 bytes
    assert concerns(seen(plan({"t": 10, "z": 4}, {"x": 256}, root_path="a.ome.tiff"))) == []
    # One chunk is all there is, or frames cannot be put together.
    dims = ow.dims_from_standard_axes({"y": 64, "x": 64})
    assert concerns(seen(plan({}, dimensions=dims))) == []
    lonely = seen(plan({}, dimensions=ow.dims_from_standard_axes({"p": 3, "y": 64, "x": 64}, chunk_shapes={"y": 32})))
    assert lonely.concerns[0].reason.endswith("their bytes. Better: chunk_size 64 of y.")
    assert concerns(seen(plan({"t": None}, {"x": 256}))) == ["chunks"]


def test_a_million_files_are_warned_of_and_shards_advised() -> None:
    many = seen(plan({"t": 1_000_000}))
    assert many.files == 1_000_000
    assert concerns(many) == ["files"]
    assert "shard_size_chunks of t 32" in many.concerns[0].reason
    assert concerns(seen(plan({"t": 999_000}))) == []
    sharded = seen(plan({"t": 1_000_000}, shards={"t": 100}))
    assert (sharded.files, concerns(sharded)) == (10_000, [])
    dims = ow.dims_from_standard_axes({"p": 2, "y": 2000, "x": 2000}, chunk_shapes={"y": 1, "x": 2})
    tiny = seen(plan({}, dimensions=dims, dtype="uint8"))
    assert tiny.files == 4_000_000
    assert [one.about for one in tiny.concerns] == ["chunks", "files"]
    assert tiny.concerns[1].reason.endswith("make chunks larger.")


def test_more_memory_than_the_machine_has_is_warned_of() -> None:
    found = plan({"t": 100, "z": 50}, {"t": 100})
    held = seen(found, unit="chunk", peak=ow.peak_bytes(found, "chunk"), memory=4 * GB)
    assert held.peak_bytes == 50 * 100 * 2**20
    assert concerns(held) == ["memory"]
    assert "Up to 5.2 GB of pixels will be in memory, and this machine has 4.3 GB" in held.concerns[0].reason
    assert concerns(seen(found, unit="chunk", peak=held.peak_bytes, memory=8 * GB)) == []
    assert concerns(seen(found, unit="chunk", peak=held.peak_bytes)) == []


def test_files_are_counted_as_they_will_be(tmp_path: Path) -> None:
    plate = ow.Plate.from_standard_wells(6)
    wells = [ow.Position(name=name, plate_row="A", plate_column=name) for name in "123"]
    for number, made in enumerate(
        [
            settings({"t": 5, "p": 2, "c": 3}, {"t": 2}),
            settings({"t": 5}, {"t": 2}, shards={"t": 2}),
            settings({"p": wells, "t": 2}, plate=plate),
            settings({"t": 5, "p": 2}, root_path="a.ome.tiff"),
        ]
    ):
        folder = tmp_path / str(number)
        placed = evolve(made, root_path=str(folder / made.root_path))
        found = seen(ow.compile(placed))
        shape = [dim.count for dim in placed.frame_dimensions]
        ow.write(found.plan, [np.ones(shape, "uint16")] * (placed.num_frames or 0))
        files = [path for path in folder.rglob("*") if path.is_file()]
        documents = [path for path in files if path.suffix in {".json", ".xml"}]
        assert (found.files, found.documents) == (len(files) - len(documents), len(documents))
    assert seen(plan({"t": 5}, root_path="")).files == 0
    assert seen(plan({"t": None})).files is None
    assert size(2.5e15) == "2.5 PB"


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_shows_its_dimensions_arrays_and_numbers() -> None:
    channels = ["DAPI", ow.Channel(name="<GFP> & co", color="lime")]
    dims = [
        ow.Dimension(name="t", count=10, unit="s", scale=5),
        ow.Dimension(name="p", coords=["left", "right"]),
        ow.Dimension(name="c", coords=channels),
        ow.Dimension(name="z", count=4, unit="um", scale=0.5, chunk_size=2, shard_size_chunks=2, snake=True),
        *ow.dims_from_standard_axes({"y": 512, "x": 1024}),
    ]
    page = plan({}, dimensions=dims, compression="gzip")._repr_html_()
    said = texts(page)
    for words in ("160 frames in 2 arrays", "every 5 s", "left, right", "DAPI <GFP> & co", "to and fro", "a.ome.zarr"):
        assert words in said
    told = facts(page)
    assert told["frames"] == "160 of 1.0 MB"
    assert told["pixels"] == "167.8 MB before compression (gzip)"
    assert told["files"] == "47 (40 with pixels, 7 with metadata)"
    assert told["2 arrays"] == "0/0 … 1/0"
    assert told["shape"] == "10 × 2 × 4 × 512 × 1024, uint16"
    assert told["chunk"] == "1 × 1 × 2 × 512 × 1024, 2.1 MB"
    assert told["shard"] == "1 × 1 × 4 × 512 × 1024, of 1 × 1 × 2 × 1 × 1 chunks"
    assert told["memory"].startswith("at most ")


def test_light_and_dark_come_from_the_page_around() -> None:
    page = plan({"t": 2})._repr_html_()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "prefers-color-scheme: dark" in style
    assert re.findall(r"^(?!\.ow|@media|\[data-jp|  )\S.*{", style, re.MULTILINE) == []  # touches nothing else
    assert not re.search(r"(?<![-\w])(color|fill|stroke|background): ?(#|black|white)", style)


def test_other_kinds_of_plans_show_themselves_too() -> None:
    endless = facts(plan({"t": None, "c": 9})._repr_html_())
    assert (endless["frames"], endless["files"], endless["pixels"]) == ("without end",) * 3
    tiff = facts(plan({"p": 3, "t": 2}, root_path="a.ome.tiff")._repr_html_())
    assert (tiff["files"], tiff["3 arrays"]) == ("3", "a_p000.ome.tiff … a_p002.ome.tiff")
    assert tiff["page"] == "1 × 512 × 1024, 1.0 MB"
    single = ow.OmeTiffFormat(prefer_single_file="always")
    assert facts(plan({"p": 3}, root_path="a.ome.tiff", format=single)._repr_html_())["3 arrays"] == "the whole file"
    scratch = plan({"p": 30, "t": 2}, root_path="")._repr_html_()
    assert facts(scratch)["files"] == "none"
    assert "30 positions" in texts(scratch).replace("p30", "30 ")
    assert facts(plan({"t": 1000})._repr_html_())["drawn"] == "some of the lines along t, where there are too many"
    odd = ow.Dimension(name="gate", count=3, type="other")
    assert "gate3" in texts(plan({}, dimensions=[odd, *ow.dims_from_standard_axes({"y": 8, "x": 8})])._repr_html_())


def test_kinds_of_arrays_are_drawn_once_and_of_many_kinds_the_first() -> None:
    found = seen(plan({"p": 5, "t": 4}))
    arrays = [evolve(spec, shape=(number + 1, *spec.shape[1:])) for number, spec in enumerate(found.plan.layout.arrays)]
    mixed = evolve(found, plan=evolve(found.plan, layout=evolve(found.plan.layout, arrays=tuple(arrays))))
    assert page_of(mixed).count("<svg ") == 3
    assert "… and 2 more kinds of arrays" in texts(page_of(mixed))
    assert page_of(found).count("<svg ") == 1


def test_settings_show_the_plan_that_they_make_or_what_is_missing() -> None:
    made = settings({"t": 3})
    assert made._repr_html_() == ow.compile(made)._repr_html_()
    unready = texts(ow.AcquisitionSettings(root_path="a.ome.zarr")._repr_html_())
    assert "not ready to be compiled" in unready
    assert "dtype is required: what are the pixels?" in unready
    odd = texts(settings({"z": 3, "t": 2}, storage_order="acquisition")._repr_html_())
    assert "OME-Zarr 0.5 wants axes in the order time, channel, space" in odd


def test_a_plan_that_no_writer_can_do_says_why() -> None:
    page = plan({"t": 3}, format="acquire-zarr", dtype="bool")._repr_html_()
    assert "acquire-zarr stores" in texts(page)
    assert "writer" not in facts(page)


# ── arrays, to scale ─────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(spec: ArraySpec) -> tuple[dict[str, list[list[tuple[float, float]]]], set[str]]:
    """Return the lines of a picture by their class, and its texts."""
    tree = etree.fromstring(array_svg(spec))
    paths: dict[str, list[list[tuple[float, float]]]] = {}
    for path in tree.iter("path"):
        points = [tuple(map(float, pair.split())) for pair in re.findall(r"[-\d.]+ [-\d.]+", path.get("d"))]
        paths.setdefault(path.get("class"), []).append(points)
    width, height = float(tree.get("width")), float(tree.get("height"))
    assert all(-1 <= x <= width and -1 <= y <= height for lines in paths.values() for line in lines for x, y in line)
    return paths, {text.text for text in tree.iter("text")}


def extent(points: list[tuple[float, float]]) -> tuple[float, float]:
    x, y = zip(*points, strict=True)
    return max(x) - min(x), max(y) - min(y)


def test_frames_chunks_and_shards_are_to_scale() -> None:
    dims = ow.dims_from_standard_axes({"y": 500, "x": 1000}, chunk_shapes={"y": 250, "x": 200}, shard_shapes={"x": 2})
    paths, said = drawn(plan({}, dimensions=dims).layout.arrays[0])
    (width, height), (chunk_width, chunk_height), (shard_width, shard_height) = (
        extent(paths[kind][0]) for kind in ("ground", "first-chunk", "first-shard")
    )
    assert width == pytest.approx(2 * height, abs=0.2)
    assert (chunk_width, chunk_height) == pytest.approx((width / 5, height / 2), abs=0.2)
    assert (shard_width, shard_height) == pytest.approx((2 * width / 5, height / 2), abs=0.2)
    assert len(paths["chunk"]) == 4 + 1
    assert len(paths["shard"]) == 2 + 1
    assert said == {"y 500", "x 1000"}


def test_names_are_text_and_never_markup() -> None:
    odd = [ow.Dimension(name="<t&>", count=3, type="time"), *ow.dims_from_standard_axes({"y": 8, "x": 8})]
    _, said = drawn(plan({}, dimensions=odd).layout.arrays[0])
    assert "<t&> 3" in said
    assert "<t&>3" in texts(plan({}, dimensions=odd)._repr_html_())


@pytest.mark.parametrize("loops", [{}, {"t": 3}, {"t": 3, "c": 2}, {"t": 3, "c": 2, "z": 5}])
def test_every_axis_is_named_once(loops: dict[str, int]) -> None:
    _, said = drawn(plan(loops).layout.arrays[0])
    assert said == {f"{name} {count}" for name, count in {**loops, "y": 512, "x": 1024}.items()}


def test_many_chunks_are_thinned_and_an_axis_without_end_is_dashed() -> None:
    many = plan({"t": 100_000}).layout.arrays[0]
    paths, _ = drawn(many)
    assert 2 * 25 <= len(paths["chunk"]) <= 2 * 32  # on the top and on the side of the box
    assert thinned(many) == ("t",)
    assert "endless" not in paths
    endless = plan({"t": None}, {"t": 4}).layout.arrays[0]
    paths, said = drawn(endless)
    assert len(paths["endless"]) == 2
    assert "t ∞" in said
    assert thinned(endless) == ()


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/proc/meminfo") as file:  # noqa: PTH123 - a file of the system
        told = int(re.search(r"MemTotal:\s+(\d+) kB", file.read())[1]) * 1024
    assert display.memory() == pytest.approx(told, rel=0.1)
    monkeypatch.delattr(os, "sysconf")
    assert display.memory() is None


@pytest.mark.parametrize(("answers", "memory"), [(1, 8 * GB), (0, None)])
def test_memory_on_windows(monkeypatch: pytest.MonkeyPatch, answers: int, memory: int | None) -> None:
    def status(pointer: Any) -> int:
        pointer._obj.ullTotalPhys = 8 * GB  # noqa: SLF001 - what `byref` points to
        assert pointer._obj.dwLength == 64  # noqa: SLF001
        return answers

    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(ctypes, "WinDLL", lambda _: SimpleNamespace(GlobalMemoryStatusEx=status), raising=False)
    assert display.memory() == memory


# ── advice ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_small_frames_are_put_together_and_large_ones_cut() -> None:
    small = ow.dims_from_standard_axes({"t": 100, "c": 2, "z": 3, "y": 256, "x": 256})
    advice = advise(settings({}, dimensions=small))
    assert advice.chunks == {"t": 2, "c": 2, "z": 3, "y": 256, "x": 256}
    assert "3 along z × 2 along c × 2 along t" in advice.reasons[0]
    camera = ow.dims_from_standard_axes({"t": 10, "y": 2048, "x": 2048})
    assert "is a good chunk as it is" in advise(settings({}, dimensions=camera)).reasons[0]
    large = ow.dims_from_standard_axes({"t": 1000, "y": 10_000, "x": 5000})
    advice = advise(settings({}, dimensions=large))
    assert advice.chunks == {"y": 2500, "x": 2500}
    assert advice.shards == {"y": 4, "x": 2}  # the tiles of a frame lie in one file
    alone = ow.dims_from_standard_axes({"p": 3, "y": 64, "x": 64})
    assert "no loop along which" in advise(settings({}, dimensions=alone)).reasons[0]
    one = ow.dims_from_standard_axes({"t": None, "z": 1, "y": 64, "x": 64})
    assert advise(settings({}, dimensions=one)).chunks == {"t": 128, "y": 64, "x": 64}


@pytest.mark.parametrize(("disk", "most"), [("ssd", 64), ("hdd", 512), ("network", 512), ("object", 256)])
def test_shards_suit_the_disk(disk: Any, most: int) -> None:
    dims = ow.dims_from_standard_axes({"t": None, "y": 1000, "x": 1000})
    advice = advise(settings({}, dimensions=dims), disk)
    megabytes = 2 * advice.shards["t"]
    assert most / 2 < megabytes <= most
    few = ow.dims_from_standard_axes({"t": 1000, "y": 1000, "x": 1000})
    assert advise(settings({}, dimensions=few), disk).shards == {}
    lonely = ow.dims_from_standard_axes({"p": 1001, "y": 1000, "x": 1000})
    advice = advise(settings({}, dimensions=lonely), disk)
    assert (advice.shards, advice.reasons[1]) == (
        {},
        "Chunks (1,001) are files of their own, as no image has more than one.",
    )


def test_formats_without_chunks_need_no_advice() -> None:
    for path, words in (("a.ome.tiff", "a page of OME-TIFF is a frame"), ("", "scratch arrays are plain")):
        advice = advise(settings({"t": 5}, root_path=path))
        assert (advice.chunks, advice.shards) == ({}, {})
        assert words in advice.reasons[0]
