"""The server of `ome-writers view`, asked as browsers and other programs ask."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile
import zarr
from zarr.storage import FsspecStore

import ome_writers as ow
from ome_writers import exhibit as module
from ome_writers.cli.app import run
from ome_writers.serve import Server

HEIGHT, WIDTH = 24, 40


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # It looks as often as it is asked.
    monkeypatch.setattr(module, "_EVERY", 0.0)
    monkeypatch.setattr(module, "_SHARE", 1e9)


def settings_of(path: str = "cells.ome.zarr", times: int | None = 4) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(
        root_path=path,
        dtype="uint16",
        dimensions=[
            ow.Dimension(name="t", count=times, type="time"),
            ow.Dimension(name="p", coords=["left", "right"], type="position"),
            ow.Dimension(name="c", coords=["DAPI", "GFP"], type="channel"),
            ow.Dimension(name="z", count=3, type="space"),
            ow.Dimension(name="y", count=HEIGHT, type="space", unit="um", scale=0.5),
            ow.Dimension(name="x", count=WIDTH, type="space", unit="um", scale=0.5),
        ],
    )


def frames(count: int) -> Iterator[np.ndarray]:
    return (np.full((HEIGHT, WIDTH), number + 1, "uint16") for number in range(count))


class Client:
    """Asks a server that runs."""

    def __init__(self, server: Server) -> None:
        self.server, self.base = server, urlsplit(server.url)

    def ask(self, key: str, method: str = "GET", base: str | None = None, **headers: str) -> Any:
        with closing(http.client.HTTPConnection(self.base.netloc, timeout=20)) as connection:
            connection.request(method, (self.base.path if base is None else base) + key, headers=headers)
            with connection.getresponse() as answer:
                answer.body = answer.read()
        return answer

    def state(self) -> Any:
        answer = self.ask("state.json")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(path: str) -> Client:
        server = Server(path)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Client(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def zarr_client(serve: Any) -> Client:
    ow.write(ow.compile(settings_of()), frames(48))
    return serve("cells.ome.zarr")


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_are_served_as_they_are_and_in_ranges(zarr_client: Client) -> None:
    ask = zarr_client.ask
    names = sorted(path for path in Path("cells.ome.zarr").rglob("*") if path.is_file())
    assert len(names) > 10
    for path in names:
        assert ask(f"data/{path.relative_to('cells.ome.zarr').as_posix()}").body == path.read_bytes()
    content = Path("cells.ome.zarr/zarr.json").read_bytes()
    size = len(content)
    for asked, part in [
        ("bytes=0-9", range(10)),
        ("bytes=5-", range(5, size)),
        ("bytes=-7", range(size - 7, size)),
        (f"bytes=-{size + 5}", range(size)),
        (f"bytes=10-{size + 100}", range(10, size)),
    ]:
        answer = ask("data/zarr.json", Range=asked)
        assert answer.status == 206
        assert answer.body == content[part.start : part.stop]
        assert answer.headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=9-3", "bytes=-0"):
        answer = ask("data/zarr.json", Range=asked)
        assert (answer.status, answer.headers["Content-Range"], answer.body) == (416, f"bytes */{size}", b"")
    # RFC 9110, 14.2: what is not understood, and several ranges, may be answered in full.
    for asked in ("bytes=-", "pages=1-2", "bytes=0-1,4-5"):
        answer = ask("data/zarr.json", Range=asked)
        assert (answer.status, answer.body) == (200, content)


def test_head_tells_all_but_the_content(zarr_client: Client) -> None:
    answer = zarr_client.ask("data/zarr.json", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) == Path("cells.ome.zarr/zarr.json").stat().st_size
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert zarr_client.ask("data/zarr.json", "HEAD", Range="bytes=0-3").headers["Content-Length"] == "4"
    assert zarr_client.ask("", "HEAD").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(zarr_client: Client, method: str) -> None:
    before = Path("cells.ome.zarr/zarr.json").read_bytes()
    answer = zarr_client.ask("data/zarr.json", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert Path("cells.ome.zarr/zarr.json").read_bytes() == before


def test_headers_are_those_that_readers_need(zarr_client: Client) -> None:
    for key in ("", "viewer.js", "state.json", "data/zarr.json", "data/nothing"):
        headers = zarr_client.ask(key, Origin="https://example.org").headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Content-Range" in headers["Access-Control-Expose-Headers"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
    page = zarr_client.ask("")
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
    # Nothing comes from elsewhere.
    assert re.findall(rb"(?:src|href)=\"([^\"]*)\"", page.body) == [b"data:,", b"viewer.js"]


@pytest.mark.parametrize(
    "key",
    [
        "data/../secret.txt", "data/%2e%2e/secret.txt", "data/0/../../secret.txt", "data/..%2fsecret.txt",
        "data/..%5csecret.txt", "data//etc/passwd", "data/%2fetc%2fpasswd", "data/./zarr.json", "data/C:/secret.txt",
        "data/zarr.json%00", "data/", "data/0", "data/0/", "../secret.txt", "secret.txt", "viewer.licences.txt",
        "data/link/secret.txt", "data/link.txt",
    ],
)  # fmt: skip
def test_nothing_outside_can_be_read(zarr_client: Client, key: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    if "link" in key:
        try:
            Path("cells.ome.zarr/link").symlink_to(tmp_path, target_is_directory=True)
            Path("cells.ome.zarr/link.txt").symlink_to(tmp_path / "secret.txt")
        except OSError:  # Windows may not let us
            key = "data/../secret.txt"
    answer = zarr_client.ask(key)
    assert answer.status == 404
    assert b"secret" not in answer.body


def test_only_who_knows_the_address_may_read(zarr_client: Client) -> None:
    for base in ("/", "/data/", "/wrong/", f"/{zarr_client.server.secret[:-1]}/"):
        assert zarr_client.ask("data/zarr.json", base=base).status == 404
        assert zarr_client.ask("state.json", base=base).status == 404
    host, port = zarr_client.base.netloc.split(":")
    assert host == "127.0.0.1"
    other = socket.socket()
    other.settimeout(2)
    try:
        # Debian's own name of the machine has another loopback address, where nothing may listen.
        assert other.connect_ex(("127.0.1.1", int(port))) != 0
    finally:
        other.close()


def test_a_file_that_is_cut_while_it_is_sent_ends_the_answer(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ow.write(ow.compile(settings_of()), frames(48))
    client = serve("cells.ome.zarr")
    monkeypatch.setattr("ome_writers.serve._PIECE", 100)
    path = Path("cells.ome.zarr/zarr.json").resolve()
    real, opened = Path.open, []

    def cut(self: Path, *mode: Any) -> Any:
        if self == path and mode == ("rb",):
            opened.append(self)
            if len(opened) == 3:
                os.truncate(path, 150)
        return real(self, *mode)

    monkeypatch.setattr(Path, "open", cut)
    with pytest.raises(http.client.IncompleteRead):
        client.ask("data/zarr.json")
    assert len(opened) == 3


def test_another_reader_reads_over_http(zarr_client: Client) -> None:
    # zarr-python through fsspec, which asks with HEAD, GET and ranges.
    store = FsspecStore.from_url(f"{zarr_client.server.url}data", read_only=True)
    array = zarr.open_array(store, path="1/0", mode="r")
    np.testing.assert_array_equal(array[:, :, :, 0, 0].ravel() % 12, [7, 8, 9, 10, 11, 0] * 4)


# ── what the page is told ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finished_dataset(zarr_client: Client) -> None:
    state = zarr_client.state()
    assert state["final"] is True
    assert state["columns"] == ["48/48 frames", "92.2 kB", "0 missing", "complete"]
    assert state["newest"] == {"image": 0, "index": {"t": 0, "c": 0, "z": 1}}
    left, right = state["images"]
    assert [left["name"], right["name"]] == ["left", "right"]
    assert [left["url"], right["url"]] == ["data/0", "data/1"]
    assert left["labels"] == ["t", "c", "z", "y", "x"]
    assert left["shape"] == [4, 2, 3, HEIGHT, WIDTH]
    assert left["dtype"] == "Uint16"
    assert left["physicalSizes"] == {axis: {"size": 0.5, "unit": "µm"} for axis in "yx"}
    assert left["channelAxis"] == "c"
    assert [channel["name"] for channel in left["channels"]] == ["DAPI", "GFP"]


def test_a_run_is_told_of_while_it_goes_on(serve: Any) -> None:
    with ow.create_stream(settings_of()) as stream:
        client = serve("cells.ome.zarr")
        assert client.state()["columns"][0] == "0/48 frames"
        assert client.state()["newest"]["image"] == 0
        for frame in frames(17):
            stream.append(frame)
        state = client.state()
        assert (state["final"], state["columns"][0]) == (False, "17/48 frames")
        # 12 frames a round, 6 a stack with its channels: the second one of the first round is the last that is whole.
        assert state["newest"] == {"image": 1, "index": {"t": 0, "c": 1, "z": 1}}
    state = client.state()
    assert (state["final"], state["version"]) == (True, "17 stopped")


@pytest.mark.parametrize("writer", ["direct", "tifffile"])
def test_an_endless_run_grows(serve: Any, writer: str) -> None:
    with ow.create_stream(settings_of("cells.ome.tiff", None), writer) as stream:
        numbers = frames(100)
        for _ in range(12):
            stream.append(next(numbers))
        client = serve("cells")
        before = client.state()
        assert before["newest"]["image"] == 1
        for _ in range(30):
            stream.append(next(numbers))
        # The last frames may be on their way for a moment.
        for _ in range(500):
            now = client.state()
            if now["columns"][0] == "42 frames":
                break
        assert now["columns"][0] == "42 frames"
        assert now["newest"] == {"image": 0, "index": {"t": 3, "c": 1, "z": 1}}
        assert now["images"][0]["shape"][0] >= 4


@pytest.mark.parametrize("writer", ["direct", "tifffile"])
def test_pages_of_a_tiff_are_where_it_is_told(serve: Any, writer: str) -> None:
    stream = ow.create_stream(settings_of("cells.ome.tiff"), writer)
    for frame in frames(31):
        stream.append(frame)
    stream.skip()
    client = serve("cells")
    for closed in (False, True):
        if closed:
            stream.close()
            client = serve("cells")
        found = {}
        for image, t, c, z in np.ndindex(2, 3, 2, 3):
            told = json.loads(client.ask(f"page.json?image={image}&index={t},{c},{z}").body)
            if told["offset"] is None:
                continue
            assert client.ask(told["url"], Range="bytes=0-3").status == 206
            with tifffile.TiffFile(Path("cells", told["url"].removeprefix("data/")), is_ome=False) as file:
                page = next(page for page in file.pages if page.offset == told["offset"])
                found[t * 12 + image * 6 + c * 3 + z] = int(page.asarray()[0, 0])
        came = {number: value for number, value in found.items() if value}
        assert came == {number: number + 1 for number in range(31)}


def test_a_single_file_is_served_without_its_neighbours(serve: Any) -> None:
    dims = ow.dims_from_standard_axes({"t": 2, "y": 16, "x": 16})
    settings = ow.AcquisitionSettings(root_path="one.ome.tiff", dtype="uint8", dimensions=dims)
    ow.write(ow.compile(settings), np.ones((2, 16, 16), "uint8"))
    Path("secret.txt").write_text("secret")
    client = serve("one.ome.tiff")
    assert client.ask("data/one.ome.tiff").body == Path("one.ome.tiff").read_bytes()
    assert client.ask("data/secret.txt").status == 404
    assert client.state()["images"][0]["name"] == "one"


def test_what_cannot_be_told_says_why(zarr_client: Client) -> None:
    for query in ("image=0&index=0,0,0", "image=7&index=0", "index=0", ""):
        assert zarr_client.ask(f"page.json?{query}").status == 503


def test_a_dataset_that_goes_away_is_an_answer_too(serve: Any) -> None:
    stream = ow.create_stream(settings_of())
    client = serve("cells.ome.zarr")
    Path("cells.ome.zarr").rename("elsewhere")
    answer = client.ask("state.json")
    assert (answer.status, b"no such file" in answer.body) == (503, True)
    Path("elsewhere").rename("cells.ome.zarr")
    assert client.state()["final"] is False
    stream.close()


def test_datasets_of_others_and_pixels_that_cannot_be_drawn(serve: Any) -> None:
    ow.write(ow.compile(settings_of()), frames(48))
    root = json.loads(Path("cells.ome.zarr/0/zarr.json").read_text())
    del root["attributes"]["ome_writers"]
    Path("cells.ome.zarr/0/zarr.json").write_text(json.dumps(root))
    state = serve("cells.ome.zarr/0").state()
    assert (state["final"], state["columns"], len(state["images"])) == (True, [], 1)
    assert state["images"][0]["unshown"] is None
    dims = ow.dims_from_standard_axes({"t": 2, "y": 16, "x": 16})
    ow.write(
        ow.compile(ow.AcquisitionSettings(root_path="mask.ome.zarr", dtype="bool", dimensions=dims)),
        np.ones((2, 16, 16), bool),
    )
    assert "cannot show bool" in serve("mask.ome.zarr").state()["images"][0]["unshown"]


def test_a_plate_is_shown_well_by_well(serve: Any) -> None:
    wells = [("A", "1"), ("B", "2"), ("A", "2")]
    fields = [ow.Position(name=row + column, plate_row=row, plate_column=column) for row, column in wells]
    settings = ow.AcquisitionSettings(
        root_path="plate.ome.zarr",
        dtype="uint8",
        plate=ow.Plate(name="screen", row_names=["A", "B"], column_names=["1", "2"]),
        dimensions=[
            ow.Dimension(name="p", coords=fields),
            ow.Dimension(name="y", count=16),
            ow.Dimension(name="x", count=16),
        ],
    )
    with ow.create_stream(settings) as stream:
        client = serve("plate.ome.zarr")
        for row, column in wells:
            stream.append(np.ones((16, 16), "uint8"))
            state = client.state()
            assert state["images"][state["newest"]["image"]]["url"] == f"data/{row}/{column}/0"


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", "nowhere", "--no-browser"]) == 1
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err
    Path("other.txt").write_text("text")
    assert run(["view", "other.txt", "--no-browser"]) == 1
    assert "other.txt: is neither a zarr folder nor a TIFF file" in capsys.readouterr().err
    ow.write(ow.compile(settings_of()), frames(48))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["view", "cells.ome.zarr", "--no-browser", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port} cannot be used" in said
    assert "without --port one that is free is found" in said


def test_the_command_opens_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ow.write(ow.compile(settings_of()), frames(48))
    opened: list[str] = []

    def look(url: str) -> None:
        opened.append(url)
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", look)
    assert run(["view", "cells.ome.zarr"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"cells.ome.zarr is shown at {opened[0]} until Ctrl-C"
    assert last == "no longer shown"
