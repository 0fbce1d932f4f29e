"""Given a description of an acquisition of any kind, this makes its plan: the `compile` that the package shows.

`plan.compile` knows settings only, and stands on floor 2. What knows sequences and events stands on floor 7, as this
module does, which is why `ome_writers.__init__` loads it late; it loads the rest when something else than settings
comes.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

from ome_writers import plan
from ome_writers.settings import AcquisitionSettings

if typing.TYPE_CHECKING:
    import useq

Source = typing.Union[AcquisitionSettings, "useq.MDASequence", Iterable["useq.MDAEvent"], Iterable[Mapping[str, Any]]]


def compile(source: Source, /, **given: Any) -> plan.Plan:  # noqa: A001 - the verb of this library
    """Return the plan of an acquisition.

    Pure and deterministic: the same settings give the same plan, whatever is installed. Of settings, and of sequences
    that are loops, it costs the inner loops, not the frames; events cost some microseconds each.

    Warns where a `storage_order` is asked for that OME-Zarr's rule for the order of axes forbids.

    Parameters
    ----------
    source
        `AcquisitionSettings`. Or a `useq.MDASequence` (also of `useq.v2`), or any iterable of `useq.MDAEvent`, or of
        mappings of loops to indices (for `c` and `p` also names), one for each frame: `[{"t": 0, "c": "GFP"}, …]`.
        Frame `k` of the plan is the `k`-th event that takes an image.
    **given
        What sequences and events do not know: `frame_shape`, (height, width) in pixels, and any field of
        `AcquisitionSettings` (`root_path`, `dtype`, `format`, `holes`, …). If they are known, `pixel_size_um`; and
        `units`, `chunk_shapes` and `shard_shapes` as in `useq_to_acquisition_settings`. `cameras` (names, or `Camera`)
        take each event one after the other. With `dimensions` (then without `frame_shape`) the loops are declared:
        an event that lies outside them is a problem.

    Raises
    ------
    SettingsError
        With everything that is still missing, or that the format cannot hold; also where two events have one index,
        or events go on without end.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 1000, "p": ["A1", "B2"], "c": 4, "z": 25, "y": 512, "x": 512})
    >>> compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    <Plan: 200000 frames in 2 arrays>
    >>> import useq
    >>> channels = ["DAPI", useq.Channel(config="GFP", acquire_every=2)]
    >>> sequence = useq.MDASequence(channels=channels, time_plan={"interval": 10, "loops": 4})
    >>> compile(sequence, root_path="a.ome.zarr", dtype="uint16", frame_shape=(512, 512))
    <Plan: 6 frames in 1 array>
    """
    if isinstance(source, AcquisitionSettings) and not given:
        return plan.compile(source)
    if isinstance(source, AcquisitionSettings):
        from attrs import evolve

        return plan.compile(evolve(source, **given))
    from ome_writers.useq.given import settings_of

    return plan.compile(settings_of(source, **given))
