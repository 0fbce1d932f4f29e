"""Settings as documents, plans as files: what they look like, and what is said of those that are wrong."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ome_writers import (
    AcquisitionSettings,
    Channel,
    Dimension,
    PlanError,
    Plate,
    Position,
    SettingsError,
    compile,
    dims_from_standard_axes,
)
from ome_writers.files import dump, load, load_plan, save_plan, save_table
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat
from ome_writers.plan_file import plan_from_npz, plan_to_npz, table_to_npy
from ome_writers.serial import dumps, loads, make_converter, settings_from

SETTINGS = AcquisitionSettings(
    root_path="data/cells.ome.zarr",
    dimensions=[
        Dimension(name="t", unit="s", scale=0.5),
        Dimension(name="p", coords=["left", Position(name="right", plate_row="B", plate_column="2", x_coord=1200)]),
        Dimension(name="c", coords=["DAPI", Channel(name="GFP", emission_wavelength_nm=510, color="lime")]),
        Dimension(name="g", count=2),
        Dimension(name="y", count=64, chunk_size=32, scale=0.1, unit="um"),
        Dimension(name="x", count=64, snake=False, translation=-3),
    ],
    dtype="uint16",
    compression="zstd",
    compression_level=5,
    overwrite=True,
    buffer_bytes=2**26,
)
JSON = """{
  "root_path": "data/cells.ome.zarr",
  "dimensions": [
    {"name": "t", "type": "time", "unit": "second", "scale": 0.5},
    {"name": "p", "type": "position", "coords": [
      "left", {"name": "right", "plate_row": "B", "plate_column": "2", "x_coord": 1200}
    ]},
    {"name": "c", "type": "channel", "coords": [
      "DAPI", {"name": "GFP", "emission_wavelength_nm": 510, "color": "#00FF00"}
    ]},
    {"name": "g", "count": 2},
    {"name": "y", "count": 64, "type": "space", "chunk_size": 32, "unit": "micrometer", "scale": 0.1},
    {"name": "x", "count": 64, "type": "space", "translation": -3}
  ],
  "dtype": "uint16",
  "format": {"name": "ome-zarr", "suffix": ".ome.zarr"},
  "compression": "zstd",
  "compression_level": 5,
  "overwrite": true,
  "buffer_bytes": 67108864
}"""
YAML = """\
root_path: data/cells.ome.zarr
dimensions:
- name: t
  type: time
  unit: second
  scale: 0.5
- name: p
  type: position
  coords:
  - left
  - name: right
    plate_row: B
    plate_column: '2'
    x_coord: 1200
- name: c
  type: channel
  coords:
  - DAPI
  - name: GFP
    emission_wavelength_nm: 510
    color: '#00FF00'
- name: g
  count: 2
- name: y
  count: 64
  type: space
  chunk_size: 32
  unit: micrometer
  scale: 0.1
- name: x
  count: 64
  type: space
  translation: -3
dtype: uint16
format:
  name: ome-zarr
  suffix: .ome.zarr
compression: zstd
compression_level: 5
overwrite: true
buffer_bytes: 67108864
"""

NINE_MISTAKES = {
    "json": """{
  "root_path": "a.ome.tiff",
  "dtype": "uint17",
  "compression": "gzip",
  "overwrite": "yes",
  "storage_order": "alphabetic",
  "colour": "red",
  "dimensions": [
    {"name": "t", "count": 0},
    {"name": "c", "coords": [{"name": "DAPI", "emission_wavelength_nm": -461}, "GFP"]},
    {"name": "y", "count": 64, "unit": "ms", "type": "space"},
    {"name": "x", "count": 64, "chunk_size": 2.5}
  ]
}""",
    "toml": """
root_path = "a.ome.tiff"
dtype = "uint17"
compression = "gzip"
overwrite = "yes"
storage_order = "alphabetic"
colour = "red"

[[dimensions]]
name = "t"
count = 0

[[dimensions]]
name = "c"
coords = [{ name = "DAPI", emission_wavelength_nm = -461 }, "GFP"]

[[dimensions]]
name = "y"
count = 64
unit = "ms"
type = "space"

