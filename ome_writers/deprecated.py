"""Names of `ome-writers` 0.3 that still work, and say what to write instead."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ome_writers.items import Position
from ome_writers.settings import Dimension


class PositionDimension:
    """Deprecated: the way in which older programs name a dimension of positions. Makes a `Dimension`.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DeprecationWarning)
    ...     PositionDimension(positions=["A1", "B2"]).type
    'position'
    """

    def __new__(  # type: ignore[misc]
        cls, *, name: str = "p", positions: Sequence[str | Position] | None = None, **fields: Any
    ) -> Dimension:
        """Return `Dimension(name="p", type="position", coords=positions)`, and warn."""
        warnings.warn(
            "PositionDimension is deprecated: write Dimension(name='p', type='position', coords=[...])",
            DeprecationWarning,
            stacklevel=2,
        )
        coords = {} if positions is None else {"coords": positions}
        return Dimension(name=name, **({"type": "position"} | fields | coords))
