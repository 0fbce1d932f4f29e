"""What was recorded, wherever it lies: the settings that describe it, and its frames by their indices.

Every kind of source makes one of these. Frames are read when they are asked for, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from ome_writers.datasets.facts import Facts, plan_of
from ome_writers.errors import SettingsError
from ome_writers.gaps import Pairs
from ome_writers.layout import axis_dimensions
from ome_writers.plan import Plan
from ome_writers.records import Record
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sources import COLOR, LETTERS, Frames, SourceError, size_text

Tell = Callable[[int, int], Record | None]
"""Returns what came with a frame, by the number of its image and its number in there."""


def silent(image: int, number: int) -> None:
    """Tell nothing of any frame."""


@frozen(eq=False, kw_only=True)
class Recording:
    """What was recorded."""

    name: str
    settings: AcquisitionSettings
    """Dimensions, dtype and plate; no path."""
    parts: Sequence[Frames | None]
    """The images; `None`: not one frame of it came."""
    axes: Mapping[str, str]
    """The dimensions that are axes of the images, and their letters there. All others choose the image."""
    fans: tuple[str, ...] = ()
    """Those others, the slowest first."""
    tell: Tell = silent
    cursor: int | None = None
    """How many frames the run went through, in order of acquisition; `None`: all."""
    missing: Pairs = field(factory=lambda: np.empty((0, 2), np.int64))
    """Numbers of the frames among them that did not come, as stretches; see `gaps.py`."""
    planned: int | None = None
    """How many frames were to come; `None`: nobody says, or without end."""
    fault: str | None = None
    """Why the source is not all that it should be."""
    globals: Mapping[str, Record] = field(factory=dict)
    plan: Plan | None = None
    """Where the images hold each frame, if that is not plain: if they are jagged, or of several cameras."""

    def frame(self, indices: Mapping[str, int]) -> tuple[NDArray[Any] | None, Record | None]:
        """Return a frame and what came with it, by its index in each dimension; `None` if it did not come."""
        image, along = self._place(indices)
        part = self.parts[image] if 0 <= image < len(self.parts) else None
        if part is None:
            return None, None
        number = 0
        for letter, length in part.axes:
            index = along.pop(letter, 0)
            if index >= length:
                return None, None
            number = number * length + index
        # Axes of a single element may not be told.
        if any(along.values()):
            return None, None
        pixels = part.read(number)
        return pixels, None if pixels is None else self.tell(image, number)

    def _place(self, indices: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        """Return the number of the image that should hold a frame (-1: none), and the index along each axis there."""
        if self.plan is not None:
            found = self.plan.places.reading.places(indices)
            image, index = found[0] if found else (-1, ())
            return image, dict(zip(self.axes.values(), index, strict=False))
        counts = {dim.name: dim.count or 1 for dim in self.settings.dimensions}
        image = 0
        for fan in self.fans:
            image = image * counts[fan] + indices[fan]
        return image, {letter: indices[name] for name, letter in self.axes.items()}


def jagged(
    facts: Facts, parts: Sequence[Frames | None], format_: Literal["ome-zarr", "ome-tiff"]
) -> dict[str, Any] | None:
    """Return what a recording says of a jagged acquisition, or of several cameras; `None` if this is none.

    Raises
    ------
    SourceError
        If the images are not those of its settings.
    """
    if facts.settings is None:
        return None
    try:
        plan = plan_of(facts, format_)
    except (SettingsError, ValueError) as error:
        raise SourceError(f"what is noted of its frames contradicts itself: {error}") from error
    arrays = plan.layout.arrays
    for number, (part, spec) in enumerate(zip(parts, arrays, strict=False)):
        if part is not None and part.kind != (spec.shape[-2:], spec.dtype):
            wanted = f"{size_text([length or 0 for length in spec.shape[-2:]])} {spec.dtype}"
            raise SourceError(f"{part.name}: image {number} is {part.summary}, by its notes {wanted}")
    if len(parts) > len(arrays):
        raise SourceError(f"has {len(parts)} images, by its notes {len(arrays)}")
    dims = axis_dimensions(plan.settings)
    axes = letters_of(parts, [dims[name] for name in arrays[0].dimension_names[:-2]])
    return {"settings": facts.settings, "plan": plan, "axes": axes}


_RANK: Final = {letter: rank for rank, letter in enumerate("ptcz")}


def letters_of(parts: Sequence[Frames | None], dims: Sequence[Dimension], fans: Sequence[str] = ()) -> dict[str, str]:
    """Return the letters that the axes of images have, by the names of the dimensions."""
    told = {letter for part in parts if part for letter, _ in part.axes}
    found: dict[str, str] = {}
    for dim in dims:
        if dim.name in fans:
            continue
        letter = LETTERS.get(str(dim.type), dim.name)
        # OME-XML has no axes of other kinds: they stand in the channels' place.
        found[dim.name] = letter if letter in told or letter in "tcz" or "c" not in told else "c"
    return found


def colors_as_channels(part: Frames) -> Frames:
    """Return frames whose colours are channels.

    Raises
    ------
    SourceError
        If they have channels beside.
    """
    letters = dict(part.axes)
    if COLOR not in letters:
        return part
    if letters.get("c", 1) > 1:
        raise SourceError(f"{part.name}: has channels of which each has colours; there is no room for both")
    axes = [("c" if letter == COLOR else letter, size) for letter, size in part.axes if letter != "c"]
    return evolve(part, axes=tuple(axes))


def named(part: Frames, axes: str | None) -> Frames:
    """Return frames all of whose axes have letters: those given, or by their number `t`, `tz` or `tcz`.

    Raises
    ------
    SourceError
        If the letters do not fit.
    """
    unnamed = [size for letter, size in part.axes if letter == "?"]
    letters = axes if axes is not None else {0: "", 1: "t", 2: "tz", 3: "tcz"}.get(len(unnamed))
    if (
        letters is None
        or len(letters) != len(unnamed)
        or set(letters) - set("tpcz")
        or len(set(letters)) < len(letters)
    ):
        raise SourceError(
            f"{part.name}: has {len(unnamed)} axes that nothing names, of the lengths {unnamed}; name each with one of "
            f"t, p, c, z: --axes tcz (in Python: axes='tcz'); got {axes!r}"
        )
    names = iter(letters)
    made = tuple((next(names) if letter == "?" else letter, size) for letter, size in part.axes)
    if len({letter for letter, _ in made}) < len(made):
        raise SourceError(f"{part.name}: names an axis twice: {', '.join(letter for letter, _ in made)}")
    return evolve(part, axes=made)


def in_order(axes: Sequence[tuple[str, int]]) -> list[str]:
    """Return the letters of axes in the order in which microscopes mostly go through them."""
    return sorted((letter for letter, _ in axes), key=lambda letter: _RANK.get(letter, len(_RANK)))
