"""The demo's cells behave as cells under a microscope do, and always the same."""

from __future__ import annotations

import numpy as np

from ome_writers.simulate import grow

CELLS = grow((128, 160), seed=5)
DARK = 100  # the camera's offset


def test_the_same_arguments_give_the_same_frame_in_any_order() -> None:
    first = [CELLS.at(t).frame(c, 0.5) for t in range(2) for c in range(2)]
    again = [grow((128, 160), seed=5).at(t).frame(c, 0.5) for t in (1, 0) for c in (1, 0)]
    for a, b in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (grow((128, 160), seed=6).at(0).frame(0, 0.5) != first[0]).any()


def test_frames_are_those_of_a_camera() -> None:
    frame = CELLS.at(0).frame(0, 0.0)
    assert (frame.shape, frame.dtype.name) == ((128, 160), "uint16")
    assert frame.min() < 110
    assert 300 < frame.max() < 5000


def test_noise_is_shot_noise() -> None:
    # The same plane a thousandth of a step apart: the same light, other photons.
    frames = [CELLS.at(0).frame(0, number / 1000).astype(float) for number in range(40)]
    mean, variance = np.mean(frames, axis=0) - DARK, np.var(frames, axis=0, ddof=1)
    for low, high in ((5, 50), (100, 1000)):
        chosen = (mean > low) & (mean < high)
        assert chosen.sum() > 100
        assert 0.8 < variance[chosen].mean() / mean[chosen].mean() < 1.3


def test_nuclei_lie_within_membranes_and_both_are_there() -> None:
    nuclei, membranes = (CELLS.at(0).frame(channel, 0.0) > DARK + 60 for channel in (0, 1))
    assert 0.02 < nuclei.mean() < 0.4
    assert 0.02 < membranes.mean() < 0.5
    # A membrane is a ring about a nucleus: hardly a pixel is both.
    assert (nuclei & membranes).sum() < 0.2 * nuclei.sum()


def test_cells_move() -> None:
    still, later, much_later = (CELLS.at(time).frame(0, 0.0).astype(float) - DARK for time in (0, 1, 9))

    def likeness(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert likeness(still, later) > likeness(still, much_later) + 0.05
    assert likeness(still, later) > 0.5


def test_membranes_blink_and_nuclei_do_not() -> None:
    light = {c: np.array([CELLS.at(t).frame(c, 0.0).sum(dtype=float) for t in range(12)]) for c in (0, 1)}
    swing = {c: np.ptp(sums - DARK * 128 * 160) / (sums - DARK * 128 * 160).mean() for c, sums in light.items()}
    assert swing[1] > 2 * swing[0]


def test_the_stack_ends_in_haze() -> None:
    nuclei = [int((CELLS.at(0).frame(0, depth) > DARK + 80).sum()) for depth in (0.0, 1.0)]
    assert nuclei[1] < 0.3 * nuclei[0]
