"""Given a plan, this answers: what do documents say of its cube? And given what they say: which cube is it?

The cube is that of `cube.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from attrs import evolve

from ome_writers.cube import Cube, cube_of, digits_of
from ome_writers.layout import roles_of
from ome_writers.plan import Plan
from ome_writers.reading import Reading
from ome_writers.records import JSON, Record


def described(plan: Plan) -> Record:
    """Return what documents keep of the cube, so that it can be had back from a dataset.

    That is `dimensions` in order of acquisition, the last two those of a frame, each with its `name`, `type`, planned
    `count` (`None` without end) and, if its elements have names or places, `coords`; what else is said of it that
    images cannot say exactly (`unit`, `scale`, `translation`, `snake`, `tours`); and the names of the `axes` of the
    arrays, in storage order.

    If arrays do not hold all there is along their axes, or differ in their frames: what each of them `held`, its
    index in the `loops` that are no axes, and the `elements` of each axis where these are not simply all; and the
    `weights` of the loops that are (part of) an axis: its name, and how far one element is from the next.

    And if frames are left out, or listed, or come from several cameras, the `settings` that say so: no table can be
    had back from the dimensions alone.
    """
    from ome_writers.serial import essentials  # which most acquisitions do without

    dimensions: list[JSON] = []
    for dim, labels in zip(plan.settings.dimensions, cube_of(plan).labels, strict=True):
        facts: Record = {"name": dim.name, "type": dim.type, "count": dim.count}
        for name in ("unit", "scale", "translation", "snake", "tours", "tours_within"):
            if (value := getattr(dim, name)) is not None and value is not False:
                facts[name] = list(value) if isinstance(value, tuple) else value
        dimensions.append(facts if labels is None else facts | {"coords": list(labels)})
    told: Record = {"dimensions": dimensions, "axes": list(plan.layout.arrays[0].dimension_names)}
    if plan.settings.is_ragged or plan.settings.camera_dimension is not None:
        told["settings"] = essentials(plan.settings)
    reading = plan.places.reading
    if reading.is_regular and not cube_of(plan).is_uneven:
        return told
    held: list[JSON] = []
    for number, spec in enumerate(plan.layout.arrays):
        loops: dict[str, JSON] = {name: indices[number] for name, indices in reading.fans.items()}
        held.append({"loops": loops, "elements": {name: list(elements) for name, elements in spec.elements}})
    weights: JSON = {loop: [axis, weight] for loop, (axis, weight) in roles_of(plan.settings).weights.items()}
    return told | {"held": held, "weights": weights}


def cube_from(
    facts: Mapping[str, Any],
    shapes: Sequence[Sequence[int]],
    dtypes: Sequence[str],
    camera: str | int | None = None,
) -> Cube:
    """Return the cube of a dataset, or of one of its cameras.

    It is made from what `described` said of it, and the shapes and dtypes of its arrays.

    Raises
    ------
    ValueError
        If they do not fit each other.
    """
    try:
        dims = list(facts["dimensions"])
        names = tuple(str(dim["name"]) for dim in dims)
        axes = tuple(names.index(str(name)) for name in facts["axes"])
        counts = [dim["count"] for dim in dims]
        labels = tuple(tuple(dim["coords"]) if "coords" in dim else None for dim in dims)
        types = [dim["type"] for dim in dims]
        reading = _reading_from(facts, shapes) if "held" in facts else None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"what the documents say of the dimensions cannot be understood: {error!r}") from None
    for axis, dim in enumerate(axes):
        # An axis without end is as long as it has become, and cameras may have frames of their own size.
        if reading is None or counts[dim] is None or axis >= len(axes) - 2:
            counts[dim] = max(shape[axis] for shape in shapes)
    if reading is not None and (outer := next((k for k in range(len(names) - 2) if k in axes), None)) is not None:
        # A run that stopped has come as far as its arrays have.
        came = [reading.reached(array, shape[:-2]).get(names[outer], 0) for array, shape in enumerate(shapes)]
        counts[outer] = max(came, default=0)
    kinds = {(*shape[-2:], dtype) for shape, dtype in zip(shapes, dtypes, strict=True)}
    cube = Cube(names, tuple(counts), labels, axes, (), dtypes[0], 0, reading, is_uneven=len(kinds) > 1)
    if reading is None:
        fans = [dim for dim in range(len(names)) if dim not in axes]
        fans.sort(key=lambda dim: (types[dim] != "position", types[dim] != "camera"))
        if prod(counts[dim] for dim in fans) != len(shapes):
            raise ValueError(
                f"the documents say {counts} of the dimensions {names}, but there are {len(shapes)} arrays"
            )
        cube = evolve(cube, fans=tuple(fans))
    endless = {k for k, dim in enumerate(dims) if dim["count"] is None}
    return cube if camera is None else _one_camera(cube, types, camera, endless, shapes, dtypes)


def _reading_from(facts: Mapping[str, Any], shapes: Sequence[Sequence[int]]) -> Reading:
    held, names = list(facts["held"]), [str(name) for name in facts["axes"]][:-2]
    loops = {str(dim["name"]): dim["count"] for dim in facts["dimensions"][:-2]}
    weights = {str(loop): (str(axis), int(weight)) for loop, (axis, weight) in facts["weights"].items()}
    if len(held) != len(shapes):
        raise ValueError(f"{len(held)} arrays are described, but there are {len(shapes)}")
    made = {}
    for name in names:
        shared = [loops[loop] for loop, (axis, _) in weights.items() if axis == name]
        made[name] = None if None in shared else prod(shared)
    elements = [{str(name): [int(k) for k in some] for name, some in one["elements"].items()} for one in held]
    fans = {loop: [int(one["loops"][loop]) for one in held] for loop in loops if loop not in weights}
    return Reading(loops, made, weights, fans, elements)


def _one_camera(  # noqa: PLR0913, PLR0917 - all that is known of the dataset
    cube: Cube,
    types: Sequence[str],
    camera: str | int,
    endless: set[int],
    shapes: Sequence[Sequence[int]],
    dtypes: Sequence[str],
) -> Cube:
    dim = types.index("camera") if "camera" in types else None
    names = list((cube.labels[dim] if dim is not None else None) or ())
    index = names.index(camera) if camera in names else camera
    if dim is None or not isinstance(index, int) or not 0 <= index < (cube.counts[dim] or 0):
        raise ValueError(f"there is no camera {camera!r}; there are {names or 'none to choose from'}")
    name = cube.dims[dim]
    reading = cube.reading
    if reading is None:
        loops = dict(zip(cube.dims[:-2], cube.counts[:-2], strict=True))
        kept = {cube.dims[axis]: cube.counts[axis] for axis in cube.axes[:-2]}
        fans = dict(zip((cube.dims[k] for k in cube.fans), digits_of(cube, np.arange(len(shapes))), strict=True))
        reading = Reading(
            loops, kept, {one: (one, 1) for one in kept}, {k: v.tolist() for k, v in fans.items()}, [{}] * len(shapes)
        )
    arrays = [number for number, one in enumerate(reading.fans[name]) if one == index]
    if not arrays:
        raise ValueError(f"no frame was planned for the camera {camera!r}")
    left = [k for k in range(len(cube.dims)) if k != dim]
    counts = dict(enumerate(cube.counts))
    for axis, k in enumerate(cube.axes):
        if k in endless or axis >= len(cube.axes) - 2:
            counts[k] = max(shapes[array][axis] for array in arrays)
    return evolve(
        cube,
        dims=tuple(cube.dims[k] for k in left),
        counts=tuple(counts[k] for k in left),
        labels=tuple(cube.labels[k] for k in left),
        axes=tuple(left.index(k) for k in cube.axes),
        fans=(),
        dtype=dtypes[arrays[0]],
        reading=reading,
        at=((name, index),),
        is_uneven=False,
    )
