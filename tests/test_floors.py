"""The floors of the house: what each module may import, read off its source; and what `import ome_writers` loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ome_writers

HOUSE = Path(ome_writers.__file__).parent
FLOORS = (
    ["errors", "jsontext", "units", "casts", "colors", "checksum", "frozen", "selectors", "beyond", "_version"],
    [
        *[
            "check",
            "rules",
            "acquisition_rules",
            "ragged_rules",
            "bridge",
            "dumping",
            "deprecated",
            "formats",
        ],
        *["items", "omission", "settings", "shorthand"],
    ],
    [
        *[
            "axes",
            "order",
            "sieve",
            "holdings",
            "layout",
            "tabulation",
            "reading",
            "selection",
            "growth",
            "location",
            "parts",
            "places",
            "plan",
            "assembly",
        ],
        *["cycles", "physical", "triggers", "moves"],
        *["cuts", "placement", "placement_zarr", "placement_tiff", "tiffblocks", "tiffpages"],
        *["advice", "timeline"],
    ],
    [
        *["records", "images", "gaps", "cube", "cube_facts", "documents", "markup", "zarrjson", "ngff", "ngff_models"],
        *["omexml", "omexml_images", "omexml_pages", "omexml_planes", "omexml_plates", "pages", "serial", "manifest"],
        *["sights", "overview", "sketch", "page"],
    ],
    ["plan_file", "place_file", "schemas", "starter"],
    [
        *["lifetime", "lock", "ownership", "owned_chunks", "owned_tiffs", "leftovers", "needs", "turns", "regular"],
        *["writer", "space", "target", "files", "progress", "blocks", "spool", "puts", "runstate", "run", "begin"],
        *["events", "edits", "view", "stream", "shell", "plugins", "__init__", "syncing", "presence"],
        *[
            "journal_file",
            "recordfile",
            "journal",
            "keeping",
            "saferun",
            "inturn",
            "lanes",
            "ending",
            "resumed",
            "resumed_run",
        ],
        *[f"writers.{name}" for name in ("ring", "buffered", "files", "placed", "reserve")],
    ],
    [
        *[f"writers.{name}" for name in ("__init__", "inflight", "pagefile", "memory", "tensorstore", "tiff")],
        *[f"writers.{name}" for name in ("zarrtree", "zarr_python", "zarrs_python", "shardfiles")],
        *[f"writers.{name}" for name in ("acquire", "backlog", "framestore", "scratch")],
        *[f"writers.{name}" for name in ("direct", "direct_zarr", "direct_tiff", "tifffiles", "zarrfolder")],
        *[f"writers.{name}" for name in ("ahead",)],
        *[f"writers.{name}" for name in ("chunkcodecs", "chunkcut", "shardlog", "encoded")],
        *[f"readers.{name}" for name in ("__init__", "zarr", "tiff", "tifftext", "scratch")],
    ],
    [
        *["display", "drawing", "watching", "gallery", "sheet", "exhibit", "serve"],
        *["simulate", "sources", "arranging", "recorded", "prepared", "finished", "recovered"],
        *[f"useq.{name}" for name in ("__init__", "loops", "positions", "dims", "events", "listing")],
        *[f"useq.{name}" for name in ("first", "second", "given")],
        *[f"bench.{name}" for name in ("__init__", "overhead", "contenders", "pictures", "process")],
        *[f"bench.{name}" for name in ("results", "worker", "race", "chart")],
        *[f"datasets.{name}" for name in ("__init__", "words", "facts", "tiff", "zarr")],
        *[f"validation.{name}" for name in ("__init__", "words", "acquisition", "official", "zarr", "zarrtree")],
        *[f"validation.{name}" for name in ("zarrchunks", "tiff", "tiffchain", "tiffdata", "tifffiles")],
        *[f"conversion.{name}" for name in ("__init__", "recording", "from_zarr", "from_tiff", "from_plain")],
        *[f"conversion.{name}" for name in ("from_ndtiff", "micromanager")],
        *[f"cli.{name}" for name in ("__init__", "app", "bench", "console", "demo", "init", "prepare", "show")],
        *[f"cli.{name}" for name in ("watch", "trust", "recover", "arrange")],
        "__main__",
        *[f"testing.{name}" for name in ("runs", "tiffs", "faults", "sequences")],
        *[
            f"testing.{name}"
            for name in (
                "__init__",
                "model",
                "jagged",
                "raggedness",
                "strategies",
                "readers",
                "ways",
                "killed",
                "living",
                "failing",
                "conformance",
                "profiles",
            )
        ],
    ],
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


PURE = [name for name, number in FLOOR.items() if number <= 4]

PURE_MODULES = words(
    "__future__ ast bisect collections collections.abc colorsys datetime enum functools heapq importlib io itertools",
    "json math numbers operator os posixpath re reprlib string struct tomllib types typing urllib.parse warnings",
    "zipfile attrs cattrs cattrs.gen numpy numpy.typing",
)
"""What floors 0 to 4 may import: no threads, no clock, no chance; `os` for its paths, `zipfile` for bytes in memory."""
PURE_PARTS = {"os": {"fspath", "PathLike"}, "importlib": {"import_module"}, "io": {"BytesIO", "StringIO"}}
IMPURE_CALLS = words(
    "open print input exec eval now today utcnow",
    "read_text read_bytes write_text write_bytes fromfile tofile memmap",
)
LIBRARIES = words("zarr tensorstore tifffile imagecodecs acquire_zarr zarrs numcodecs h5py")
"""Libraries that read and write pixels."""
HEAVY = LIBRARIES | words("pydantic ome_types xsdata xml lxml yaml tomli_w rich cyclopts useq skimage")


def source(name: str) -> str:
    return (HOUSE / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")


def imports(text: str, *, at_once: bool = False) -> Iterator[str]:
    """Yield the full name of all that is imported, with `at_once` only what is imported when the module is."""
    for node in run_at_once(ast.parse(text)) if at_once else ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "relative imports hide which floor they reach"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when the module is imported: none within functions, none that only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if not lazy and not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from run_at_once(child)


def within(imported: str) -> str | None:
    """Return which module of the house an import reaches, if any: `ome_writers.plan.Plan` -> `plan`."""
    first, *rest = imported.split(".")
    if first != "ome_writers":
        return None
    for length in range(len(rest), -1, -1):
        for name in (".".join(rest[:length]), ".".join([*rest[:length], "__init__"])):
            if name in FLOOR:
                return name
    return None


def outside(imported: str) -> str:
    """Return the module that an import from elsewhere names: `collections.abc.Mapping` -> `collections.abc`."""
    names = {imported, imported.rpartition(".")[0]} & PURE_MODULES
    return max(names, key=len, default=imported.partition(".")[0])


def digs_through(name: str, text: str) -> list[str]:
    """Return the imports by which a module reaches a floor above its own."""
    # The face of the house tells type checkers of names that it loads late, from whatever floor.
    reached = {imported: within(imported) for imported in imports(text, at_once=name == "__init__")}
    return sorted(imported for imported, other in reached.items() if other and FLOOR[other] > FLOOR[name])


def called(text: str, function: str) -> list[tuple[str, ...]]:
    """Return the texts that calls of a function begin with."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return sorted(
        tuple(argument.value for argument in call.args if isinstance(argument, ast.Constant))
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == function
    )


