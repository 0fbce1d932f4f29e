"""How blocks are put together where cycles begin or end in the middle of one."""

from __future__ import annotations

from collections import defaultdict

import pytest
from attrs import evolve

import ome_writers as ow
from ome_writers.assembly import CLOSES, OPENS, assemble
from ome_writers.order import Loop, Segment

PLAN = ow.compile(
    ow.AcquisitionSettings(
        root_path="a.ome.zarr",
        dtype="uint8",
        dimensions=ow.dims_from_standard_axes({"t": 40, "y": 4, "x": 4}, chunk_shapes={"t": 4}),
    )
)


def every(step: int, *, first: int, width: int, repeats: int) -> ow.Plan:
    """Return the plan of `width` planes from `first` on, then of those `step` further, and so on."""
    rows = PLAN.rows(first, first + width)
    return evolve(PLAN, segments=(Segment(rows, (Loop(repeats, step, 0, 0, (step,)),)),))


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("width", [1, 2])
def test_every_block_opens_and_closes_once_wherever_a_loop_starts(step: int, first: int, width: int) -> None:
    if width > step:
        return  # rounds would hold the same planes twice
    plan = every(step, first=first, width=width, repeats=4)
    rows, steps = plan.table, plan_steps(plan)
    places = defaultdict(list)
    for place, plane in enumerate(rows["index"][:, 0].tolist()):
        places[plane // 4].append(place)
    opens = [place for place, (_, _, flags) in enumerate(steps) if flags & OPENS]
    closes = [place for place, (_, _, flags) in enumerate(steps) if flags & CLOSES]
    assert opens == [block[0] for block in places.values()]
    assert sorted(closes) == sorted(block[-1] for block in places.values())
    for block in places.values():
        assert len({steps[place][0] for place in block}) == 1
        assert [steps[place][1] for place in block] == [rows["index"][place, 0] % 4 for place in block]


def plan_steps(plan: ow.Plan) -> list[tuple[int, int, int]]:
    return [tuple(row) for row in ow.assemble(plan, "chunk").rows().tolist()]


def test_which_blocks_are_open_at_a_place() -> None:
    assembly = assemble(PLAN, "chunk")
    assert [assembly.open_at(place) for place in (0, 1, 3, 4, 5)] == [{}, {0: 0}, {0: 0}, {}, {0: 4}]
