"""Given a seed, this answers: what would the camera see? Fluorescent cells for the demo, in two channels.

1. `grow` places cells on a jittered grid and gives each its size, shape, depth, brightness and paths: `Cells`, a value.
2. `Cells.at` moves and bends them for a point in time. Each cell has a small window of the image to itself, and all
   windows are computed in one numpy expression.
3. `Moment.frame` lights one plane of that, adds the windows up to an image, and gives it a camera's offset and noise.

The membrane is the shell of a wobbling ellipsoid, the nucleus its core, so planes above and below the middle look as
they do in a confocal microscope: smaller outlines, then only a haze.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

CHANNELS: Final = ("nuclei", "membrane")
"""What channels 0 and 1 show."""
_OFFSET = 100  # camera counts in the dark
_BACKGROUND = 14  # photons of the medium
_PHOTONS = (420, 260)  # of a bright cell, for each channel
_LOBES = np.array([2, 3, 5], np.float32)  # outlines wobble with these periods around the cell
_MARGIN = 1.4  # half width of a cell's window, in radii

Floats = NDArray[np.float32]


@frozen(eq=False)
class Cells:
    """Cells of one field of view. Lengths in pixels, angles in radians; the first axis counts the cells."""

    shape: tuple[int, int]
    """Height and width of a frame."""
    seed: int
    start: Floats
    """(cells, 2): y and x at time 0."""
    drift: Floats
    """(cells, 2): pixels a time step."""
    sway: Floats
    """(cells, 2, 2): amplitude and phase of the wandering in y and x."""
    radius: Floats
    depth: Floats
    """Middle plane; the stack reaches from -1 to 1."""
    wobble: Floats
    """(cells, lobes): amplitude of the outline's waves, in radii."""
    phase: Floats
    """(cells, lobes)"""
    brightness: Floats
    blink: Floats
    """(cells, 2): period in time steps, and phase, of the flashing."""

    def at(self, time: int) -> Moment:
        """Return the cells as they are at `time`, in time steps."""
        half = int(np.ceil(_MARGIN * self.radius.max(initial=1)))
        centre = self.start + np.float32(time) * self.drift
        centre += self.sway[..., 0] * np.sin(np.float32(0.5 * time) + self.sway[..., 1])
        corner = np.floor(centre).astype(np.intp) - half
        steps = np.arange(2 * half + 1, dtype=np.float32)
        y = ((corner - centre)[:, :1] + steps)[:, :, None]
        x = ((corner - centre)[:, 1:] + steps)[:, None, :]
        angle = np.arctan2(y, x)
        outline = np.ones_like(angle)
        for lobe, periods in enumerate(_LOBES):
            phase = self.phase[:, lobe] + np.float32(0.15 * time)
            outline += self.wobble[:, lobe, None, None] * np.cos(periods * angle + phase[:, None, None])
        radius = self.radius[:, None, None]
        period, phase = self.blink.T
        return Moment(
            cells=self,
            time=time,
            corner=corner,
            squared=(y * y + x * x) / (radius * outline) ** 2,
            chromatin=_waves(y / radius, x / radius, self.phase),
            flash=0.5 + 1.3 * np.maximum(0, np.sin(np.float32(2 * np.pi * time) / period + phase)) ** 6,
        )