def impurities(text: str) -> list[str]:
    """Return what makes the source of a module impure."""
    found = [imported for imported in imports(text) if not within(imported) and outside(imported) not in PURE_MODULES]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            found += [f"{called}()"] if called in IMPURE_CALLS else []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            parts = PURE_PARTS.get(node.value.id, {node.attr} - {"random"})
            found += [f"{node.value.id}.{node.attr}"] if node.attr not in parts else []
    return sorted(found)


def test_questions_to_the_floors_above_are_put_in_one_place():
    asking = {name: called(source(name), "ask") for name in PURE}
    assert {name: questions for name, questions in asking.items() if questions} == {
        # Jupyter asks the value itself.
        "beyond": [("display", "html_of")],
        # Programs of 0.3 ask settings for their schema.
        "bridge": [("schemas", "schema_of")],
        # Settings may name a writer of another package.
        "acquisition_rules": [("plugins", "plugin_names")],
        # A sequence, or a list of events, becomes settings first.
        "plan": [("useq.given", "settings_of")],
        "formats": [("plugins", "format_for"), ("plugins", "plugin_names")],
    }
    # `bridge` imports what a caller of pydantic has imported.
    assert [name for name in PURE if "importlib" in source(name)] == ["beyond", "bridge", "serial"]


def test_every_module_has_its_floor():
    found = {".".join(path.relative_to(HOUSE).with_suffix("").parts) for path in HOUSE.rglob("*.py")}
    assert found == set(FLOOR)


