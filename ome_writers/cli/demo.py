"""Given a path, this answers what the demo acquires: two fields of cells, in two channels, through a stack, in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ome_writers.items import Channel, Position
from ome_writers.plan import Plan
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.simulate import Cells, Moment, grow

SEED = 7


def demo_settings(
    path: str, *, size: int = 512, times: int = 10, planes: int = 5, overwrite: bool = False
) -> AcquisitionSettings:
    """Return the settings of the demo: t, p, c, z, the slowest first, with everything that metadata can say.

    Examples
    --------
    >>> demo_settings("demo.ome.zarr").num_frames
    200
    """
    pixel = 0.325
    return AcquisitionSettings(
        root_path=path,
        dtype="uint16",
        overwrite=overwrite,
        dimensions=[
            Dimension(name="t", count=times, unit="second", scale=30.0),
            Dimension(
                name="p",
                coords=[
                    Position(name="left", x_coord=0.0, y_coord=0.0, z_coord=0.0),
                    Position(name="right", x_coord=size * pixel, y_coord=0.0, z_coord=0.0),
                ],
            ),
            Dimension(
                name="c",
                coords=[
                    Channel(
                        name="nuclei",
                        excitation_wavelength_nm=405,
                        emission_wavelength_nm=450,
                        fluorophore="DAPI",
                        color="#5070FF",
                    ),
                    Channel(
                        name="membrane",
                        excitation_wavelength_nm=488,
                        emission_wavelength_nm=510,
                        fluorophore="GFP",
                        color="#00FF00",
                    ),
                ],
            ),
            Dimension(name="z", count=planes, unit="micrometer", scale=2.0),
            Dimension(name="y", count=size, unit="micrometer", scale=pixel),
            Dimension(name="x", count=size, unit="micrometer", scale=pixel),
        ],
    )


def demo_frames(plan: Plan, seed: int = SEED) -> Iterator[NDArray[np.uint16]]:
    """Yield the frames of the demo in the order of its plan; always the same.

    Examples
    --------
    >>> from ome_writers import compile
    >>> plan = compile(demo_settings("demo.ome.zarr", size=64, times=1, planes=3))
    >>> sum(1 for frame in demo_frames(plan) if frame.shape == (64, 64))
    12
    """
    height, width = plan.layout.arrays[0].shape[-2:]
    planes = next(dim.count or 1 for dim in plan.settings.dimensions if dim.name == "z")
    fields: dict[int, Cells] = {}
    last: tuple[tuple[int, int], Moment] | None = None
    for place in range(plan.frames or 0):
        at = plan.locate(place).coordinates
        if at["p"] not in fields:
            fields[at["p"]] = grow((height or 1, width or 1), seed=seed + at["p"])
        key = (at["p"], at["t"])
        if last is None or last[0] != key:
            last = key, fields[at["p"]].at(at["t"])
        depth = 2 * at["z"] / (planes - 1) - 1 if planes > 1 else 0.0
        yield last[1].frame(at["c"], depth)
