"""Files that are made in a thread of their own, shortly before they are needed, so that no frame waits for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from ome_writers.writer import THREADS

_MOST: Final = 32
"""Files that are ready, or being made, and not needed yet."""


class Ahead:
    """Makes the file that follows each file.

    Parameters
    ----------
    make
        Makes a file, by number, and returns whether there was none; called in another thread. What it raises means that
        the file is not there.
    following
        Returns the number of the file that comes after one, or `None`.

    Examples
    --------
    >>> made = set()
    >>> ahead = Ahead(lambda number: made.add(number) is None, lambda number: number + 1 if number < 3 else None)
    >>> ahead.follow(1)
    >>> ahead.take(2), made
    (True, {2})
    >>> ahead.unused()
    []
    """

    def __init__(self, make: Callable[[int], bool], following: Callable[[int], int | None]) -> None:
        self._make, self._following = make, following
        self._coming: dict[int, Future[bool]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def take(self, number: int) -> bool:
        """Wait for a file if it was to be made, and return whether it has been."""
        coming = self._coming.pop(number, None)
        if coming is None:
            return False
        # After an error the caller will find out that the file is not there, and why.
        return coming.exception() is None and coming.result()

    def follow(self, number: int) -> None:
        """Have the file made that comes after one that is used now."""
        following = self._following(number)
        if following is None or following in self._coming or len(self._coming) >= _MOST:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, f"{THREADS}-ahead")
        self._coming[following] = self._pool.submit(self._make, following)

    def unused(self) -> list[int]:
        """Stop, and return which files were made and not needed."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        done = [(number, coming) for number, coming in self._coming.items() if not coming.cancelled()]
        # What stood there already has frames in it.
        made = [number for number, coming in done if coming.exception() is None and coming.result()]
        self._coming.clear()
        return made
