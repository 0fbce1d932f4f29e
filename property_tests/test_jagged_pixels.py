"""Laws of the pixels of jagged acquisitions: whoever writes them, other people's readers find each frame in its place.

Where its place is says `test_jagged.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import settings as limits
from numpy.typing import NDArray

from ome_writers import AcquisitionSettings, Plan, compile, create_stream, open_view, write
from ome_writers.testing import frame_pixels, read_tiff, read_zarr
from ome_writers.testing.jagged import planned
from ome_writers.testing.raggedness import jagged

ENDLESS = 40
"""Frames that come to a plan without end."""
FEW = limits(max_examples=max(limits().max_examples // 4, 10))
WRITERS = [
    *[("ome-zarr", name) for name in ("direct", "tensorstore", "zarr-python")],
    *[("ome-tiff", name) for name in ("direct", "tifffile")],
]


def came(plan: Plan) -> int:
    return ENDLESS if plan.frames is None else plan.frames


def pixels(plan: Plan) -> list[NDArray[Any]]:
    """Return the frames of a plan as they come."""
    arrays = [plan.layout.arrays[array] for array in plan.rows(0, came(plan))["array"].tolist()]
    return [frame_pixels(number, spec.shape[-2:], spec.dtype) for number, spec in enumerate(arrays)]


def expected(plan: Plan) -> list[NDArray[Any]]:
    """Return what the arrays must be: the frames where the table says, zeros elsewhere."""
    rows = plan.rows(0, came(plan))
    out = [np.zeros(shape, spec.dtype) for shape, spec in zip(plan.shapes(len(rows)), plan.layout.arrays, strict=True)]
    for array, index, frame in zip(rows["array"].tolist(), rows["index"].tolist(), pixels(plan), strict=True):
        out[array][tuple(index)] = frame
    return out


def cubes(settings: AcquisitionSettings, plan: Plan) -> Iterator[tuple[str | None, NDArray[Any]]]:
    """Yield the acquisition as loops made it: an array for each camera whose frames are not as those of the others."""
    kinds = {(spec.camera, spec.shape[-2:], spec.dtype) for spec in plan.layout.arrays}
    cameras = settings.camera_dimension
    loops = [dim.name for dim in settings.dimensions[:-2]]
    arrivals = [arrival.loops for arrival, _ in zip(planned(settings), range(came(plan)), strict=False)]
    frames = pixels(plan)
    each: list[Any] = [None]
    if cameras and not cameras.fold and len({kind[1:] for kind in kinds}) > 1:
        each = sorted({kind[0] for kind in kinds})
        loops.remove(cameras.name)
    for camera in each:
        mine = [k for k, at in enumerate(arrivals) if cameras is None or camera in (None, at[cameras.name])]
        if not mine:
            continue
        counts = [
            dim.count or 1 + max(arrivals[k][dim.name] for k in mine)
            for dim in settings.dimensions
            if dim.name in loops
        ]
        out = np.zeros((*counts, *frames[mine[0]].shape), frames[mine[0]].dtype)
        for k in mine:
            out[tuple(arrivals[k][name] for name in loops)] = frames[k]
        yield None if camera is None else cameras.coords[camera].name, out


def inside(view: Any, cube: NDArray[Any]) -> NDArray[Any]:
    """Return the part of the cube to which a view has come; nothing lies beyond it."""
    part = cube[tuple(slice(size) for size in view.shape)]
    assert part.any() == cube.any()
    return part


@pytest.mark.parametrize(("format_", "name"), WRITERS)
def test_every_frame_is_where_its_loops_say_and_elsewhere_is_nothing(format_: str, name: str) -> None:
    codecs = [] if (format_, name) == ("ome-tiff", "direct") else None

    @FEW
    @given(jagged(formats=[format_], codecs=codecs))
    def law(settings: AcquisitionSettings) -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = evolve(settings, root_path=str(Path(folder, settings.root_path)))
            plan = compile(settings)
            outcome = write(plan, pixels(plan), name)
            assert outcome.frames == came(plan)
            read = read_zarr if format_ == "ome-zarr" else read_tiff
            for spec, array in zip(plan.layout.arrays, expected(plan), strict=True):
                found = read(None, outcome.root, spec)
                if found is None:  # an image that no frame came to has no page
                    assert not array.any()
                    continue
                if format_ == "ome-tiff":  # tifffile drops axes of length 1, and shows those that there are not
                    found = found.reshape(array.shape)
                np.testing.assert_array_equal(found, array, strict=True)
            for camera, cube in cubes(settings, plan):
                view = open_view(outcome.root, camera=camera)
                np.testing.assert_array_equal(view[...], inside(view, cube), strict=True)

    law()


@pytest.mark.parametrize("format_", ["ome-zarr", "ome-tiff", "scratch"])
def test_a_view_of_a_run_shows_each_frame_under_the_indices_of_its_loops(format_: str) -> None:
    @FEW
    @given(jagged(formats=[format_]))
    def law(settings: AcquisitionSettings) -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = evolve(settings, root_path=str(Path(folder, settings.root_path)) if settings.root_path else "")
            plan = compile(settings)
            with create_stream(settings) as stream:
                views = {camera: stream.view(camera=camera) for camera, _ in cubes(settings, plan)}
                for frame in pixels(plan):
                    stream.append(frame)
                for camera, cube in cubes(settings, plan):
                    view = views[camera]
                    np.testing.assert_array_equal(view[...], inside(view, cube), strict=True)

    law()
