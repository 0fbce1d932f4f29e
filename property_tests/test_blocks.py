"""Laws of assembly: how frames are put together into blocks. The oracle keeps its books in dicts, frame by frame."""

from __future__ import annotations

from collections import Counter
from itertools import count, product
from math import prod

import numpy as np
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Dimension, Plan, compile, order
from ome_writers.assembly import CLOSES, GROWS, HOLES, OPENS, assemble
from ome_writers.layout import Unit
from ome_writers.testing.raggedness import jagged
from ome_writers.testing.strategies import settings

UNITS = st.sampled_from(["shard", "chunk", "chunk", "frame"])
Key = tuple[int, ...]


@frozen
class Place:
    """Where a frame goes: its block, its slot in it, and the extent of the block, as the array's edge cuts it."""

    array: int
    block: Key
    slot: int
    extent: tuple[int, ...]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a plan that is kept in short or written out, or a part of one."""
    regular = settings(formats=["ome-zarr", "ome-zarr", "ome-zarr", "ome-tiff"])
    drawn = draw(regular if draw(st.integers(0, 3)) else jagged(formats=["ome-zarr"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_BODY", draw(st.sampled_from([1, 1, 3, 16_384])))
        plan = compile(drawn)
    named = [dim for dim in plan.settings.dimensions[:-2] if dim.count]
    if named and draw(st.booleans()):
        dim = draw(st.sampled_from(named))
        kept = draw(st.lists(st.integers(0, (dim.count or 1) - 1), min_size=1, unique=True))
        plan = plan.select(**{dim.name: kept})
    if draw(st.booleans()):
        plan = plan.rest(draw(st.integers(0, 7 if plan.frames is None else plan.frames)))
    return plan


def place_of(plan: Plan, row: np.void, unit: Unit) -> Place:
    array = int(row["array"])
    spec = plan.layout.arrays[array]
    index = row["index"].tolist()
    size = [1] * len(index)
    if unit != "frame":
        size = list(spec.shard_shape if unit == "shard" and spec.shard_shape else spec.chunk_shape)[: len(index)]
    block, extent, slot = [array], [], 0
    for place, length, end in zip(index, size, spec.shape, strict=False):
        first = place // length * length
        block.append(first)
        extent.append(length if end is None or first + length <= end else end - first)
        slot = slot * extent[-1] + place - first
    return Place(array, tuple(block), slot, tuple(extent))


def horizon(plan: Plan, unit: Unit) -> tuple[int, int]:
    """Return how many rows to look at, and how many to go through so that every block among them is whole."""
    if plan.frames is not None:
        return plan.frames, plan.frames
    each = prod(dim.count or 1 for dim in plan.settings.dimensions[:-2])
    longest = max([1, *(max(place_of(plan, row, unit).extent, default=1) for row in plan.rows(0, 1))])
    return 2 * each * (longest + 1), 4 * each * (longest + 1)


def simulated(plan: Plan, unit: Unit) -> tuple[list[tuple[int, int, int]], int]:
    """Return buffer, slot and flags of the rows, and the most memory that the buffers take."""
    look, through = horizon(plan, unit)
    places = [place_of(plan, row, unit) for row in plan.rows(0, through)]
    planned = Counter(place.block for place in places)
    endless = [axis for axis, size in enumerate(plan.layout.arrays[0].shape) if size is None]
    came: Counter[Key] = Counter()
    live: dict[Key, int] = {}
    sizes: dict[int, int] = {}
    long: set[tuple[int, int]] = set()
    steps = []
    for place in places:
        flags, buffer = 0, -1
        came[place.block] += 1
        if came[place.block] == 1:
            flags |= OPENS
            if planned[place.block] < prod(place.extent):
                flags |= HOLES
        if endless and (place.array, place.block[1 + endless[0]]) not in long:
            long.add((place.array, place.block[1 + endless[0]]))
            flags |= GROWS
        if prod(place.extent) > 1:
            if flags & OPENS:
                live[place.block] = next(number for number in count() if number not in live.values())
            buffer = live[place.block]
            spec = plan.layout.arrays[place.array]
            taken = prod(place.extent) * prod(size or 1 for size in spec.shape[-2:]) * np.dtype(spec.dtype).itemsize
            if len(steps) < look:  # behind that, blocks are not whole, and give their buffers back early
                sizes[buffer] = max(sizes.get(buffer, 0), taken)
        if came[place.block] == planned[place.block]:
            flags |= CLOSES
            live.pop(place.block, None)
        steps.append((buffer, place.slot, flags))
    return steps[:look], sum(sizes.values())


def must_agree(found: list[tuple[int, int, int]], wanted: list[tuple[int, int, int]]) -> None:
    assert [(buffer, slot, flags & ~GROWS) for buffer, slot, flags in found] == [
        (buffer, slot, flags & ~GROWS) for buffer, slot, flags in wanted
    ]
    # Inner loops that are kept in short say it in every round: an array that is long enough does not grow.
    grows = [bool(flags & GROWS) for _, _, flags in wanted]
    said = [bool(flags & GROWS) for _, _, flags in found]
    assert any(grows) == any(said)
    assert all(says for says, needs in zip(said, grows, strict=True) if needs)


class TestAssemblyIsBookkeeping:
    """Buffer, slot and flags are what somebody with a notebook would write down, frame by frame."""

    @given(plans(), UNITS)
    def test_rows(self, plan: Plan, unit: Unit) -> None:
        steps, peak = simulated(plan, unit)
        assembly = assemble(plan, unit)
        must_agree(assembly.rows(0, len(steps)).tolist(), steps)
        assert assembly.peak_bytes == peak

    @pytest.mark.parametrize("snake", [False, True])
    @pytest.mark.parametrize("begin", range(8))
    def test_every_small_plan_without_end(self, begin: int, snake: bool) -> None:  # noqa: FBT001 - a parameter
        # All ways in which the beginning of a rest, a cycle of the table and the chunks may fall beside each other.
        for planes, long, deep in product([1, 2, 3], [1, 2, 3, 4], [1, 2]):
            depth = Dimension(name="z", count=planes, chunk_size=deep, snake=snake)
            frame = [Dimension(name="y", count=1), Dimension(name="x", count=1)]
            dims = [Dimension(name="t", chunk_size=long), depth, *frame]
            plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)).rest(begin)
            steps, peak = simulated(plan, "chunk")
            assembly = assemble(plan, "chunk")
            must_agree(assembly.rows(0, len(steps)).tolist(), steps)
            assert assembly.peak_bytes == peak

    @given(plans(), UNITS)
    def test_blocks_are_whole_frames_of_a_chunk_or_shard(self, plan: Plan, unit: Unit) -> None:
        assembly = assemble(plan, unit)
        for array, spec in enumerate(plan.layout.arrays):
            axes = len(spec.shape) - 2
            grid = {"frame": (1,) * axes, "chunk": spec.chunk_shape, "shard": spec.shard_shape or spec.chunk_shape}[
                unit
            ]
            assert assembly.block_shape(array) == (*grid[:axes], *spec.shape[axes:])


class TestBlocks:
    """Every block opens once and closes once; no two live blocks share a buffer; the slots of a block are distinct."""

    @given(plans(), UNITS)
    def test_opens_and_closes_once(self, plan: Plan, unit: Unit) -> None:
        look, through = horizon(plan, unit)
        opened: Counter[Key] = Counter()
        closed: Counter[Key] = Counter()
        for row, step in zip(plan.rows(0, through), assemble(plan, unit).rows(0, through), strict=True):
            block = place_of(plan, row, unit).block
            opened[block] += bool(step["flags"] & OPENS)
            assert opened[block] == 1
            assert closed[block] == 0
            closed[block] += bool(step["flags"] & CLOSES)
        begun = {place_of(plan, row, unit).block for row in plan.rows(0, look)}
        assert all(closed[block] == 1 for block in begun)

    @given(plans(), UNITS)
    def test_no_two_share_a_buffer(self, plan: Plan, unit: Unit) -> None:
        _, through = horizon(plan, unit)
        holder: dict[int, Key] = {}
        slots: dict[Key, set[int]] = {}
        for row, step in zip(plan.rows(0, through), assemble(plan, unit).rows(0, through), strict=True):
            place, buffer = place_of(plan, row, unit), int(step["buffer"])
            if step["flags"] & OPENS:
                assert buffer not in holder
                slots[place.block] = set()
            if buffer >= 0:
                holder.setdefault(buffer, place.block)
                assert holder[buffer] == place.block
            assert int(step["slot"]) not in slots[place.block]
            assert int(step["slot"]) < prod(place.extent)
            slots[place.block].add(int(step["slot"]))
            if step["flags"] & CLOSES:
                holder.pop(buffer, None)

    @given(plans(), UNITS)
    def test_a_block_of_one_frame_needs_no_buffer(self, plan: Plan, unit: Unit) -> None:
        _, through = horizon(plan, unit)
        for row, step in zip(plan.rows(0, through), assemble(plan, unit).rows(0, through), strict=True):
            alone = prod(place_of(plan, row, unit).extent) == 1
            assert (int(step["buffer"]) == -1) == alone
            if alone:
                assert step["flags"] & OPENS
                assert step["flags"] & CLOSES


class TestBatchesConcatenate:
    """`rows(a, c)` of an assembly is `rows(a, b)` and then `rows(b, c)`."""

    @given(plans(), UNITS, st.data())
    def test_concatenate(self, plan: Plan, unit: Unit, data: st.DataObject) -> None:
        end = 60 if plan.frames is None else plan.frames
        a, b, c = sorted(data.draw(st.tuples(*[st.integers(0, end)] * 3)))
        assembly = assemble(plan, unit)
        assert np.array_equal(assembly.rows(a, c), np.concatenate([assembly.rows(a, b), assembly.rows(b, c)]))
        assert not assembly.rows(a, c).flags.writeable
