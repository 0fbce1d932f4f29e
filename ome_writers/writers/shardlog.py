"""Shards that are appended to, chunk by chunk, and can be read with any reader at every moment.

1. The index stands at the start of the file, without a checksum: for each chunk its offset and length, 16 bytes
   (Zarr v3, `sharding_indexed`). A shard comes into being with an index of absent chunks, beside, and is renamed.
2. A chunk is appended first; its entry in the index follows, and only then is it there. What fails, or dies, before
   that leaves some bytes that nobody looks at.
3. A chunk that comes again is appended again, and its entry replaced.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np

from ome_writers.checksum import crc32c
from ome_writers.writers.files import make_folder, replace_file
from ome_writers.writers.placed import get, put

_MOST_OPEN: Final = 64
"""Files that may be open at once."""
_ENTRY: Final = 16
_ABSENT: Final = b"\xff" * _ENTRY


class _Shard:
    """An open file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0
        self.end = os.fstat(fd).st_size


class ShardLog:
    """Shard files of a dataset in the folder `root`, to be used by several threads at once.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shards = ShardLog(Path(folder))
    ...     path = f"{folder}/c/0"
    ...     shards.append(path, 4, [2, 3], [b"two", b"three"])
    ...     print(shards.read(path, 4, 3), shards.read(path, 4, 0), shards.read(f"{folder}/c/1", 4, 0))
    ...     shards.close()
    b'three' None None
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: OrderedDict[str, _Shard] = OrderedDict()
        """By path; those that were used last stand last."""
        self._lock = threading.Lock()

    def append(self, path: str, chunks: int, places: Sequence[int], parts: Sequence[bytes]) -> None:
        """Append encoded chunks to a shard of `chunks` chunks, and enter them at their places in its index.

        Raises
        ------
        OSError
            If the disk fails. Chunks that were there before can still be read.
        """
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        with self._used(path, chunks) as shard:
            with self._lock:
                offset = shard.end
                shard.end += len(data)
            put(shard.fd, data, offset)
            lengths = list(map(len, parts))
            entries = np.array([list(accumulate(lengths[:-1], initial=offset)), lengths], "<u8").T.tobytes()
            first = 0
            for stop in range(1, len(places) + 1):
                if stop == len(places) or places[stop] != places[stop - 1] + 1:
                    put(shard.fd, entries[first * _ENTRY : stop * _ENTRY], places[first] * _ENTRY)
                    first = stop

    def finish(self, path: str, chunks: int) -> None:
        """Repeat the index at the end of a shard, and its checksum behind it."""
        with self._used(path, chunks) as shard:
            index = get(shard.fd, chunks * _ENTRY, 0)
            data = index + crc32c(index).to_bytes(4, "little")
            put(shard.fd, data, shard.end)
            shard.end += len(data)

    def read(self, path: str, chunks: int, place: int) -> bytes | None:
        """Return an encoded chunk, or `None` if it is not there."""
        if path not in self._open and not Path(path).exists():
            return None
        with self._used(path, chunks) as shard:
            entry = get(shard.fd, _ENTRY, place * _ENTRY)
            if entry == _ABSENT:
                return None
            offset, length = np.frombuffer(entry, "<u8").tolist()
            return get(shard.fd, length, offset)

    @contextlib.contextmanager
    def _used(self, path: str, chunks: int) -> Iterator[_Shard]:
        """Open a shard, or make it, and keep it open meanwhile."""
        with self._lock:
            shard = self._open.get(path)
            if shard is None:
                self._make_room()
                shard = self._open[path] = _opened(path, chunks, self._root)
            else:
                self._open.move_to_end(path)
            shard.users += 1
        try:
            yield shard
        finally:
            with self._lock:
                shard.users -= 1

    def _make_room(self) -> None:
        idle = (path for path, shard in self._open.items() if not shard.users)
        while len(self._open) >= _MOST_OPEN and (path := next(idle, None)) is not None:
            os.close(self._open.pop(path).fd)
            idle = (path for path, shard in self._open.items() if not shard.users)

    def close(self, below: str = "") -> None:
        """Close all files (whose paths begin so); nobody may be using them."""
        with self._lock:
            for path in [path for path in self._open if path.startswith(below)]:
                os.close(self._open.pop(path).fd)


def _opened(path: str, chunks: int, root: Path) -> _Shard:
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            shard = _Shard(os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)))
            # After the death of the machine, not of a process, a file may be there without its bytes.
            if shard.end >= chunks * _ENTRY:
                return shard
            os.close(shard.fd)
        make_folder(Path(path).parent, root)
        replace_file(Path(path), _ABSENT * chunks)
    raise FileNotFoundError(f"{path} was made, and is gone")
