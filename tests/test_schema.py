"""The JSON Schema of settings, judged by somebody else's validator, and the first settings file that `init` writes."""

from __future__ import annotations

import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import NOTHING, fields
from jsonschema import Draft202012Validator

import ome_writers as ow
from ome_writers import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.acquisition_rules import BACKENDS, COMPRESSIONS
from ome_writers.advice import Advice, advise
from ome_writers.cli import init as commands
from ome_writers.cli.app import run
from ome_writers.errors import SettingsError
from ome_writers.items import Channel, Position
from ome_writers.schemas import schema
from ome_writers.serial import loads, settings_from
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.starter import Answers, commented

SCHEMA = schema(plugins=["hdf5"])
VALIDATOR = Draft202012Validator(SCHEMA)

FULL: dict[str, Any] = {
    "$schema": "./ome-writers.schema.json",
    "root_path": "cells.ome.zarr",
    "dtype": "uint16",
    "dimensions": [
        {"name": "t", "count": None, "unit": "s", "scale": 0.5},
        {
            "name": "p",
            "coords": ["left", {"name": "right", "x_coord": 1, "grid_row": 0, "grid_column": 1}],
            "tours": [2],
        },
        {"name": "c", "coords": ["DAPI", {"name": "GFP", "color": [0, 255, 0], "emission_wavelength_nm": 510}]},
        {"name": "z", "coords": [0, 0.5, 2], "unit": "um", "snake": False},
        {"name": "y", "count": 8, "chunk_size": 4, "shard_size_chunks": 2},
        {"name": "x", "count": 8.0},
    ],
    "format": "tensorstore",
    "compression": "blosc-zstd",
    "compression_level": 3,
    "storage_order": "acquisition",
    "overwrite": True,
    "buffer_bytes": 1000,
}


def refused(values: Any) -> list[str]:
    return sorted(".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(values))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_it_has_every_field_and_default_and_what_is_required() -> None:
    described = {"AcquisitionSettings": SCHEMA, **SCHEMA["$defs"]}
    classes = [AcquisitionSettings, Channel, Dimension, Plate, Position, OmeZarrFormat, OmeTiffFormat, ScratchFormat]
    for cls in classes:
        found = described[cls.__name__]
        names = [field.name for field in fields(cls)]
        assert [name for name in found["properties"] if name != "$schema"] == names
        assert found["additionalProperties"] is False
        assert found["required"] == [field.name for field in fields(cls) if field.default is NOTHING]
        defaults = {name: one["default"] for name, one in found["properties"].items() if "default" in one}
        needed = {"name": "t", "row_names": ["A"], "column_names": ["1"]}
        made = cls(**{name: value for name, value in needed.items() if name in found["required"]})
        for name, value in defaults.items():
            # What the type and the format are is inferred where they are left out.
            assert getattr(made, name) == value or name in {"type", "format"}
    assert SCHEMA["$defs"]["Plate"]["required"] == ["row_names", "column_names"]


def test_full_and_short_documents_pass_and_load() -> None:
    assert refused(FULL) == []
    assert settings_from(FULL).dimensions[2].coords == (
        Channel(name="DAPI"),
        settings_from(FULL).dimensions[2].coords[1],
    )
    formats: list[Any] = [
        "auto", "zarr", "ome-zarr", "tiff", "scratch", "memory", "direct", {"backend": "tensorstore"},
        {"name": "ome-tiff", "prefer_single_file": True, "multi_file_metadata": "companion-file"},
        {"name": "ome-zarr", "group_names": "position"}, {"name": "scratch", "max_memory_bytes": 5},
    ]  # fmt: skip
    for given in formats:
        document = {"root_path": "a", "format": given}
        settings_from(document)
        assert refused(document) == []
    for dtype in ("u2", "<f4", "float64", "complex64", "bool"):
        settings_from({"dtype": dtype})
        assert refused({"dtype": dtype}) == []
    assert refused({"format": "hdf5"}) == []  # of another package, that is here
    assert refused({"format": "scratch", "compression": "anything"}) == []
    assert refused({"plate": {"row_names": ["A"], "column_names": ["1"]}, "storage_order": ["t", "y", "x"]}) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"dtype": "uint17"}, "dtype"),
        ({"dtype": "u3"}, "dtype"),
        ({"format": "papyrus"}, "format"),
        ({"format": {"name": "ome-zarr", "backend": "tifffile"}}, "format"),
        ({"format": {"name": "ome-tiff", "multi_file_metadata": "nowhere"}}, "format"),
        ({"compression": "blosc-zst"}, "compression"),
        ({"compression_level": 23}, "compression_level"),
        ({"storage_order": "alphabetical"}, "storage_order"),
        ({"overwrite": "perhaps"}, "overwrite"),
        ({"buffer_bytes": -1}, "buffer_bytes"),
        ({"buffer_bytes": 1.5}, "buffer_bytes"),
        ({"dimension": []}, ""),
        ({"dimensions": {"t": 3}}, "dimensions"),
        ({"dimensions": [{"count": 3}]}, "dimensions.0"),
        ({"dimensions": [{"name": "t", "count": 0}]}, "dimensions.0.count"),
        ({"dimensions": [{"name": "t", "count": "many"}]}, "dimensions.0.count"),
        ({"dimensions": [{"name": "t", "type": "tme"}]}, "dimensions.0.type"),
        ({"dimensions": [{"name": "t", "chunk": 3}]}, "dimensions.0"),
        ({"dimensions": [{"name": "c", "coords": [{"nam": "DAPI"}]}]}, "dimensions.0.coords.0"),
        ({"plate": {"row_names": ["A"]}}, "plate"),
    ],
)
def test_what_does_not_load_for_one_field_does_not_pass(change: dict[str, Any], path: str) -> None:
    assert refused(change) == [path]
    with pytest.raises(SettingsError):
        settings_from({"root_path": "a.ome.zarr", **change})