[[dimensions]]
name = "x"
count = 64
chunk_size = 2.5
""",
    "yaml": """
root_path: a.ome.tiff
dtype: uint17
compression: gzip
overwrite: "yes"
storage_order: alphabetic
colour: red
dimensions:
- {name: t, count: 0}
- name: c
  coords:
  - {name: DAPI, emission_wavelength_nm: -461}
  - GFP
- {name: y, count: 64, unit: ms, type: space}
- {name: x, count: 64, chunk_size: 2.5}
""",
}
THE_NINE = [
    "colour: is no field of AcquisitionSettings",
    "compression: must be one of 'none', 'lzw', 'zlib', 'deflate', 'zstd' for ome-tiff; got 'gzip'",
    "dimensions.0.count: must be at least 1; got 0",
    "dimensions.1.coords.0.emission_wavelength_nm: must be greater than 0; got -461",
    "dimensions.2.unit: must be a unit of space, such as 'micrometer' or 'um'; got 'ms'",
    "dimensions.3.chunk_size: must be a whole number; got 2.5",
    "dtype: must be the name of a numpy dtype, such as 'uint16'; got 'uint17'",
    "overwrite: must be one of True, False; got 'yes'",
    "storage_order: must be 'ome', 'acquisition' or a list of dimension names; got 'alphabetic'",
]


OS_SYSTEM = "tag:yaml.org,2002:python/name:os.system"
NOT_ALLOWED = "special characters are not allowed"


def problems(text: str, format_: str = "json") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loads(text, format_)
    return sorted(str(problem) for problem in caught.value.problems)


class TestDocuments:
    @pytest.mark.parametrize("format_", NINE_MISTAKES)
    def test_nine_mistakes_are_nine_problems(self, format_):
        assert problems(NINE_MISTAKES[format_], format_) == THE_NINE

    def test_what_differs_from_the_defaults_is_written(self):
        assert json.loads(dumps(SETTINGS)) == json.loads(JSON)
        assert dumps(SETTINGS, "yaml") == YAML
        assert dumps(AcquisitionSettings(), "json") == '{\n  "format": {\n    "name": "scratch"\n  }\n}\n'

    def test_what_was_written_is_read(self):
        assert loads(JSON) == loads(YAML, "yaml") == loads(dumps(SETTINGS, "toml"), "toml") == SETTINGS

    def test_shorthands_are_understood(self):
        dims = "[{name: z, count: 3, unit: um, scale: 1e-3}, {name: y, count: 4}, {name: x, count: 4}]"
        text = f"{{root_path: a, format: tensorstore, dtype: <u2, dimensions: {dims}}}"
        settings = loads(text, "yaml")
        assert settings.format == OmeZarrFormat(backend="tensorstore")
        assert (settings.dtype, settings.dimensions[0].unit, settings.dimensions[0].scale) == (
            "uint16",
            "micrometer",
            0.001,
        )

    def test_numbered_positions_are_written_as_their_count(self):
        settings = AcquisitionSettings(dimensions=dims_from_standard_axes({"p": 3, "y": 4, "x": 4}))
        assert json.loads(dumps(settings))["dimensions"][0] == {"name": "p", "count": 3, "type": "position"}
        named = AcquisitionSettings(dimensions=dims_from_standard_axes({"p": ["1", "0"], "y": 4, "x": 4}))
        assert json.loads(dumps(named))["dimensions"][0] == {"name": "p", "type": "position", "coords": ["1", "0"]}

    def test_a_suffix_is_kept_beside_a_path_that_has_another(self):
        for format_ in (
            OmeZarrFormat(),
            OmeZarrFormat(suffix=""),
            OmeTiffFormat(suffix=".tif", prefer_single_file="never"),
        ):
            settings = AcquisitionSettings(root_path="a.ome.tiff", format=format_)
            assert loads(dumps(settings)) == settings

    @pytest.mark.parametrize(
        "text",
        ["1e-3", "12", "null", "~", "yes", "2020-01-01", "é\u2028\x85\u00a0", "#a: b", " x ", "a\nb\rc\r\nd\te", "😀"],
    )
    @pytest.mark.parametrize("format_", ["json", "toml", "yaml"])
    def test_text_stays_text(self, text, format_):
        settings = AcquisitionSettings(root_path=text, plate=Plate(row_names=["1"], column_names=["0x1"], name=text))
        assert loads(dumps(settings, format_), format_) == settings
        channel = Dimension(name=text, coords=[Channel(name=text, fluorophore=text)])
        described = AcquisitionSettings(
            dimensions=[channel, Dimension(name="y", count=1), Dimension(name="x", count=1)]
        )
        assert loads(dumps(described, format_), format_) == described


class TestConverter:
    def test_parts_of_settings_from_plain_values(self):
        converter = make_converter()
        assert converter.structure("GFP", Channel) == Channel(name="GFP")
        assert converter.structure({"backend": "zarr-python"}, OmeZarrFormat) == OmeZarrFormat(backend="zarr-python")
        with pytest.raises(SettingsError) as caught:
            converter.structure({"name": "z", "count": 0, "colour": "red"}, Dimension)
        assert [str(problem) for problem in caught.value.problems] == [
            "colour: is no field of Dimension",
            "count: must be at least 1; got 0",
        ]

    def test_values_that_are_nested_too_deeply(self):
        values: dict = {}
        for _ in range(100_000):
            values = {"format": values}
        with pytest.raises(SettingsError, match="is nested too deeply"):
            settings_from(values)


class TestFaultyDocuments:
    @pytest.mark.parametrize(
        ("format_", "text", "said"),
        [
            (
                "json",
                '{"dtype": "uint8",\n "root_path" "a"}',
                "is no JSON: Expecting ':' delimiter (at line 2, column 14)",
            ),
            ("json", "", "is no JSON: Expecting value (at line 1, column 1)"),
            ("json", "{} {}", "is no JSON: Extra data (at line 1, column 4)"),
            ("toml", "dtype = 'uint8'\nroot_path = a", "is no TOML: Invalid value (at line 2, column 13)"),
            ("toml", "dtype = 1\ndtype = 2", "is no TOML: Cannot overwrite a value (at end of document)"),
            (
                "yaml",
                "dtype: uint8\nroot_path: [a",
                "is no YAML: expected ',' or ']', but got '<stream end>' (at line 2, column 14)",
            ),
            ("yaml", "a: 1\n--- b", "is no YAML: but found another document (at line 2, column 1)"),
            (
                "yaml",
                "a: &one [1]\nb: *one",
                "is no YAML: aliases such as '*one' are not understood; write the values out (at line 2, column 4)",
            ),
            (
                "yaml",
                "dtype: !!python/name:os.system ''",
                f"is no YAML: could not determine a constructor for the tag '{OS_SYSTEM}' (at line 1, column 8)",
            ),
            ("yaml", "? [a]\n: 1", "is no YAML: a key must be text (at line 1, column 3)"),
            ("yaml", "dtype: !!int ''", "is no YAML: string index out of range"),
            (
                "yaml",
                "dtype: \0",
                f'is no YAML: unacceptable character #x0000: {NOT_ALLOWED} in "<unicode string>", position 7',
            ),
            ("json", "[" * 100_000, "is nested too deeply"),
            ("yaml", "[" * 5_000, "is nested too deeply"),
            ("toml", "a=" + "[" * 5_000, "is nested too deeply"),
            ("json", "[1, 2]", "must be a mapping of AcquisitionSettings's fields; got [1, 2]"),
            ("yaml", "", "must be a mapping of AcquisitionSettings's fields; got None"),
            ("yaml", "a.zarr", "must be a mapping of AcquisitionSettings's fields; got 'a.zarr'"),
            ("xml", "<a/>", "a settings document is 'json', 'toml' or 'yaml'; got 'xml'"),
        ],
    )
    def test_one_problem_says_where_it_ends(self, format_, text, said):
        assert problems(text, format_) == [said]

    def test_an_unknown_format_cannot_be_written_either(self):
        with pytest.raises(SettingsError, match="a settings document is 'json', 'toml' or 'yaml'; got 'ini'"):
            dumps(SETTINGS, "ini")

    @pytest.mark.parametrize(
        ("format_", "text"),
        [
            (
                "json",
                """{"dtype": 1, "dtype": "uint8",
                    "plate": {"name": "a", "name": "b", "row_names": ["A"], "column_names": ["1"]}}""",
            ),
            ("yaml", "dtype: 1\ndtype: uint8\nplate: {name: a, name: b, row_names: [A], column_names: ['1']}"),
        ],
    )
    def test_keys_that_come_twice_are_problems_among_the_others(self, format_, text):
        assert problems(text, format_) == ["dtype: is given more than once", "plate.name: is given more than once"]

    def test_keys_that_come_twice_deep_within(self):
        text = '{"dimensions": [{"name": "y", "count": 1}, {"name": "x", "count": 1, "count": 2}]}'
        assert problems(text) == ["dimensions.1.count: is given more than once"]

    def test_numbers_that_are_none_are_refused_with_their_path(self):
        dims = '{"name": "y", "count": 1, "scale": NaN}, {"name": "x", "count": 1, "translation": -Infinity}'
        text = f'{{"dimensions": [{dims}]}}'
        assert problems(text) == [
            "dimensions.0.scale: must be finite; got nan",
            "dimensions.1.translation: must be finite; got -inf",
        ]

    def test_numbers_of_many_digits(self):
        many = "9" * 5000
        assert problems(f'{{"compression_level": {many}, "compression": "zstd", "root_path": "a.zarr"}}') == [
            "compression_level: must be a whole number; got inf"
        ]
        for format_, text in (("toml", f"count = {many}"), ("yaml", f"count: {many}")):
            assert "4300 digits" in problems(text, format_)[0]

    def test_few_bytes_cannot_ask_for_much_memory(self):
        text = (
            '{"dimensions": [{"name": "p", "count": 2000000000}, {"name": "y", "count": 4}, {"name": "x", "count": 4}]}'
        )
        assert problems(text) == ["dimensions.0.count: there may be at most 100000 positions; got 2000000000"]

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (
                lambda: loads("a: 1", "yaml"),
                "YAML needs the library PyYAML, which is not installed: pip install 'ome-writers[cli]'",
            ),
            (
                lambda: dumps(SETTINGS, "yaml"),
                "YAML needs the library PyYAML, which is not installed: pip install 'ome-writers[cli]'",
            ),
            (
                lambda: dumps(SETTINGS, "toml"),
                "writing TOML needs the library tomli-w, which is not installed: pip install 'ome-writers[cli]'",
            ),
        ],
    )
    def test_a_library_that_is_missing_is_named_with_its_extra(self, monkeypatch, call, said):
        # `None` in `sys.modules` is Python's own way of saying that a module cannot be imported.
        monkeypatch.setitem(sys.modules, "yaml", None)
        monkeypatch.setitem(sys.modules, "tomli_w", None)
        with pytest.raises(SettingsError) as caught:
            call()
        assert [str(problem) for problem in caught.value.problems] == [said]


class TestSettingsFiles:
    @pytest.mark.parametrize("name", ["a.json", "a.toml", "a.yaml", "a.YML"])
    def test_the_suffix_says_the_format(self, tmp_path, name):
        dump(SETTINGS, tmp_path / name)
        assert load(str(tmp_path / name)) == SETTINGS

    def test_a_relative_root_path_stays_relative(self, tmp_path):
        (tmp_path / "a.json").write_text('{"root_path": "../run.ome.zarr"}')
        assert load(tmp_path / "a.json").root_path == "../run.ome.zarr"

    def test_a_mark_of_byte_order_is_no_part_of_the_text(self, tmp_path):
        (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfroot_path: caf\xc3\xa9.zarr\r\ndtype: uint8\r\n")
        assert load(tmp_path / "a.yaml").root_path == "café.zarr"

    def test_other_files_are_refused(self, tmp_path):
        with pytest.raises(
            SettingsError, match=r"a settings file ends in \.json, \.toml, \.yaml, \.yml; got 'settings\.ini'"
        ):
            load("settings.ini")
        with pytest.raises(SettingsError, match="a settings file ends in"):
            dump(SETTINGS, tmp_path / "settings")
        assert not list(tmp_path.iterdir())
        (tmp_path / "a.json").write_bytes(b'{"root_path": "\xff"}')
        with pytest.raises(SettingsError, match=r"must be UTF-8 text: invalid start byte \(at byte 15\)"):
            load(tmp_path / "a.json")
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.json")


def plan_of(path="a.ome.zarr", **sizes):
    return compile(
        AcquisitionSettings(
            root_path=path, dtype="uint8", dimensions=dims_from_standard_axes({**sizes, "y": 4, "x": 4})
        )
    )


def rebuilt(data: bytes, *, packed: bool = False, **members: bytes | None) -> bytes:
    """Return a plan file with other members, `None` to leave one out."""
    buffer = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", how) as new:
        kept = {name: old.read(name) for name in old.namelist()}
        for name, body in {**kept, **{name.replace("__", "."): body for name, body in members.items()}}.items():
            if body is not None:
                new.writestr(name, body)
    return buffer.getvalue()


def npy(array: np.ndarray, **how) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


def member(data: bytes, name: str) -> np.ndarray:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return file[name].copy()


def refused(data: bytes) -> str:
    with pytest.raises(PlanError) as caught:
        plan_from_npz(data)
    return str(caught.value)


class TestPlanFiles:
    def test_a_plan_survives_its_file(self, tmp_path):
        plan = plan_of(t=3, p=["A", "B"], c=2)
        save_plan(plan, tmp_path / "plan.npz")
        again = load_plan(str(tmp_path / "plan.npz"))
        assert (again.settings, again.layout) == (plan.settings, plan.layout)
        assert (again.table == plan.table).all()

    def test_a_long_plan_is_kilobytes(self):
        plan = plan_of(t=1_000_000, p=2, c=2, z=5)
        assert plan.frames == 20_000_000
        data = plan_to_npz(plan)
        assert len(data) < 10_000
        assert (plan_from_npz(data).rows(19_999_990) == plan.rows(19_999_990)).all()

    def test_the_bare_table_is_packed_records(self, tmp_path):
        save_table(plan_of(t=2, c=2), tmp_path / "table.npy")
        data = (tmp_path / "table.npy").read_bytes()
        expected = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 1), (2, 0, 0, 1, 0), (3, 0, 0, 1, 1)]
        assert data.endswith(b"".join(struct.pack("<qiiii", *row) for row in expected))
        assert data[:8] == b"\x93NUMPY\x01\x00"
        assert len(data) == 10 + int.from_bytes(data[8:10], "little") + 4 * 24

    def test_a_plan_without_end_has_no_bare_table(self):
        with pytest.raises(PlanError, match=r"dimensions\.0\.count: a plan without end has no whole table"):
            table_to_npy(plan_of(t=None))

    def test_files_are_the_same_whenever_and_wherever_they_are_made(self):
        code = (
            "import hashlib, sys; from ome_writers import *; from ome_writers.plan_file import *;"
            "dims = dims_from_standard_axes({'t': 3, 'p': ['A', 'B'], 'c': 2, 'y': 4, 'x': 4});"
            "plan = compile(AcquisitionSettings(root_path='a.ome.zarr', dtype='uint8', dimensions=dims));"
            "print(hashlib.sha256(plan_to_npz(plan) + table_to_npy(plan)).hexdigest())"
        )
        made = [
            subprocess.run(
                [sys.executable, "-c", code],
                env={"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(Path.cwd())},
                check=True,
                capture_output=True,
            ).stdout
            for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
        ]
        assert made[0] == made[1]
        with zipfile.ZipFile(io.BytesIO(plan_to_npz(plan_of(t=2)))) as archive:
            assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def test_a_plan_without_rows(self):
        plan = plan_of(t=2).select(t=[])
        assert plan_from_npz(plan_to_npz(plan)).frames == 0


class TestTamperedPlanFiles:
    data = plan_to_npz(plan_of(t=3, p=["A", "B"], c=2))

    def settings(self, **changes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            head = json.loads(archive.read("plan.json"))
        head["settings"] |= changes
        return json.dumps(head).encode()

    def rows(self, change) -> bytes:
        rows = member(self.data, "rows_0")
        change(rows)
        return rebuilt(self.data, rows_0__npy=npy(rows))

    def loops(self, **changes) -> bytes:
        loops = member(self.data, "loops_0")
        for name, value in changes.items():
            loops[name][0] = value
        return rebuilt(self.data, loops_0__npy=npy(loops))

    @pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY", data[:-1], data[:200], data[200:]])
    def test_no_zip(self, data):
        assert refused(data).startswith("is no plan file: ")

    def test_members(self):
        assert refused(rebuilt(self.data, packed=True)) == "must not be compressed"
        for extra in ({"rows_0__npy": None}, {"plan__json": None}, {"rows_1__npy": b""}, {"other__npy": b""}):
            assert refused(rebuilt(self.data, **extra)).startswith(
                "must hold plan.json, rows_0.npy, loops_0.npy, …; got ["
            )

    def test_a_member_that_comes_twice(self):
        buffer = io.BytesIO(self.data)
        with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("plan.json", b"{}")
        assert refused(buffer.getvalue()).startswith("must hold plan.json")

    def test_members_that_share_their_bytes(self):
        # Every entry of the directory points at the first member, which is far larger than its share.
        big = rebuilt(self.data, plan__json=b" " * 100_000)
        names = [b"rows_0.npy", b"loops_0.npy"]
        directory = big.index(b"PK\x01\x02")
        tail = bytearray(big[directory:])
        first = tail[: tail.index(b"PK\x01\x02", 4)]
        for name in names:
            at = tail.rindex(b"PK\x01\x02", 0, tail.index(name))
            tail[at + 16 : at + 28] = first[16:28]
            tail[at + 42 : at + 46] = first[42:46]
        assert refused(big[:directory] + bytes(tail)) == "claims more bytes than it has"

    def test_a_checksum_that_is_wrong(self):
        place = self.data.index(b"ome_writers_plan")
        assert "CRC" in refused(self.data[:place] + b"X" + self.data[place + 1 :])

    def test_the_head(self):
        assert refused(rebuilt(self.data, plan__json=b"\xff")).startswith("plan.json: must be UTF-8 text: ")
        assert (
            refused(rebuilt(self.data, plan__json=b"[]"))
            == "plan.json: must be a mapping of 'ome_writers_plan' and 'settings'"
        )
        assert refused(rebuilt(self.data, plan__json=b'{"ome_writers_plan": 2, "settings": {}}')) == (
            "plan.json.ome_writers_plan: must be 1, the version that is understood; got 2"
        )
        assert refused(rebuilt(self.data, plan__json=b"{")).startswith("plan.json.settings: is no JSON: ")
        assert refused(rebuilt(self.data, plan__json=self.settings(dtype="uint17", overwrite=2))) == (
            "plan.json.settings.dtype: must be the name of a numpy dtype, such as 'uint16'; got 'uint17'\n"
            "plan.json.settings.overwrite: must be one of True, False; got 2"
        )
        assert refused(rebuilt(self.data, plan__json=self.settings(dtype=""))) == (
            "plan.json.settings.dtype: is required: what are the pixels?"
        )

    def test_settings_of_another_table(self):
        dims = [
            {"name": "t", "count": 2},
            {"name": "p", "coords": ["A", "B"]},
            {"name": "c", "count": 2},
            {"name": "y", "count": 4},
            {"name": "x", "count": 4},
        ]
        assert refused(rebuilt(self.data, plan__json=self.settings(dimensions=dims))) == (
            "rows_0.npy.index.0: must be from 0 to below 2; goes from 0 to 2"
        )
        assert refused(rebuilt(self.data, plan__json=self.settings(dimensions=dims[1:]))).startswith(
            "rows_0.npy: must be a .npy file of version 1.0 that holds {'descr': "
        )

    def test_more_images_than_fit_into_memory(self):
        dims = [
            {"name": "p", "count": 100_000},
            *({"name": name, "count": 2**31 - 1, "type": "other"} for name in "abc"),
            {"name": "y", "count": 4},
            {"name": "x", "count": 4},
        ]
        said = refused(rebuilt(self.data, plan__json=self.settings(dimensions=dims)))
        assert said.startswith("plan.json.settings.dimensions: there may be at most 1000000 images; ")
        assert said.endswith(f"would make {100_000 * (2**31 - 1) ** 2}")

    def test_arrays(self):
        rows = member(self.data, "rows_0")
        header = b"\x93NUMPY\x01\x00"
        for body in (
            b"",
            header + b"\x02\x00{}",
            header + b"\x76\x00" + b"(" * 0x76,
            npy(rows)[:-1],
            npy(rows) + b"\0",
            npy(rows).replace(b"(4,)", b"(9,)"),
            npy(np.array([[1, 2]])),
            npy(rows[:0].astype(object), allow_pickle=True),
            header + b"\x40\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}".ljust(64),
        ):
            assert refused(rebuilt(self.data, rows_0__npy=body)).startswith(
                "rows_0.npy: must be a .npy file of version 1.0 that holds"
            )
        assert refused(rebuilt(self.data, rows_0__npy=npy(rows[:0]))) == "rows_0.npy: must hold at least one row"

    def test_rows_beyond_their_arrays(self):
        def to(name, value):
            return lambda rows: rows[name].__setitem__(..., value)

        assert refused(self.rows(to("array", 2))) == "rows_0.npy.array: must be from 0 to below 2; goes from 2 to 2"
        assert refused(self.rows(to("frame", -5))).startswith(
            f"rows_0.npy.frame: must be from 0 to below {2**62}; goes from -5 to "
        )
        assert refused(self.rows(to("index", -1))).startswith(
            "rows_0.npy.index.0: must be from 0 to below 3; goes from -1 to "
        )
        assert refused(self.rows(to("position", 1))) == "rows_0.npy.position: must be that of the array in each row"

    def test_loops_beyond_the_arrays(self):
        assert refused(self.loops(repeats=0)) == "loops_0.npy.0.repeats: must be at least 1; got 0"
        assert refused(self.loops(repeats=-1)) == "loops_0.npy.0.index.0: leaves the arrays; got 1"
        assert refused(self.loops(frame=-1)) == "loops_0.npy.0.frame: leaves the arrays; got -1"
        assert (
            refused(self.loops(repeats=2**62, index=0, frame=0))
            == f"loops_0.npy.repeats: there may be at most {2**62} rows"
        )
        assert refused(self.loops(repeats=2**62)).startswith("rows_0.npy.frame: must be from 0 to below ")
        assert refused(self.loops(repeats=2**40, index=0, frame=0, position=1)) == (
            "loops_0.npy.0.repeats: there are 2 arrays; goes through more"
        )

    def test_positions_that_are_not_those_of_their_arrays(self):
        data = plan_to_npz(plan_of(p=["A", "B"], t=3))
        loops = member(data, "loops_0")
        assert loops[["repeats", "position", "array"]].tolist() == [(2, 1, 1)]
        assert plan_from_npz(data).table["position"].tolist() == [0, 0, 0, 1, 1, 1]
        loops["position"] = 0
        assert refused(rebuilt(data, loops_0__npy=npy(loops))) == (
            "rows_0.npy.position: must be that of the array in each row"
        )

    def test_an_endless_loop_stands_first_in_the_last_segment(self):
        data = plan_to_npz(plan_of(t=None, c=2))
        loops = member(data, "loops_0")
        assert loops["repeats"].tolist() == [-1]
        twice = rebuilt(data, loops_0__npy=npy(np.concatenate([loops, loops])))
        assert refused(twice) == "loops_0.npy.1.repeats: must be at least 1; got -1"
        more = rebuilt(data, rows_1__npy=npy(member(data, "rows_0")), loops_1__npy=npy(loops))
        assert refused(more) == "loops_0.npy.0.repeats: must be at least 1; got -1"
