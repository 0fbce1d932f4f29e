"""By hand: settings, plan files and lists of places under atheris, which looks for bytes that do what they should not.

    pip install atheris && python tests/faults/fuzz.py settings -max_total_time=600
    python tests/faults/fuzz.py plan corpus/ -max_len=20000

Whatever comes is read, or refused as `SettingsError` or `PlanError`; anything else is a find.
"""

from __future__ import annotations

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["ome_writers"]):
    import ome_writers as ow
    from ome_writers import serial
    from ome_writers.place_file import prepared_from_json
    from ome_writers.plan_file import plan_from_npz


def settings(data: bytes) -> None:
    given = atheris.FuzzedDataProvider(data)
    format_ = given.PickValueInList(["json", "toml", "yaml"])
    try:
        serial.loads(given.ConsumeUnicodeNoSurrogates(4000), format_)
    except ow.SettingsError as error:
        if not error.problems:
            raise AssertionError("refused without a reason") from error


def plan(data: bytes) -> None:
    try:
        found = plan_from_npz(data)
    except ow.PlanError:
        return
    found.rows(0, min(found.frames or 10, 10))


def places(data: bytes) -> None:
    with contextlib.suppress(ow.PlanError):
        prepared_from_json(data)


TARGETS = {"settings": settings, "plan": plan, "places": places}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
