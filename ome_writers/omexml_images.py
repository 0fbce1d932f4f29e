"""Given an image, this answers: what do its elements in OME-XML say that does not depend on which planes came?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from ome_writers.axes import Axis, stage_of
from ome_writers.images import Hue, Image, hues
from ome_writers.markup import attributes, element
from ome_writers.omexml_planes import stage_units, symbol

_PIXEL_TYPES: Final = {
    "bool": "bit", "float32": "float", "float64": "double", "complex64": "complex", "complex128": "double-complex",
    "float16": "float", "int64": "double", "uint64": "double",
}  # fmt: skip
"""Name of a dtype -> `PixelType`, where they differ. OME-XML lacks the last three, which only OME-Zarr stores: the
nearest stands in."""


def pixel_attributes(image: Image) -> str:
    """Return the attributes of `Pixels` that do not depend on what came."""
    axes, dtype = image.axes, image.spec.dtype
    # XYCZT: storage order from the fastest axis to the slowest; those that there are not come last.
    order = "".join(dict.fromkeys([*(axis.role for axis in reversed(axes[:-2])), *"ZCT"]))
    values: dict[str, object] = {
        "DimensionOrder": f"XY{order}",
        "Type": _PIXEL_TYPES.get(dtype, dtype),
        "BigEndian": False,
    }
    roles = {axis.role: axis for axis in axes[:-2]}
    for letter, axis in (("X", axes[-1]), ("Y", axes[-2]), ("Z", roles.get("Z"))):
        if axis and axis.scale:
            values |= {
                f"PhysicalSize{letter}": abs(axis.scale),
                f"PhysicalSize{letter}Unit": symbol(axis.dimension.unit),
            }
    if (time := roles.get("T")) and time.scale:
        values |= {"TimeIncrement": time.scale, "TimeIncrementUnit": symbol(time.dimension.unit)}
    return attributes(values)


def sizes_of(axes: Sequence[Axis], shape: tuple[int, ...]) -> dict[str, int]:
    """Return `SizeX` and so on."""
    sizes = {"SizeX": shape[-1], "SizeY": shape[-2], "SizeZ": 1, "SizeC": 1, "SizeT": 1}
    return sizes | {f"Size{axis.role}": size for axis, size in zip(axes[:-2], shape, strict=False)}


def channels_of(image: Image, count: int) -> str:
    """Return the `Channel` elements."""
    shown = image.hues
    for axis in image.axes[:-2]:
        if axis.role == "C" and axis.dimension.type != "channel":  # a custom axis stands in the channels' place
            shown = tuple(evolve(hue, channel=shown[0].channel) for hue in hues(axis.dimension, count))
    detector = "" if image.camera is None else element("DetectorSettings", {"ID": f"Detector:{image.spec.camera}"})
    return "".join([_channel(f"Channel:{image.spec.image}:{index}", hue, detector) for index, hue in enumerate(shown)])


def _channel(name: str, hue: Hue, detector: str) -> str:
    channel = hue.channel
    values: dict[str, object] = {"ID": name, "Name": hue.name, "SamplesPerPixel": 1, "Color": signed_rgba(hue.color)}
    if channel is not None:
        values["Fluor"] = channel.fluorophore
        wavelengths = {"Excitation": channel.excitation_wavelength_nm, "Emission": channel.emission_wavelength_nm}
        for kind, length in wavelengths.items():
            if length is not None:
                values |= {f"{kind}Wavelength": float(length), f"{kind}WavelengthUnit": "nm"}
    return element("Channel", values, detector)


def signed_rgba(color: str) -> int:
    """Return `#RRGGBB[AA]` as OME-XML's `Color`: red, green, blue and alpha in the bytes of a signed 32-bit integer.

    Examples
    --------
    >>> signed_rgba("#FFFFFF"), signed_rgba("#00FF0080")
    (-1, 16711808)
    """
    return int.from_bytes(bytes.fromhex(f"{color[1:]}FF"[:8]), signed=True)


def instrument(images: Sequence[Image]) -> str:
    """Return the `Instrument` with a `Detector` for each camera, if there are several cameras."""
    cameras = {image.spec.camera: image.camera for image in images if image.camera is not None}
    detectors = [
        element(
            "Detector",
            {
                "ID": f"Detector:{number}",
                "Model": camera.model or camera.name,
                "SerialNumber": camera.serial_number,
                "Type": "Other",
            },
        )
        for number, camera in sorted(cameras.items())
    ]
    return element("Instrument", {"ID": "Instrument:0"}, *detectors) if detectors else ""


def stage_label(image: Image) -> str:
    """Return the `StageLabel`, if it is known where the stage stands."""
    stage = stage_of(image.position)
    if not stage:
        return ""
    values: dict[str, object] = {"Name": image.position.name}
    for axis, unit in stage_units(image.axes).items():
        if axis in stage:
            values |= {axis.upper(): stage[axis], f"{axis.upper()}Unit": unit}
    return element("StageLabel", values)