@frozen(eq=False)
class Moment:
    """Cells at one point in time; the first axis counts the cells, the others are those of a cell's window."""

    cells: Cells
    time: int
    corner: NDArray[np.intp]
    """(cells, 2): row and column of the window's first pixel; may lie outside the image."""
    squared: Floats
    """(cells, height, width): squared distance from the cell's axis; 1 is its outline in its middle plane."""
    chromatin: Floats
    """(cells, height, width): clumps of the nucleus, about 1 on average."""
    flash: Floats
    """(cells,): brightness of the membrane."""

    def frame(self, channel: int, depth: float) -> NDArray[np.uint16]:
        """Return a frame, always the same for the same arguments.

        Parameters
        ----------
        channel
            Index in `CHANNELS`.
        depth
            Place of the plane, from -1 (below) to 1 (above).

        Examples
        --------
        >>> frame = grow((96, 128), seed=3).at(0).frame(0, 0.0)
        >>> frame.shape, frame.dtype.name, bool(frame.min() < 150 < 300 < frame.max())
        ((96, 128), 'uint16', True)
        """
        cells = self.cells
        height = (np.float32(depth) - cells.depth) / np.float32(1.1)
        # Distance from the middle of the ellipsoid: 1 is its surface.
        shell = np.sqrt(self.squared + (height * height)[:, None, None])
        light = _nucleus(shell) * self.chromatin if channel == 0 else _membrane(shell)
        photons = _PHOTONS[channel] * cells.brightness * (1 if channel == 0 else self.flash)
        light *= photons[:, None, None]
        image = self._add_up(light)
        image += _BACKGROUND
        rng = np.random.default_rng([cells.seed, self.time, channel, round(1000 * (depth + 2))])
        # Shot noise: the variance of a count is its mean. From a dozen photons on, a normal distribution does.
        image += np.sqrt(image) * rng.standard_normal(image.shape, np.float32)
        return (np.maximum(image, 0) + np.float32(_OFFSET + 0.5)).astype(np.uint16)

    def _add_up(self, light: Floats) -> Floats:
        # A border as wide as a window takes what reaches over the edges, so no window needs cutting.
        width = light.shape[1]
        height, length = self.cells.shape
        image = np.zeros((height + 2 * width, length + 2 * width), np.float32)
        places = np.clip(self.corner + width, 0, np.array(image.shape) - width)
        for (y, x), window in zip(places.tolist(), light, strict=True):
            image[y : y + width, x : x + width] += window
        return image[width:-width, width:-width]


def grow(shape: tuple[int, int], *, seed: int) -> Cells:
    """Return cells that fill a field of view of `shape` (height, width), always the same for the same seed."""
    rng = np.random.default_rng(seed)
    usual = np.float32(max(shape) / 15)
    pitch = 2.3 * usual
    rows, columns = (max(1, int(np.ceil(length / pitch))) for length in shape)
    grid = np.indices((rows, columns)).reshape(2, -1).T + 0.5
    grid[:, 1] += np.where(np.floor(grid[:, 0]) % 2, 0.25, -0.25)  # rows stand in the gaps of their neighbours
    kept = rng.random(len(grid)) < 0.8  # noqa: PLR2004 - some gaps
    kept[0] = True
    grid = grid[kept]
    count = len(grid)

    def spread(low: float, high: float, *more: int) -> Floats:
        return rng.uniform(low, high, (count, *more)).astype(np.float32)

    return Cells(
        shape=shape,
        seed=seed,
        start=(grid.astype(np.float32) + spread(-0.2, 0.2, 2)) * np.float32(pitch),
        drift=spread(-0.05, 0.05, 2) * usual,
        sway=np.stack((spread(0, 0.12, 2) * usual, spread(0, 2 * np.pi, 2)), -1),
        radius=spread(0.75, 1.15) * usual,
        depth=spread(-0.35, 0.35),
        wobble=spread(0.03, 0.13, len(_LOBES)) * np.array([1.0, 0.7, 0.3], np.float32),
        phase=spread(0, 2 * np.pi, len(_LOBES)),
        brightness=spread(0.45, 1.0),
        blink=np.stack((spread(4, 9), spread(0, 2 * np.pi)), -1),
    )


def _membrane(shell: Floats) -> Floats:
    ring = np.exp(((shell - 1) / 0.07) ** 2 / -2)
    inside = np.clip((1 - shell) / 0.1 + 0.5, 0, 1)
    haze = np.maximum(1.4 - shell, 0) ** 2
    light: Floats = ring + 0.1 * inside + 0.04 * haze
    return light


def _nucleus(shell: Floats) -> Floats:
    core = np.clip((0.52 - shell) / 0.11 + 0.5, 0, 1)
    haze = np.maximum(1.1 - shell, 0) ** 2
    light: Floats = core * core * (3 - 2 * core) + 0.08 * haze
    return light


def _waves(y: Floats, x: Floats, phase: Floats) -> Floats:
    """Return crossing waves over a cell, lengths in its radii: chromatin, different in each cell."""
    first, second, third = (phase[:, number, None, None] for number in range(3))
    along, across = np.cos(first) * y + np.sin(first) * x, np.cos(first) * x - np.sin(first) * y
    waves = 0.9 + 0.13 * np.sin(9 * along + second + np.sin(6 * across)) * np.cos(8 * across + third)
    waves += 0.08 * np.sin(15 * across + 8 * along * along + second)
    return np.asarray(waves, np.float32)
