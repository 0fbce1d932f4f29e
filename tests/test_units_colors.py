"""Units against the lists of the two specifications; colours against CSS as another library has it."""

from __future__ import annotations

import numpy as np
import pytest
from ome_types.model import UnitsLength, UnitsTime
from PIL.ImageColor import colormap

from ome_writers import units
from ome_writers.casts import row_name, split_suffix
from ome_writers.colors import as_color

# NGFF 0.5, "axes" metadata.
NGFF_SPACE = [
    "angstrom",
    "attometer",
    "centimeter",
    "decimeter",
    "exameter",
    "femtometer",
    "foot",
    "gigameter",
    "hectometer",
    "inch",
    "kilometer",
    "megameter",
    "meter",
    "micrometer",
    "mile",
    "millimeter",
    "nanometer",
    "parsec",
    "petameter",
    "picometer",
    "terameter",
    "yard",
    "yoctometer",
    "yottameter",
    "zeptometer",
    "zettameter",
]
NGFF_TIME = [
    "attosecond",
    "centisecond",
    "day",
    "decisecond",
    "exasecond",
    "femtosecond",
    "gigasecond",
    "hectosecond",
    "hour",
    "kilosecond",
    "megasecond",
    "microsecond",
    "millisecond",
    "minute",
    "nanosecond",
    "petasecond",
    "picosecond",
    "second",
    "terasecond",
    "yoctosecond",
    "yottasecond",
    "zeptosecond",
    "zettasecond",
]


def test_every_unit_of_ngff_is_known_and_no_other():
    assert sorted(units.LENGTH) == NGFF_SPACE
    assert sorted(units.TIME) == NGFF_TIME


def test_every_symbol_is_one_of_ome_xml():
    assert set(units.LENGTH.values()) <= {unit.value for unit in UnitsLength}
    assert set(units.TIME.values()) <= {unit.value for unit in UnitsTime}


@pytest.mark.parametrize("quantity", ["space", "time"])
def test_names_and_symbols_go_both_ways(quantity):
    table = {"space": units.LENGTH, "time": units.TIME}[quantity]
    assert len(set(table.values())) == len(table)
    for name, symbol in table.items():
        assert units.ngff_name(name, quantity) == name
        assert units.ngff_name(symbol, quantity) == name
        assert units.ome_symbol(name) == symbol
        assert units.quantity_of(name) == quantity
        assert units.ngff_name(name.upper(), quantity) == name


@pytest.mark.parametrize(
    ("spelling", "quantity", "name"),
    [
        ("um", "space", "micrometer"),
        ("µm", "space", "micrometer"),
        ("\u03bcm", "space", "micrometer"),
        ("micron", "space", "micrometer"),
        ("Mm", "space", "megameter"),
        ("mm", "space", "millimeter"),
        ("Pm", "space", "petameter"),
        ("pm", "space", "picometer"),
        ("us", "time", "microsecond"),
        ("ms", "time", "millisecond"),
        ("Ms", "time", "megasecond"),
        ("sec", "time", "second"),
        ("min", "time", "minute"),
        ("h", "time", "hour"),
        ("d", "time", "day"),
        ("Å", "space", "angstrom"),
        ("MM", "space", None),
        ("ms", "space", None),
        ("um", "time", None),
        ("", "space", None),
        ("furlong", "space", None),
    ],
)
def test_spellings(spelling, quantity, name):
    assert units.ngff_name(spelling, quantity) == name


@pytest.mark.parametrize(
    ("name", "meters"),
    [
        ("meter", 1),
        ("micrometer", 1e-6),
        ("millimeter", 1e-3),
        ("kilometer", 1e3),
        ("yottameter", 1e24),
        ("yoctometer", 1e-24),
        ("hectometer", 100),
        ("decimeter", 0.1),
        ("centimeter", 0.01),
        ("angstrom", 1e-10),
        ("inch", 0.0254),
        ("yard", 0.9144),
    ],
)
def test_lengths_in_meters(name, meters):
    assert units.METERS[name] == pytest.approx(meters, rel=1e-12)
    assert units.METERS.keys() == units.LENGTH.keys()


