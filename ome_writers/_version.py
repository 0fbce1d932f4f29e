"""The version of this package, which its documents name."""

from __future__ import annotations

from typing import Final

__version__: Final = "1.0.0"
