"""Given settings, this answers: which arrays will there be, and which frame goes where in them?

Where nothing is jagged, the loops say both (`order.py`, `layout.py`). Where something is, the frames that are planned
are found first (`sieve.py`), then what holds them (`holdings.py`), then the arrays.
"""

from __future__ import annotations

import warnings

from ome_writers import acquisition_rules
from ome_writers.check import require
from ome_writers.holdings import Finder, tabled
from ome_writers.layout import Layout, holdings_of, laid_out, roles_of
from ome_writers.order import Segment, ordered
from ome_writers.settings import AcquisitionSettings, by_ngff_rule
from ome_writers.sieve import planned


def tabulated(settings: AcquisitionSettings) -> tuple[Layout, tuple[Segment, ...]]:
    """Return the layout and the frame table of an acquisition.

    Raises
    ------
    SettingsError
        With everything that is still missing, or that the format cannot hold.
    """
    require(settings, (), acquisition_rules.READY)
    roles = roles_of(settings)
    if settings.format.name == "ome-zarr" and roles.axes != by_ngff_rule(roles.axes):
        # NGFF 0.5, "axes": "MUST be ordered by type".
        message = "OME-Zarr 0.5 wants axes in the order time, channel, space; storage_order asks for"
        names = ", ".join(dim.name for dim in roles.axes)
        warnings.warn(f"{message} {names}, which some readers will refuse", stacklevel=3)
    parts = planned(settings) if settings.is_ragged else None
    holdings = holdings_of(settings, roles, parts)
    loops = settings.dimensions[:-2]
    if parts is None:
        segments = ordered(loops, roles.fans, roles.weights, roles.axes)
    else:
        segments = tabled(settings, parts, Finder(loops, roles.fans, roles.axes, roles.weights, holdings))
    return laid_out(settings, roles, holdings), segments
