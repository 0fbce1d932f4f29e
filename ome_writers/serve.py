"""Serves a dataset on this machine alone, with the page that shows it in a browser while it is written.

Below a path that nobody can guess lie the page, `state.json` (how far the run is and which images there are),
`page.json` (at which byte of which TIFF file a frame begins) and `data/`: the files of the dataset as they are, to be
read in ranges, by the page or by any other program that reads over HTTP. Nothing can be changed, and nothing outside
can be read.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ome_writers.exhibit import Exhibit

_PIECE: Final = 4 << 20
"""Bytes of a file that are read at once; it is closed again before they are sent, so that it can be replaced."""
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES: Final = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json"}
# numcodecs' blosc, compiled for browsers, makes functions out of text.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
)


class Server(ThreadingHTTPServer):
    """Serves an exhibit to this machine alone, until it is closed.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> dims = dims_from_standard_axes({"t": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> outcome = write(plan, np.ones((2, 8, 8), "uint8"))
    >>> with Server("a.ome.zarr") as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    daemon_threads = True

    def __init__(self, path: str | os.PathLike[str], port: int = 0) -> None:
        self.exhibit = Exhibit(path)
        self.secret = secrets.token_urlsafe(12)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/{self.secret}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep silent about browsers that hang up in the middle; all else is told to them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer()

    def _refuse(self) -> None:
        # What comes with the request is not read, so nothing can follow it.
        self.close_connection = True
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815 - as the library calls them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the library calls it
        """Keep silent."""

    def _answer(self) -> None:
        asked = urlsplit(self.path)
        secret, _, key = unquote(asked.path).lstrip("/").partition("/")
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            self._send(HTTPStatus.NOT_FOUND, b"there is nothing here")
        elif key.startswith("data/"):
            self._file(self.server.exhibit.file(key.removeprefix("data/")))
        elif key in {"", "viewer.js"}:
            name = key or "index.html"
            kind = {"Content-Type": _TYPES[Path(name).suffix], "Content-Security-Policy": _POLICY}
            self._send(HTTPStatus.OK, files("ome_writers").joinpath("viewer", name).read_bytes(), kind)
        elif key in {"state.json", "page.json"}:
            self._json(key, parse_qs(asked.query))
        else:
            self._send(HTTPStatus.NOT_FOUND, b"there is no such file")

    def _json(self, key: str, query: dict[str, list[str]]) -> None:
        exhibit = self.server.exhibit
        try:
            if key == "state.json":
                told = exhibit.state()
            else:
                index = tuple(int(part) for part in query["index"][0].split(",") if part)
                told = exhibit.page(int(query["image"][0]), index)
        except Exception as error:  # noqa: BLE001 - whatever a library says of files that are being written
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{type(error).__name__}: {error}".encode())
        else:
            self._send(HTTPStatus.OK, json.dumps(told).encode(), {"Content-Type": _TYPES[".json"]})

    def _file(self, path: Path | None) -> None:
        try:
            size = path.stat().st_size if path is not None else -1
        except OSError:  # replaced at this moment
            size = -1
        if path is None or size < 0:
            self._send(HTTPStatus.NOT_FOUND, b"there is no such file")
            return
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None or not any(wanted.groups()):
            part, status = range(size), HTTPStatus.OK
        else:
            first, last = wanted.groups()
            start = int(first) if first else max(0, size - int(last))
            part = range(start, min(size, int(last) + 1) if first and last else size)
            status = HTTPStatus.PARTIAL_CONTENT
        more = {"Content-Type": _TYPES.get(path.suffix, "application/octet-stream"), "Accept-Ranges": "bytes"}
        if status == HTTPStatus.PARTIAL_CONTENT and not part:
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
            return
        if status == HTTPStatus.PARTIAL_CONTENT:
            more["Content-Range"] = f"bytes {part[0]}-{part[-1]}/{size}"
        self._head(status, len(part), more)
        if self.command == "HEAD":
            return
        for start in range(part.start, part.stop, _PIECE):
            length = min(_PIECE, part.stop - start)
            with path.open("rb") as file:
                file.seek(start)
                piece = file.read(length)
            self.wfile.write(piece)
            if len(piece) < length:  # it was cut off meanwhile
                self.close_connection = True
                return

    def _send(self, status: HTTPStatus, body: bytes, more: dict[str, str] | None = None) -> None:
        self._head(status, len(body), {"Content-Type": "text/plain; charset=utf-8"} | (more or {}))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        # Whoever knows the address may read from any page; nothing is kept, since the files change.
        common = {
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Content-Length, Content-Range, Accept-Ranges",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in (common | more).items():
            self.send_header(name, value)
        self.end_headers()
