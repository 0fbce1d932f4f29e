"""Given the path of a dataset, this makes a contact sheet: a row for each position, a column for each channel."""

from __future__ import annotations

import os
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.gallery import Gallery, Picture, gallery_of, plane
from ome_writers.needs import require
from ome_writers.readers import noted
from ome_writers.view import open_view
from ome_writers.watching import state_of

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDES: Final = ((12, 320), (48, 224), (1 << 30, 144))
"""Up to so many tiles, a tile has a side of so many pixels."""
_MOST: Final = 400
"""Positions on a sheet, at the most."""
_PERCENTILES: Final = (1.0, 99.7)
"""What is black, and what is as bright as can be: a few hot pixels do not darken the rest."""
_GAP: Final = 8
_SHADE: Final = (24, 26, 30)
_INK: Final = (225, 225, 225)


def preview(path: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> Image:
    """Make a contact sheet of a dataset: a row for each position, a column for each channel, and one for all of them.

    Each tile is a plane from the middle of its image, or of what has come of it. Channels have their colours, and the
    same contrast in all rows: from the 1st to the 99.7th percentile. However large the planes are, it takes little
    memory. Needs matplotlib and pillow (`pip install 'ome-writers[plot]'`), and what reads the format.

    Parameters
    ----------
    path
        An OME-Zarr, or an OME-TIFF that this library wrote; also one that is being written.
    to
        Where the sheet is stored, a .png.

    Returns
    -------
    The sheet, which shows itself in a notebook.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If what is there cannot be shown.
    ModuleNotFoundError
        If a library is missing; the message says what to install.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> dims = dims_from_standard_axes({"p": 2, "c": ["DAPI", "GFP"], "y": 64, "x": 64})
    >>> plan = compile(AcquisitionSettings(root_path="cells.ome.zarr", dtype="uint8", dimensions=dims))
    >>> outcome = write(plan, np.random.default_rng(0).integers(0, 200, (2, 2, 64, 64), "uint8"))
    >>> sheet = preview("cells.ome.zarr", "sheet.png")
    """
    require("PIL", "matplotlib", what="a preview", extra="plot")
    gallery = gallery_of(path)
    shown = gallery.pictures[:_MOST]
    columns = max(len(picture.channels) for picture in shown)
    columns += columns > 1
    side = next(side for most, side in _SIDES if len(shown) * columns <= most)
    came = _came(path)
    tiles = [_tiles(gallery, number, side, came) for number in range(len(shown))]
    sheet = _sheet(Path(path).name, len(gallery.pictures), shown, tiles, side)
    if to is not None:
        sheet.save(to)
    return sheet


# ── pixels ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _came(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return how many elements of the outermost loop have come, by its name, if the run goes on."""
    if noted(os.fspath(path)).get("verdict") != "running":
        return {}
    view = open_view(path)
    rounds = state_of(path).frames // max(1, prod(view.shape[1:-2]))
    # The last round may not have come to every image.
    return {view.dims[0]: max(1, rounds)}


def _tiles(gallery: Gallery, number: int, side: int, came: dict[str, int]) -> list[NDArray[Any]]:
    """Return a plane of each channel of an image."""
    picture = gallery.pictures[number]
    middle = [
        min(size, came.get(axis.name, size)) // 2 for axis, size in zip(picture.axes, picture.shape[:-2], strict=False)
    ]
    made = []
    for channel in range(len(picture.channels)):
        if picture.channel_axis is not None:
            middle[picture.channel_axis] = channel
        tile = plane(gallery, number, tuple(middle), side)
        # Of small images each pixel is a square.
        larger = max(1, side // max(tile.shape))
        made.append(tile.repeat(larger, 0).repeat(larger, 1))
    return made


@frozen
class _Contrast:
    """What is black and what is bright in a channel."""

    low: float
    high: float

    def of(self, tile: NDArray[Any]) -> NDArray[np.float32]:
        """Return brightness, from 0 to 1."""
        bright: NDArray[np.float32] = np.clip((tile - self.low) / (self.high - self.low), 0, 1)
        return bright


def _contrast(tiles: list[NDArray[Any]]) -> _Contrast:
    values = np.concatenate([tile.ravel() for tile in tiles])
    values = values[np.isfinite(values)]
    # What never came is black, and says nothing about the rest.
    values = values[values != 0] if (values != 0).any() else values
    low, high = np.percentile(values, _PERCENTILES) if len(values) else (0.0, 1.0)
    return _Contrast(float(low), float(high)) if high > low else _Contrast(float(min(0, low)), float(max(high, 1)))


def _rgb(color: str) -> NDArray[np.float32]:
    return np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)], np.float32)


# ── the sheet ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sheet(title: str, images: int, shown: tuple[Picture, ...], tiles: list[list[NDArray[Any]]], side: int) -> Image:
    from PIL import Image as Images
    from PIL import ImageDraw

    depth = max(map(len, tiles))
    columns = depth + (depth > 1)
    contrasts = [_contrast([mine[n] for mine in tiles if n < len(mine)]) for n in range(depth)]
    height, width = (max(tile.shape[axis] for mine in tiles for tile in mine) for axis in (0, 1))
    font, small = _font(max(15, side // 14)), _font(max(13, side // 18))
    line = int(font.size * 1.6)
    # As many blocks of rows beside each other as make the sheet about as wide as it is high.
    block = columns * (width + _GAP) + 2 * _GAP
    each = height + line
    blocks = max(1, min(len(shown), round((len(shown) * each / block) ** 0.5)))
    rows = ceil(len(shown) / blocks)
    sheet = Images.new("RGB", (max(blocks * block + _GAP, 2 * side), rows * each + 3 * line + _GAP), _SHADE)
    draw = ImageDraw.Draw(sheet)
    more = f", the first {len(shown)} of {images} images" if images > len(shown) else ""
    draw.text((2 * _GAP, line // 3), title + more, _INK, font)
    for place, (picture, mine) in enumerate(zip(shown, tiles, strict=True)):
        left = 2 * _GAP + place // rows * block
        top = 3 * line + place % rows * each
        draw.text((left, top - line + line // 5), _short(picture.name, columns * width, small), _INK, small)
        colored = [
            contrast.of(tile)[..., None] * _rgb(color)
            for tile, contrast, (_, color) in zip(mine, contrasts, picture.channels, strict=False)
        ]
        if len(colored) > 1:
            colored.append(np.minimum(np.sum(colored, axis=0), 255))
        for column, pixels in enumerate(colored):
            x = left + column * (width + _GAP)
            if place % rows == 0:
                head = picture.channels[column] if column < len(mine) else ("all", None)
                _head(draw, (x, line * 3 // 2, width), head, small)
            sheet.paste(Images.fromarray(pixels.astype(np.uint8)), (x, top))
    return sheet


def _head(draw: Any, where: tuple[int, int, int], head: tuple[str, str | None], font: Any) -> None:
    """Say which channel a column shows."""
    x, y, width = where
    name, color = head
    if color is not None:
        draw.rectangle((x, y + 3, x + font.size - 4, y + font.size - 1), color, _INK)
        x += int(font.size) + 2
    draw.text((x, y - 1), _short(name, width - font.size, font), _INK, font)


def _short(text: str, width: float, font: Any) -> str:
    """Return text that is no wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _font(size: int) -> Any:
    # That of matplotlib has more letters than the one in pillow: µ, Greek, Cyrillic.
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