def test_every_name_of_css_is_known():
    assert len(colormap) == 148
    assert {name: as_color(name) for name in colormap} == {name: code.upper() for name, code in colormap.items()}


@pytest.mark.parametrize(
    ("given", "color"),
    [
        ("Lime", "#00FF00"),
        (" red ", "#FF0000"),
        ("#0f0", "#00FF00"),
        ("0f08", "#00FF0088"),
        ("0x00ff00", "#00FF00"),
        ("#00FF0080", "#00FF0080"),
        ("rgb(1, 2, 3)", "#010203"),
        ("rgba(1 2 3 / 0.5)", "#01020380"),
        ((1, 2, 3), "#010203"),
        ([255, 0, 0, 1], "#FF0000"),
        ("#f00f", "#FF0000"),
        ("#FF0000FF", "#FF0000"),
        ("transparent", "#00000000"),
        ("rgb(1 2 3 / 50%)", "#01020380"),
        (("255", "0", " 7", "50%"), "#FF000780"),
        ((1e-9, 0, 255), "#0000FF"),
        # What `pydantic_extra_types.color`, in which 0.3 had its colours, makes of these.
        ("hsl(120, 100%, 50%)", "#00FF00"),
        ("hsl(120deg 100% 50% / 50%)", "#00FF0080"),
        ("hsla(0.5turn, 100%, 50%, .5)", "#00FFFF80"),
        ("hsl(2rad, 100%, 50%)", "#17FF00"),
        ("hsl(400, 100%, 50%)", "#FFAA00"),
        ("hsl(-30, 100%, 50%)", "#FF0080"),
        ("hsl(30, 101%, 50%)", "hsl(30, 101%, 50%)"),
        ("hsl(30, 1, 50%)", "hsl(30, 1, 50%)"),
        ("rgb(1, 2, 3, 1.1)", "rgb(1, 2, 3, 1.1)"),
        ([255, 0, 0, 0.0], "#FF000000"),
        ((0.4, 0.5, 254.6), "#0001FF"),
        (None, None),
        ("greenish", "greenish"),
        ("#12345", "#12345"),
        ("rgb(1, 2)", "rgb(1, 2)"),
        ("rgb(1, 2, 300)", "rgb(1, 2, 300)"),
        ("rgb(1..2, 2, 3)", "rgb(1..2, 2, 3)"),
        ((1, 2, 256), (1, 2, 256)),
        ((1, 2, 3, 2), (1, 2, 3, 2)),
        ((1, 2), (1, 2)),
        (5, 5),
        (("a", "b", "c"), ("a", "b", "c")),
    ],
)
def test_spellings_of_colors(given, color):
    assert as_color(given) == color


def test_a_color_that_was_refused_says_what_came():
    assert as_color([1, float("nan"), 3])[0] == 1
    assert np.isnan(as_color([1, float("nan"), 3])[1])


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.tif", ("a", ".tif")),
        ("a.TIFF", ("a", ".tiff")),
        ("a.ome.tif", ("a", ".ome.tif")),
        ("A.OME.Zarr", ("A", ".ome.zarr")),
        ("a.b.zarr", ("a.b", ".zarr")),
        ("a.ome", ("a.ome", "")),
        ("tif", ("tif", "")),
        (".zarr", ("", ".zarr")),
        ("a.zarr/", ("a.zarr/", "")),
        ("a.ome.zarr.tif", ("a.ome.zarr", ".tif")),
    ],
)
def test_suffixes(path, parts):
    assert split_suffix(path) == parts


def test_rows_count_like_the_columns_of_a_spreadsheet():
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    expected = list(letters) + [first + second for first in letters for second in letters]
    assert [row_name(number) for number in range(len(expected) + 1)] == [*expected, "AAA"]
