"""The drawing of a plan: what it shows, that it costs little, and that it needs no screen."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import drawing
from ome_writers.cli.app import run
from ome_writers.errors import PlanError
from ome_writers.serial import dumps
from ome_writers.timeline import block_spans, timeline


def settings(sizes: dict[str, Any], chunks: dict[str, int] | None = None, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes(
        {**sizes, "y": 8, "x": 8}, chunk_shapes=chunks, shard_shapes=more.pop("shards", None)
    )
    return ow.AcquisitionSettings(**{"root_path": "a.ome.zarr", "dtype": "uint8", "dimensions": dims, **more})


def plan(sizes: dict[str, Any], chunks: dict[str, int] | None = None, **more: Any) -> ow.Plan:
    return ow.compile(settings(sizes, chunks, **more))


# ── the numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def looped(sizes: dict[str, int], chunk: dict[str, int], frame_bytes: int) -> tuple[list[Any], list[int], list[int]]:
    """Return the indices, the open chunks and the bytes of their buffers at each frame, frame by frame."""
    names = list(sizes)
    frames = list(np.ndindex(*sizes.values()))
    blocks = [tuple(index // chunk.get(name, 1) for name, index in zip(names, frame, strict=False)) for frame in frames]
    last = {block: number for number, block in enumerate(blocks)}
    room = {}
    for block in last:
        lengths = [
            min(chunk.get(name, 1), sizes[name] - at * chunk.get(name, 1))
            for name, at in zip(names, block, strict=False)
        ]
        room[block] = int(np.prod(lengths)) * frame_bytes
    open_blocks: set[Any] = set()
    counts, held = [], []
    for number, block in enumerate(blocks):
        open_blocks.add(block)
        counts.append(len(open_blocks))
        held.append(sum(room[one] for one in open_blocks))
        if last[block] == number:
            open_blocks.remove(block)
    return frames, counts, held


@pytest.mark.parametrize("bins", [1, 7, 60, 1000])
@pytest.mark.parametrize("chunk", [{"t": 2, "z": 2}, {"t": 5}, {"c": 3}])
def test_each_bin_tells_the_extremes_of_its_frames(bins: int, chunk: dict[str, int]) -> None:
    sizes = {"t": 10, "c": 3, "z": 4}
    found = timeline(plan(sizes, chunk), "chunk", bins=bins)
    frames, counts, held = looped(sizes, chunk, 64)
    edges = found.edges.tolist()
    assert (edges[0], edges[-1], found.frames) == (0, 120, 120)
    for number, (a, b) in enumerate(itertools.pairwise(edges)):
        assert (found.open.low[number], found.open.high[number]) == (min(counts[a:b]), max(counts[a:b]))
        assert (found.memory.low[number], found.memory.high[number]) == (min(held[a:b]), max(held[a:b]))
        if (b - a) <= 64:
            for axis, name in enumerate(sizes):
                values = [frame[axis] for frame in frames[a:b]]
                assert (found.loops[name].low[number], found.loops[name].high[number]) == (min(values), max(values))
    assert (found.note == "") == (bins >= 120)


def test_positions_are_a_loop_and_the_stage_goes_where_they_are() -> None:
    names = [f"P{number}" for number in range(5)]
    found = timeline(plan({"t": 3, "p": names, "z": 2}), "frame")
    assert found.loops["p"].high.tolist() == [p for _ in range(3) for p in range(5) for _ in range(2)]
    assert found.tour.tolist() == [0, 1, 2, 3, 4]
    alone = timeline(plan({}), "frame")
    assert (alone.frames, alone.tour.tolist(), dict(alone.loops)) == (1, [0], {})


def test_a_snake_of_odd_rounds_is_told_as_it_is() -> None:
    dims = [
        ow.Dimension(name="t", count=5, chunk_size=2),
        ow.Dimension(name="z", count=3, snake=True),
        *ow.dims_from_standard_axes({"y": 8, "x": 8}),
    ]
    found = timeline(plan({}, dimensions=dims), "chunk")
    assert found.loops["z"].high.tolist() == [0, 1, 2, 2, 1, 0] * 2 + [0, 1, 2]
    begin = timeline(ow.compile(settings({}, dimensions=dims)), "chunk", stop=7)
    assert begin.memory.high.tolist() == found.memory.high.tolist()[:7]


def test_ten_million_frames_cost_the_bins_and_what_is_told_of_them_is_right() -> None:
    large = plan({"t": 100_000, "c": 4, "z": 25}, {"t": 10, "z": 5})
    begin = time.process_time()
    found = timeline(large, "chunk")
    assert time.process_time() - begin < 1
    assert (found.frames, len(found.edges)) == (10_000_000, 1201)
    assert (found.memory.high == 20 * 50 * 64).all()
    assert set(found.loops["z"].high.tolist()) == {24}
    assert found.loops["t"].high[-1] == 99_999
    assert (np.diff(found.loops["t"].low) >= 0).all()
    assert "1,200 bins" in found.note
    assert "64 frames of each were looked at" in found.note


def test_of_a_plan_without_end_the_first_rounds_are_told() -> None:
    found = timeline(plan({"t": None, "c": 50}, {"t": 4}), "chunk")
    assert found.frames >= 150
    assert found.loops["t"].high[-1] == found.frames // 50 - (found.frames % 50 == 0)
    assert "without end" in found.note
    assert int(found.memory.high.max()) == 50 * 4 * 64


def test_blocks_open_and_close_where_loops_say() -> None:
    sizes, chunk, stop = {"t": 7, "c": 2, "z": 3}, {"t": 3, "z": 2}, 40
    spans = block_spans(plan(sizes, chunk), stop)
    frames = list(np.ndindex(*sizes.values()))
    places: dict[Any, list[int]] = {}
    for number, (t, c, z) in enumerate(frames):
        places.setdefault((t // 3, c, z // 2), []).append(number)
    several = [numbers for numbers in places.values() if len(numbers) > 1 and numbers[0] < stop]
    wanted = sorted((numbers[0], min(numbers[-1], stop - 1)) for numbers in several)
    assert sorted(zip(spans["first"].tolist(), spans["last"].tolist(), strict=False)) == wanted
    for lane in set(spans["lane"].tolist()):
        mine = np.sort(spans[spans["lane"] == lane], order="first")
        assert (mine["last"][:-1] < mine["first"][1:]).all()
    assert len(block_spans(plan({"t": 5}), 5)) == 0


# ── the figure ───────────────────────────────────────────────────────────────────────────────────────────────────────


def words(figure: Any) -> list[str]:
    import matplotlib.text

    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def places(count: int, **more: Any) -> list[ow.Position]:
    return [ow.Position(name=f"P{n}", **{name: value(n) for name, value in more.items()}) for n in range(count)]


def test_a_drawing_has_a_line_for_each_loop_the_blocks_the_memory_and_the_stage() -> None:
    at = places(3, x_coord=lambda n: 10.0 * n, y_coord=lambda n: -5.0 * n)
    figure = ow.plot(settings({"t": 4, "p": at, "c": ["DAPI", "GFP"]}, {"t": 2}, compression="gzip"))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["t", "p", "c", "open chunks", "memory", "stage y (µm)"]
    said = words(figure)
    assert {"DAPI", "GFP", "P0", "P2", "24 frames  a.ome.zarr", "way of the stage: 3 stops, first to last"} <= set(said)
    steps = figure.axes[0].lines[0].get_ydata().tolist()
    assert steps[:24] == [t for t in range(4) for _ in range(6)]
    bars = figure.axes[3].patches
    assert sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars) == sorted(
        (12.0 * half + block, 12.0 * half + block + 7) for half in range(2) for block in range(6)
    )
    (path,) = [line for line in figure.axes[-1].collections if hasattr(line, "get_segments")]
    assert [leg.tolist() for leg in path.get_segments()] == [[[0, 0], [10, -5]], [[10, -5], [20, -10]]]


def test_a_long_plan_is_drawn_as_a_whole_and_its_first_frames_one_by_one() -> None:
    figure = ow.plot(plan({"t": 100_000, "c": 4, "z": 25}, {"t": 10, "z": 5}, format="tensorstore"))
    assert len(figure.axes) == 2 * 5
    said = words(figure)
    assert "the first 150 frames, one by one" in said
    assert any(text.startswith("10,000,000 frames in 1,200 bins") for text in said)
    assert figure.axes[0].get_xlim() == (0, 10_000_000)


def test_plates_grids_and_fields_are_drawn_as_they_lie() -> None:
    plate = ow.Plate.from_standard_wells(96)
    wells = places(12, plate_row=lambda _: "C", plate_column=lambda n: str(n + 1))
    on_plate = ow.plot(settings({"p": wells, "t": 2}, plate=plate)).axes[-1]
    assert {"C", "12"} <= {label.get_text() for label in (*on_plate.get_yticklabels(), *on_plate.get_xticklabels())}
    assert on_plate.yaxis_inverted()
    grid = ow.plot(settings({"p": places(4, grid_row=lambda n: n // 2, grid_column=lambda n: n % 2)})).axes[-1]
    assert grid.get_xlabel() == "column of the grid"
    at = places(2, x_coord=lambda n: 900.0 * n, y_coord=lambda _: 0.0)
    frame = [ow.Dimension(name=name, count=100, unit="um", scale=2) for name in "yx"]
    dims = [ow.Dimension(name="p", coords=at), *frame]
    fields = ow.plot(settings({}, dimensions=dims)).axes[-1].collections[0]
    (box, _) = fields.get_paths()
    np.testing.assert_allclose(box.get_extents().get_points(), [[-100, -100], [100, 100]])
    for without in ({"p": 3}, {"t": 3}):
        assert ow.plot(settings(without)).axes[-1].get_ylabel() == "memory"


@pytest.mark.parametrize(
    ("sizes", "more", "said"),
    [
        ({"t": 4}, {}, "a frame fills its chunks, so none stays open"),
        ({"t": 4}, {}, "direct puts no blocks together"),
        ({"t": None}, {}, "without end: the first 100 frames"),
        ({"c": 60, "t": 4}, {"chunks": {"t": 4}, "storage_order": "acquisition"}, "240 frames  a.ome.zarr"),
        ({"t": 2, "z": 60}, {"chunks": {"t": 2}}, "120 frames  a.ome.zarr"),
        ({"t": 4}, {"format": "acquire-zarr", "dtype": "bool"}, "the writer puts no blocks together"),
    ],
)
def test_odd_plans_are_drawn(sizes: dict[str, Any], more: dict[str, Any], said: str) -> None:
    assert said in words(ow.plot(settings(sizes, **more)))


def test_the_command_draws_without_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    Path("s.json").write_text(dumps(settings({"t": 3, "c": 2})), "utf-8")
    assert run(["plan", "s.json", "--plot", "plan.png"]) == 0
    assert Path("plan.png").read_bytes().startswith(b"\x89PNG")
    assert "plan.png: the plan, drawn" in capsys.readouterr().out
    assert run(["plan", "s.json", "--plot", "plan.doc"]) == 1
    assert "must end with .png, .svg, .pdf; got 'plan.doc'" in " ".join(capsys.readouterr().err.split())


def test_the_command_shows_what_to_think_of(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "s.json"
    path.write_text(dumps(settings({"t": 3, "c": 2})), "utf-8")
    assert run(["plan", str(path)]) == 0
    assert "! chunks: A chunk has 64 B: under 1 MB" in " ".join(capsys.readouterr().out.split())


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    with pytest.raises(PlanError, match=r"pip install 'ome-writers\[plot\]'"):
        ow.plot(plan({"t": 2}))


def test_matplotlib_is_not_loaded_before_it_is_used() -> None:
    code = "import ome_writers as ow, sys; ow.plot; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
