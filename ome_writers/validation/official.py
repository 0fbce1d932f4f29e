"""Given metadata, this asks the validators of others: yaozarrs, the NGFF JSON schemas, and the schema of OME-XML.

They are optional: what is not installed is said to be not run, and how to install it. Nothing is fetched from the net.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from ome_writers.validation.words import Findings
from ome_writers.validation.zarrtree import Tree

HINT: Final = "pip install 'ome-writers[validate]'"
MOST_XML: Final = 64 << 20
"""Bytes of OME-XML above which the schema is not asked: lxml would need gigabytes."""
_MODELS: Final = {"multiscales": "image", "plate": "plate", "well": "well", "bioformats2raw.layout": "bf2raw"}
"""What a group has, and the schema for that."""


def installed(*libraries: str) -> str | None:
    """Return what to say if any of some libraries is missing.

    Examples
    --------
    >>> installed("json", "no_such_library")
    "needs no_such_library: pip install 'ome-writers[validate]'"
    """
    absent = [name for name in libraries if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}: {HINT}" if absent else None


def check_yaozarrs(root: Path, found: Findings) -> None:
    """Ask yaozarrs whether the store is a valid OME-Zarr."""
    with found.check("yaozarrs") as check:
        if reason := installed("yaozarrs"):
            check.not_run(reason)
            return
        import yaozarrs

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                yaozarrs.validate_zarr_store(str(root))
            except Exception as error:  # noqa: BLE001 - its own, those of pydantic, and of several readers
                for where, message in _told(error):
                    check.fault(where, message)
        told = [getattr(one.message, "warnings", None) for one in warned]
        listed = [detail for one in told if callable(one) for detail in one()]
        for where, message in dict.fromkeys((".".join(map(str, one["loc"])), str(one["msg"])) for one in listed):
            check.warn(where, message)
        check.summary = f"valid, says yaozarrs {getattr(yaozarrs, '__version__', '')}".rstrip()


def _told(error: Exception) -> list[tuple[str, str]]:
    """Return place and message of each fault that an error lists, in the manner of pydantic; else what it says."""
    details = getattr(error, "errors", None)
    try:
        found = [(".".join(map(str, one["loc"])), str(one["msg"])) for one in (details() if callable(details) else ())]
    except (KeyError, TypeError):
        found = []
    return found or [("", f"{type(error).__name__}: {error}")]


def check_schemas(tree: Tree, found: Findings) -> None:
    """Ask the official JSON schemas of the version that the dataset names."""
    with found.check("NGFF schemas") as check:
        if reason := installed("ngff_zarr", "jsonschema"):
            check.not_run(reason)
            return
        version = tree.version or "0.5"
        folder = _schemas() / version / "schemas"
        if not version.replace(".", "").isdecimal() or not folder.is_dir():
            check.fault("", f"there is no schema of version {version!r}")
            return
        if not tree.version:
            check.warn("", "names no version of OME-Zarr; 0.5 is supposed")
        asked = 0
        for node in tree.groups:
            for part, model in _MODELS.items():
                if part in node.ome:
                    asked += 1
                    for error in _validator(folder, model).iter_errors(node.attributes):
                        where = ".".join(map(str, error.absolute_path))
                        check.fault(f"{node.key}/zarr.json".lstrip("/"), f"{where}: {error.message:.300}".lstrip(": "))
        check.summary = f"{asked} document{'s' * (asked != 1)} valid by the schemas of version {version}"


def _schemas() -> Path:
    # The folder alone: the package itself would bring half the scientific world along.
    spec = importlib.util.find_spec("ngff_zarr")
    places: Iterable[str] = (spec.submodule_search_locations if spec else None) or ()
    return Path(next(iter(places), ""), "spec")


@cache
def _validator(folder: Path, model: str) -> Any:
    import jsonschema  # type: ignore[import-untyped]
    import referencing
    from referencing.jsonschema import DRAFT202012

    bodies = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.schema"))]
    registry = referencing.Registry().with_resources(
        (body["$id"], referencing.Resource.from_contents(body, DRAFT202012)) for body in bodies if "$id" in body
    )
    body = json.loads((folder / f"{model}.schema").read_text("utf-8"))
    return jsonschema.validators.validator_for(body)(body, registry=registry)


def check_xml(texts: Iterable[tuple[str, bytes]], found: Findings) -> None:
    """Ask the schema of OME-XML about each text, of which the name is told as the location."""
    with found.check("OME-XML schema") as check:
        if reason := installed("ome_types", "lxml"):
            check.not_run(reason)
            return
        asked = 0
        for name, text in texts:
            asked += 1
            if len(text) > MOST_XML:
                check.warn(name, f"is longer than {MOST_XML >> 20} MiB, and was not compared with the schema")
                continue
            for line, message in _xml_faults(text):
                check.fault(name, f"line {line}: {message:.300}")
        check.summary = f"{asked} document{'s' * (asked != 1)} valid by OME 2016-06"


def _xml_faults(text: bytes) -> list[tuple[int, str]]:
    import lxml.etree  # type: ignore[import-untyped]

    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    try:
        document = lxml.etree.fromstring(text, parser)
    except lxml.etree.XMLSyntaxError as error:
        return [(error.lineno or 0, f"is not well-formed XML: {error.msg}")]
    schema = _xsd()
    schema.validate(document)
    return [
        (entry.line, entry.message.replace("{http://www.openmicroscopy.org/Schemas/OME/2016-06}", ""))
        for entry in schema.error_log
    ]


@cache
def _xsd() -> Any:
    import lxml.etree

    spec = importlib.util.find_spec("ome_types")
    places = (spec.submodule_search_locations if spec else None) or ()
    return lxml.etree.XMLSchema(lxml.etree.parse(Path(next(iter(places), ""), "ome-2016-06.xsd")))
