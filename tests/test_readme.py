"""The README tells the truth: its examples run, its tables are those of the code, its commands and tests exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import zarr

import ome_writers
from ome_writers import compile as compile_plan
from ome_writers.cli.app import app, run
from ome_writers.serial import loads
from ome_writers.writer import WRITERS, writer_named

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
    assert len(promised) == 12
    assert capsys.readouterr().out.splitlines() == promised
    assert zarr.open_group("cells.ome.zarr", mode="r")["0"].shape == (3, 2, 5, 64, 64)
    assert zarr.open_group("more_cells.ome.zarr", mode="r")["0"].shape == (2, 2, 5, 64, 64)


def test_the_settings_file_compiles() -> None:
    (text,) = blocks("toml")
    plan = compile_plan(loads(text, "toml"))
    assert plan.frames == 3 * 2 * 2 * 5
    assert [spec.shape for spec in plan.layout.arrays] == [(3, 2, 5, 512, 512)] * 2


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


def told(capabilities: ome_writers.Capabilities) -> str:
    """Return what the table of writers has to say of one."""
    names = {"ome-zarr": "OME-Zarr", "ome-tiff": "OME-TIFF", "scratch": "scratch"}
    formats = [one for one in names if one in capabilities.formats]
    codecs = capabilities.codecs
    by_format = codecs if isinstance(codecs, Mapping) else dict.fromkeys(formats, codecs)
    can = {
        names[one]: "all" if by_format[one] is None else ", ".join(f"`{codec}`" for codec in sorted(by_format[one]))
        for one in formats
        if one != "scratch"
    }
    compression = next(iter(can.values())) if len({*can.values()}) == 1 else ""
    compression = compression or "; ".join(f"{one}: {what or 'none'}" for one, what in can.items()) or "none"
    return " | ".join(
        [
            f"| `{capabilities.name}`",
            ", ".join(names[one] for one in formats),
            compression,
            "yes" if capabilities.order == "any" else "at `close`",
            "yes" if capabilities.live and capabilities.persistent else "no",
            "yes" if capabilities.attaches else "no",
            "yes" if capabilities.urls and capabilities.persistent else "no",
            {"append": "when `append` returns", "block": "when its chunk is stored", "close": "at `close`"}[
                capabilities.ack
            ]
            if capabilities.persistent
            else "never",
        ]
    )


def test_the_table_of_writers_is_what_they_say_themselves() -> None:
    lines = [line.removesuffix(" |") for line in README.splitlines() if line.startswith("|")]
    wanted = [told(writer_named(name).capabilities) for name in WRITERS]
    begin = lines.index(wanted[0])
    assert lines[begin : begin + len(wanted)] == wanted


def test_each_promise_has_tests_that_exist() -> None:
    promises = re.findall(r"^\| (\d+) \|(.*)$", README, re.MULTILINE)
    assert [int(number) for number, _ in promises] == list(range(1, 11))
    for _, promise in promises:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", promise)
        assert named
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (file, name)


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)|`((?:tests|notebooks)/[\w/.]+)`", README)
    files = {one or other for one, other in named}
    assert len(files) == 4
    assert [file for file in files if not (ROOT / file).exists()] == []
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert names <= set(re.findall(r"`(\w+)`", README))


def test_the_advice_is_that_of_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks("text") if block.startswith("$ ome-writers init")]
    command, promised = block.split("\n", 1)
    assert run(command.split()[2:]) == 0
    assert capsys.readouterr().out.split() == promised.split()
