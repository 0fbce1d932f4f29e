"""Given a dimension, this answers: where do its elements lie in the world? And where is the stage at a position?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from ome_writers.items import Position
from ome_writers.settings import Dimension


@frozen
class Axis:
    """An axis of the arrays, and where its elements lie in the world."""

    dimension: Dimension
    scale: float | None
    """Distance of two elements, in the dimension's unit; `None` if nobody said so, or if it is uneven."""
    origin: float
    """Place of the first element, without the stage."""
    coords: tuple[float, ...] | None
    """Places of the elements where they are given one by one."""

    @property
    def name(self) -> str:
        """Name of the dimension."""
        return self.dimension.name

    @property
    def role(self) -> str:
        """Which of OME-XML's loops the axis is, by its type: `T`, `C` or `Z`. The axes of a frame are none."""
        return {"time": "T", "space": "Z"}.get(str(self.dimension.type), "C")

    @property
    def is_placed(self) -> bool:
        """Whether anything is known of where the elements lie."""
        return self.scale is not None or self.coords is not None or self.dimension.translation is not None

    @property
    def is_even(self) -> bool:
        """Whether scale (1 if nobody said so) and origin say all there is."""
        step = self.scale or 1.0
        return self.coords is None or _equal(self.coords, self.origin, step)

    def place(self, index: int) -> float:
        """Return the place of an element."""
        return self.coords[index] if self.coords is not None else _clean(self.origin + index * (self.scale or 0))


def axis_of(dim: Dimension) -> Axis:
    """Return where the elements of a dimension lie.

    Examples
    --------
    >>> axis = axis_of(Dimension(name="z", coords=[10, 10.5, 11], unit="um"))
    >>> axis.scale, axis.origin
    (0.5, 10.0)
    """
    numbers = None
    if dim.coords and dim.type in ("space", "time"):
        numbers = tuple(float(coord) for coord in dim.coords)  # type: ignore[arg-type]
    scale = None if dim.scale is None else float(dim.scale)
    if numbers and scale is None and len(numbers) > 1:
        step = _clean((numbers[-1] - numbers[0]) / (len(numbers) - 1))
        if step and _equal(numbers, numbers[0], step):
            scale = step
    origin = dim.translation if dim.translation is not None else numbers[0] if numbers else 0.0
    return Axis(dimension=dim, scale=scale, origin=float(origin), coords=numbers)


def _equal(places: Sequence[float], first: float, step: float) -> bool:
    even = first + step * np.arange(len(places))
    return bool(np.allclose(places, even, rtol=1e-9, atol=1e-6 * abs(step)))


def _clean(value: float) -> float:
    """Return a sum without the last digits' noise: 0.30000000000000004 is 0.3 to a microscope."""
    return float(f"{value:.12g}")


def stage_of(position: Position) -> dict[str, float]:
    """Return the stage coordinates of a position that are known, by axis."""
    known = {"x": position.x_coord, "y": position.y_coord, "z": position.z_coord}
    return {name: float(value) for name, value in known.items() if value is not None}


def stage_axes(axes: Sequence[Axis]) -> dict[str, Axis]:
    """Return along which axis of the arrays the stage's x, y and z go: by place, since their names are the user's."""
    *others, y, x = axes
    if (y.name.lower(), x.name.lower()) == ("x", "y"):
        x, y = y, x
    depth = [axis for axis in others if axis.dimension.type == "space"]
    return {"x": x, "y": y} | ({"z": depth[0]} if depth else {})
