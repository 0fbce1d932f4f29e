"""How many examples the laws are tried on."""

from __future__ import annotations

from ome_writers.testing.profiles import load_profile

load_profile()
