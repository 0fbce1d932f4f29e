"""The notebooks tell the truth: run from top to bottom in a kernel of their own, they print what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def printed(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return what each cell printed, its HTML, and the kinds of its pictures."""
    return [list(shown(cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


def shown(outputs: list[nbformat.NotebookNode]) -> Iterator[str]:
    """Yield the outputs of a cell; what is printed comes in as many pieces as the kernel has time for."""
    for stream, pieces in groupby(outputs, lambda output: output.get("name", "")):
        if stream:
            yield "".join(piece["text"] for piece in pieces)
        else:
            for piece in pieces:
                yield " ".join([*sorted(piece["data"]), piece["data"].get("text/html", "")])


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "first_plan",
        "hardware_triggers",
        "how_fast_is_my_disk",
        "jagged_and_multi_camera",
        "orderings",
        "write_your_own_writer",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_holds(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    held, run = (nbformat.read(path, as_version=4) for _ in range(2))
    nbformat.validate(held)
    assert any("image/png" in output for outputs in printed(held) for output in outputs)
    for cell in run.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(run, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(run) == printed(held)


def test_the_writer_for_hdf5_has_forty_lines() -> None:
    book = nbformat.read(ROOT / "notebooks" / "write_your_own_writer.ipynb", as_version=4)
    (cell,) = [cell for cell in book.cells if cell.source.startswith("import h5py")]
    assert len(cell.source[cell.source.index("class Hdf5Writer") :].splitlines()) <= 42


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_place_of_this_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) + os.sep not in text
