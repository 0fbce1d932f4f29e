"""Writers that other packages bring, found through the metadata of a distribution that is really there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.acquisition_rules import BACKENDS
from ome_writers.errors import PlanError, SettingsError
from ome_writers.plugins import plugin_names
from ome_writers.serial import dumps, loads
from ome_writers.writer import WRITERS, writer_named
from ome_writers.writers.memory import MemoryWriter

SOURCE = """
import numpy as np
from ome_writers import Capabilities
from ome_writers.writers.memory import MemoryWriter

class Npz(MemoryWriter):
    capabilities = Capabilities(name="npz", formats=frozenset({"scratch"}), unit="frame", resizable=False)

    def open(self, root, plan, documents, /, *, attach=False):
        self.root = root
        super().open(root, plan, documents, attach=attach)

    def close(self, documents, /):
        super().close(documents)
        np.savez(self.root, *self.arrays)

class Half:
    capabilities = Npz.capabilities

    def open(self, root, plan, documents, /, *, attach=False): ...
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package as pip leaves it: its module, and a folder of metadata with its entry points."""

    def installed(package: str, source: str = "", **writers: str) -> Path:
        site = tmp_path / f"site-{package}"
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {target}\n" for name, target in writers.items())
        info.joinpath("entry_points.txt").write_text(f"[ome_writers.writers]\n{lines}")
        if source:
            (site / f"{package}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        return site

    yield installed
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]


def settings(root: Path | str, **more: object) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": 3, "y": 4, "x": 5})
    return ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims, **more)


FRAMES = np.arange(60, dtype="uint8").reshape(3, 4, 5)


def test_a_writer_of_another_package_writes_by_its_name(install: Install, tmp_path: Path) -> None:
    install("plug_npz", SOURCE, npz="plug_npz:Npz")
    wanted = settings(tmp_path / "a.npz", format="npz")
    assert (wanted.format.name, wanted.format.backend) == ("scratch", "npz")
    outcome = ow.write(ow.compile(wanted), FRAMES)
    assert (outcome.writer, outcome.verdict) == ("npz", "complete")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["arr_0"], FRAMES)
    scratch = ow.compile(settings(tmp_path / "b.npz", format="scratch"))
    assert ow.write(scratch, FRAMES, "npz").writer == "npz"
    assert loads(dumps(wanted, "json"), "json") == wanted


def test_a_plan_that_it_cannot_do_is_refused_before_anything_is_made(install: Install, tmp_path: Path) -> None:
    install("plug_npz", SOURCE, npz="plug_npz:Npz")
    wanted = settings(tmp_path / "a.ome.zarr", format={"name": "ome-zarr", "backend": "npz"})
    with pytest.raises(PlanError, match="npz writes scratch; got 'ome-zarr'"):
        ow.write(ow.compile(wanted), FRAMES)
    assert not (tmp_path / "a.ome.zarr").exists()


def test_one_that_is_broken_is_named_with_its_package_and_disturbs_no_other(install: Install, tmp_path: Path) -> None:
    install("plug_broken", "import no_such_library_at_all", broken="plug_broken:Writer")
    install("plug_npz", SOURCE, npz="plug_npz:Npz", half="plug_npz:Half", gone="plug_npz:Gone")
    assert plugin_names() == ("broken", "gone", "half", "npz")
    assert ow.write(ow.compile(settings(tmp_path / "a.ome.zarr")), FRAMES).writer == "direct"
    assert ow.write(ow.compile(settings(tmp_path / "a.npz", format="npz")), FRAMES).writer == "npz"
    assert "plug_broken" not in sys.modules
    with pytest.raises(SettingsError) as raised:
        settings("a", format="broken", overwrite=3)
    assert [(problem.loc, problem.kind) for problem in raised.value.problems] == [
        (("format",), "broken_writer"),
        (("overwrite",), "invalid_value"),
    ]
    assert "'plug_broken' cannot be loaded (ModuleNotFoundError: No module named 'no_such" in str(raised.value)
    with pytest.raises(PlanError, match="'half' of the package 'plug_npz' is none: it lacks resize, write, read"):
        writer_named("half")
    with pytest.raises(PlanError, match=r"'gone' of the package 'plug_npz' cannot be loaded .AttributeError"):
        writer_named("gone")


def test_two_packages_with_one_name_are_told_apart_by_nobody(install: Install) -> None:
    install("plug_npz", SOURCE, npz="plug_npz:Npz")
    install("plug_more", SOURCE, npz="plug_more:Npz")
    with pytest.raises(PlanError, match="more than one package brings a writer 'npz': 'plug_more', 'plug_npz'; uninst"):
        writer_named("npz")


def test_none_takes_the_place_of_ours(install: Install) -> None:
    install("plug_npz", SOURCE, memory="plug_npz:Npz", auto="plug_npz:Npz", NPZ="plug_npz:Npz")
    assert plugin_names() == ("npz",)
    assert type(writer_named("memory")) is MemoryWriter
    assert settings("a", format="Npz").format.backend == "npz"


def test_names_that_nobody_brings_are_refused_with_those_that_there_are(install: Install) -> None:
    install("plug_npz", SOURCE, npz="plug_npz:Npz")
    with pytest.raises(PlanError, match=r"'direct', .*'memory', 'npz'; got 'papyrus'"):
        writer_named("papyrus")
    with pytest.raises(SettingsError, match=r"format: must be one of 'auto', .*'npz'; got 'papyrus'"):
        settings("a", format="papyrus")
    with pytest.raises(SettingsError, match=r"backend: must be one of 'auto', 'direct', .*'npz'; got 'papyrus'"):
        ow.OmeZarrFormat(backend="papyrus")
    with pytest.raises(SettingsError, match=r"backend: must be one of .*; got 3"):
        ow.OmeZarrFormat(backend=3)


def test_settings_may_name_our_writers_and_no_others() -> None:
    named = {name for names in BACKENDS.values() for name in names}
    assert named == {*WRITERS, "auto"}
    for name, entry in WRITERS.items():
        # `memory` takes any format when it is passed as a backend; as a word of settings it is scratch.
        formats = {format_ for format_, names in BACKENDS.items() if name in names}
        assert formats == ({"scratch"} if name == "memory" else set(entry.formats))


def test_packages_are_not_looked_at_unless_a_strange_name_is_asked_for() -> None:
    code = (
        "import sys; import ome_writers as ow;"
        "dims = ow.dims_from_standard_axes({'t': 1, 'y': 4, 'x': 4});"
        "ow.compile(ow.AcquisitionSettings(root_path='a', dtype='uint8', dimensions=dims, format='tensorstore'));"
        "print('importlib.metadata' in sys.modules, 'ome_writers.plugins' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "False False\n"