def test_names_are_those_that_the_rules_know() -> None:
    words = SCHEMA["properties"]["format"]["anyOf"][0]["enum"]
    assert {name for names in BACKENDS.values() for name in names} <= set(words)
    codecs = {name for names in COMPRESSIONS.values() for name in names}
    assert set(SCHEMA["else"]["properties"]["compression"]["enum"]) == {*codecs, None}


def test_the_command_prints_it_with_the_docstrings(capsys: Any, tmp_path: Path) -> None:
    assert run(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    dimension = printed["$defs"]["Dimension"]
    assert dimension["description"].startswith(
        "A loop of the acquisition, or one of the two dimensions of its frames. What"
    )
    assert ">>>" not in dimension["description"]
    assert dimension["properties"]["scale"]["description"].startswith("Size of an element, in `unit`")
    assert printed["$defs"]["OmeTiffFormat"]["properties"]["companion_file"]["description"].startswith("Name of that")
    assert run(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text("utf-8")) == printed


def test_without_sources_only_descriptions_of_fields_are_missing(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: object) -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr("inspect.getsource", gone)
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


# ── the first settings file ──────────────────────────────────────────────────────────────────────────────────────────

ANSWERS = [
    Answers(root_path="a.ome.zarr", height=2048, width=2048),
    Answers(root_path='C:\\data\\ä "b".ome.zarr', height=512, width=256, times=None, channels=("DAPI", "µ\x7f")),
    Answers(
        root_path="a.ome.zarr", height=300, width=256, times=1000, interval=0.5, positions=96, planes=20, step=0.25
    ),
    Answers(root_path="a.ome.tiff", height=64, width=64, times=3, pixel_size=0.1, compression="zlib"),
    Answers(root_path="", height=64, width=64, times=3),
]


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("style", ["toml", "yaml"])
def test_a_first_file_loads_as_what_was_answered_with_what_was_advised(answers: Answers, style: Any) -> None:
    asked = answers.settings()
    advice = advise(asked)
    text = commented(asked, advice, style)
    made = loads(text, style)
    ow.compile(made)
    assert refused(tomllib.loads(text) if style == "toml" else yaml.safe_load(text)) == []
    assert (made.root_path, made.dtype, made.compression) == (answers.root_path, "uint16", answers.compression)
    named = {dim.name: dim for dim in made.dimensions}
    assert (named["y"].count, named["x"].count, named["x"].scale) == (answers.height, answers.width, answers.pixel_size)
    assert (named["t"].count if "t" in named else 1) == answers.times
    assert (named["t"].scale if "t" in named else None) == answers.interval
    assert len(made.positions) == answers.positions
    assert tuple(channel.name for channel in named["c"].coords) if "c" in named else answers.channels == ()
    assert (named["z"].scale if "z" in named else None) == answers.step
    assert {name: dim.chunk_size for name, dim in named.items() if dim.chunk_size} == advice.chunks
    assert {name: dim.shard_size_chunks for name, dim in named.items() if dim.shard_size_chunks} == advice.shards
    told = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert all(reason in told for reason in advice.reasons)


def test_lines_that_are_commented_out_are_right_once_they_are_not() -> None:
    text = commented(ANSWERS[0].settings(), Advice(), "toml")
    made = loads(text.replace("# compression", "compression").replace("# overwrite", "overwrite"), "toml")
    assert (made.compression, made.overwrite) == ("blosc-zstd", True)


def test_init_takes_options_and_never_asks_where_nobody_can_answer(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "cells.toml"
    options = [
        "--to",
        "b.ome.zarr",
        "--frame",
        "1024 x 512",
        "--times",
        "endless",
        "--interval",
        "2",
        "--positions",
        "3",
    ]
    options += ["--channels", "DAPI, GFP", "--planes", "5", "--step", "0.5", "--pixel-size", "0.1", "--disk", "hdd"]
    assert run(["init", str(path), *options, "--dtype", "uint8", "--compression", "zstd"]) == 0
    said = capsys.readouterr().out
    assert "frames without end of 524.3 kB to b.ome.zarr" in said
    made = loads(path.read_text("utf-8"), "toml")
    assert [(dim.name, dim.count) for dim in made.dimensions] == [
        ("t", None), ("p", 3), ("c", 2), ("z", 5), ("y", 1024), ("x", 512)
    ]  # fmt: skip
    assert (made.dtype, made.compression) == ("uint8", "zstd")
    before = path.read_text("utf-8")
    assert run(["init", str(path)]) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert path.read_text("utf-8") == before
    assert run(["init", str(path), "--overwrite"]) == 0
    assert loads(path.read_text("utf-8"), "toml").root_path == "cells.ome.zarr"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frame", "12"], "frame: must be height x width in pixels, such as 2048x2048; got '12'"),
        (["--times", "0"], "times: must be a whole number of at least 1; got '0'"),
        (["--pixel-size", "wide"], "pixel_size: must be a number greater than 0, or nothing; got 'wide'"),
        (["--dtype", "uint17"], "dtype: must be the name of a numpy dtype, such as 'uint16'; got 'uint17'"),
        (["--to", "a.ome.tiff", "--dtype", "int64"], "dtype: ome-tiff can hold"),
    ],
)
def test_init_says_what_is_wrong_and_writes_nothing(tmp_path: Path, capsys: Any, options: list[str], said: str) -> None:
    assert run(["init", str(tmp_path / "a.yaml"), *options]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_init_writes_what_can_hold_comments(tmp_path: Path, capsys: Any) -> None:
    assert run(["init", str(tmp_path / "a.json")]) == 1
    assert "must end with .toml or .yaml, which can hold comments" in capsys.readouterr().err


def test_init_asks_in_a_terminal_and_again_if_an_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    answers = ["", "big", "256x256", "", "0.2", "10", "", "1", "DAPI", "2", "0.3", "tape", "network"]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    monkeypatch.setattr(type(commands.out), "is_terminal", True)
    assert run(["init", str(tmp_path / "a.yaml")]) == 0
    said = capsys.readouterr().out
    assert "must be height x width in pixels" in said
    assert "must be one of ssd, hdd, network, object" in said
    made = loads((tmp_path / "a.yaml").read_text("utf-8"), "yaml")
    assert made.root_path == "a.ome.zarr"
    assert [(dim.name, dim.count, dim.scale) for dim in made.dimensions] == [
        ("t", 10, None), ("c", 1, None), ("z", 2, 0.3), ("y", 256, 0.2), ("x", 256, 0.2)
    ]  # fmt: skip
