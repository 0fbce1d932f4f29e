"""Given a row of the frame table, this answers: where is that, in the words of programs and of people?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from ome_writers.layout import Layout
from ome_writers.reading import Reading
from ome_writers.settings import AcquisitionSettings


@frozen
class Location:
    """Where one frame goes; as text it says so to people.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "p": ["A1", "B2"], "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan.locate(3).path, plan.locate(3).index
    ('1/0', (1,))
    """

    frame: int
    position: int
    array: int
    path: str
    """Key of the array."""
    index: tuple[int, ...]
    """Storage index."""
    coordinates: dict[str, int] = field(hash=False)
    """Index in every loop, by the name of its dimension."""
    text: str

    def __str__(self) -> str:
        return self.text


def location_of(settings: AcquisitionSettings, layout: Layout, row: np.void, reading: Reading) -> Location:
    """Return where the frame of a row goes."""
    spec = layout.arrays[int(row["array"])]
    coordinates = reading.at(int(row["array"]), row["index"].tolist())
    named: dict[str, str] = {}
    parts = []
    for dim in settings.dimensions[:-2]:
        index = coordinates[dim.name]
        if dim.type in ("position", "camera"):
            named[str(dim.type)] = f"{dim.type} {getattr((dim.coords or ())[index], 'name', index)!r},"
        else:
            parts.append(f"{dim.name}={index}")
    parts = [named[kind] for kind in ("position", "camera") if kind in named] + parts
    where = " ".join(parts).rstrip(",")
    text = f"frame {row['frame']} ({where})" if where else f"frame {row['frame']}"
    return Location(
        frame=int(row["frame"]),
        position=spec.position,
        array=int(row["array"]),
        path=spec.path,
        index=tuple(row["index"].tolist()),
        coordinates=coordinates,
        text=text,
    )
