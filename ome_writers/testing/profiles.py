"""How many examples hypothesis tries: `dev`, or `ci` where CI is set, or what HYPOTHESIS_PROFILE says."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def load_profile() -> str:
    """Register `dev`, `ci` and `thorough`, load the one that the environment asks for, and return its name."""
    slow = [HealthCheck.too_slow]  # a busy machine is no fault of a test
    settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=slow)
    # In CI a failure must come again, on this machine and on the next; what takes longer is `thorough`, by hand.
    settings.register_profile("ci", max_examples=25, deadline=None, suppress_health_check=slow, derandomize=True)
    settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=slow)
    name = os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
    settings.load_profile(name)
    return name
