"""The README tells the truth: its examples run, its settings file is understood, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import zarr

import ome_writers
from ome_writers import compile as compile_plan
from ome_writers.cli.app import app, run
from ome_writers.serial import loads

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FIRST = 'pip install ".[all]" && ome-writers demo demo.ome.zarr'
SECOND = 'pip install -e ".[all,test]" && pytest'


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_two_commands_are_those_that_ci_runs() -> None:
    assert [block.strip() for block in blocks("sh")] == [FIRST, SECOND]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    for command in (SECOND, 'pip install ".[all]" && '):
        assert command in script


def test_examples_print_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python"))
    exec(compile(source, "README.md", "exec"), {})  # noqa: S102 - the README's own code
    promised = re.findall(r"^print\(.*?\)\s+# (.*)$", source, re.MULTILINE)
    assert len(promised) == 6
    assert capsys.readouterr().out.splitlines() == promised
    assert zarr.open_group("cells.ome.zarr", mode="r")["0"].shape == (3, 2, 5, 64, 64)
    assert zarr.open_group("more_cells.ome.zarr", mode="r")["0"].shape == (2, 2, 5, 64, 64)


def test_the_settings_file_compiles() -> None:
    (text,) = blocks("toml")
    plan = compile_plan(loads(text, "toml"))
    assert plan.frames == 3 * 2 * 2
    assert [spec.shape for spec in plan.layout.arrays] == [(3, 2, 512, 512)] * 2


def test_the_settings_file_passes_check_and_plan(tmp_path: Path) -> None:
    path = tmp_path / "cells.toml"
    path.write_text(blocks("toml")[0], "utf-8")
    assert run(["check", str(path)]) == 0
    assert run(["plan", str(path)]) == 0


def test_every_command_is_in_the_table() -> None:
    told = set(re.findall(r"^\| `ome-writers (\w+)", README, re.MULTILINE))
    assert told == {name for name in app if not name.startswith("-")}


def test_the_words_of_the_library_exist() -> None:
    for name in set(re.findall(r"\b(?:ow|ome_writers)\.(\w+)\b", README)):
        assert hasattr(ome_writers, name), name