@pytest.mark.parametrize("name", FLOOR)
def test_a_module_imports_from_its_own_floor_or_below(name):
    assert digs_through(name, source(name)) == []


@pytest.mark.parametrize("name", PURE)
def test_floors_0_to_4_are_pure(name):
    # YAML and TOML are written by libraries that are asked for by name; see `serial._library`.
    assert impurities(source(name)) == []


@pytest.mark.parametrize("name", FLOOR)
def test_libraries_of_pixels_are_imported_by_writers_and_readers_and_at_the_edges_where_they_are_used(name):
    everywhere = {imported.partition(".")[0] for imported in imports(source(name))}
    at_once = {imported.partition(".")[0] for imported in imports(source(name), at_once=True)}
    if FLOOR[name] < 6:
        assert not everywhere & LIBRARIES
    if FLOOR[name] != 6:
        assert not at_once & LIBRARIES
    if FLOOR[name] < 6:
        assert not at_once & HEAVY


def test_a_module_that_breaks_the_rules_is_found():
    text = """
import time
from ome_writers.plan import Plan
from ome_writers import shell
os.listdir('.')
open('a')
np.random.default_rng()
"""
    assert impurities(text) == ["np.random", "open()", "os.listdir", "time"]
    assert digs_through("check", text) == ["ome_writers.plan.Plan", "ome_writers.shell"]
    assert digs_through("run", text) == []
    text = """
def later():
    import zarr
if TYPE_CHECKING:
    import yaml
try:
    import tifffile.tifffile
finally:
    from collections.abc import Mapping
"""
    assert sorted(imports(text)) == ["collections.abc.Mapping", "tifffile.tifffile", "yaml", "zarr"]
    assert sorted(imports(text, at_once=True)) == ["collections.abc.Mapping", "tifffile.tifffile"]


def loaded_by(code: str) -> set[str]:
    code = (
        f"import sys; before = set(sys.modules); {code}; import json; print(json.dumps([*{{*sys.modules}} - before]))"
    )
    return set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))


def test_importing_the_package_brings_nothing_heavy_along():
    loaded = loaded_by("import ome_writers")
    assert "ome_writers.plan" in loaded
    assert {name.partition(".")[0] for name in loaded} & (HEAVY - {"xml"}) == set()
    assert {name for name in loaded if name.startswith("xml.etree") or name == "cattrs"} == set()


def test_planning_and_documents_bring_no_library_of_pixels_along():
    loaded = loaded_by(
        "from datetime import datetime, timezone; import ome_writers as ow;"
        "dims = ow.dims_from_standard_axes({'t': 2, 'y': 4, 'x': 4});"
        "plan = ow.compile(ow.AcquisitionSettings(root_path='a.ome.zarr', dtype='uint8', dimensions=dims));"
        "ow.documents(plan, ow.Stamp(datetime(2026, 1, 1, tzinfo=timezone.utc), ('a', 'b')))"
    )
    assert "ome_writers.ngff" in loaded
    assert {name.partition(".")[0] for name in loaded} & LIBRARIES == set()
