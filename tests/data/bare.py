"""Writes both formats and reads them through the stream, where nothing is installed but what the core asks for."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np

import ome_writers as ow


def main() -> None:
    libraries = ("tensorstore", "zarr", "tifffile", "numcodecs", "ome_types", "yaml", "rich")
    if found := [name for name in libraries if importlib.util.find_spec(name)]:
        sys.exit(f"this is no bare environment: {found}")

    with tempfile.TemporaryDirectory() as folder:
        for path, sizes in (
            ("a.ome.zarr", {"t": 4, "c": 2}),
            ("b.ome.zarr", {"t": None, "p": ["left", "right"]}),
            ("a.ome.tiff", {"t": 4, "c": 2}),
            ("b.ome.tiff", {"p": ["left", "right"], "t": 4}),
        ):
            settings = ow.AcquisitionSettings(
                root_path=str(Path(folder, path)),
                dtype="uint16",
                dimensions=ow.dims_from_standard_axes({**sizes, "y": 32, "x": 48}),
            )
            with ow.create_stream(settings) as stream:
                for number in range(8):
                    stream.append(np.full((32, 48), number, "uint16"), frame_metadata={"exposure_time": 0.01})
            seen = stream.view()[..., 0, 0].ravel().tolist()
            if seen != list(range(8)) or stream.outcome.verdict == "failed":
                sys.exit(f"{path}: {seen}, {stream.outcome}")
            sys.stdout.write(f"{path}: 8 frames through {stream.outcome.writer}\n")


if __name__ == "__main__":
    main()
