"""What ends a run that nobody closed: the end of the interpreter. And what must not touch it: a process forked off.

1. At the end of the interpreter, runs are closed while threads can still be started, which many libraries need to
   store what they hold.
2. A forked child has all objects of its parent, and shares its open files. So it disowns every run as its first act,
   and never lets go of what writes them, since libraries store things when they are let go of. Before the fork, runs
   come to rest: a child in which a thread is missing in the middle of its work may never end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol


def finalize(thing: object, end: Callable[..., object], *args: object) -> weakref.finalize[..., Any]:
    """Call `end` when a thing is let go of, or the interpreter ends; but not in a process that was forked off."""
    return weakref.finalize(thing, _unless_forked, os.getpid(), end, *args)


def _unless_forked(process: int, end: Callable[..., object], *args: object) -> None:
    if os.getpid() == process:
        end(*args)


class Forked(Protocol):
    """What a forked child inherits, and must leave alone."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork(self) -> None:
        """Go on, in the parent."""

    def disown(self) -> None:
        """Take nothing from now on, and change nothing, in the child."""


_AT_EXIT: Final[set[Callable[[], object]]] = set()
_INHERITED: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_RESTING: Final[list[Any]] = []
_registered: list[bool] = []


def call_at_exit(end: Callable[[], object]) -> None:
    """Call `end` when the interpreter ends, before its threads do."""
    _AT_EXIT.add(end)
    if _registered:
        return
    _registered.append(True)
    # Whoever comes last is called first, and the pools of this library must still take work then.
    import concurrent.futures.thread  # noqa: F401

    register = getattr(threading, "_register_atexit", None)
    if register is None:
        import atexit

        register = atexit.register
    with contextlib.suppress(RuntimeError):  # the end has begun
        register(_end_all)


def forget(end: Callable[[], object]) -> None:
    """Do not call `end` any more."""
    _AT_EXIT.discard(end)


def _end_all() -> None:
    while _AT_EXIT:
        try:
            _AT_EXIT.pop()()
        except Exception:  # noqa: BLE001 - the others are to be closed as well
            sys.excepthook(*sys.exc_info())


def disowned_in_forks(thing: Forked) -> None:
    """Have a forked child disown its copy of this."""
    _INHERITED.add(thing)


def keep_forever(thing: object) -> None:
    """Keep an object, and all that it holds, until the process is gone, also while the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _before_fork() -> None:
    for thing in list(_INHERITED):
        _RESTING.append(thing)
        thing.before_fork()


def _after_fork() -> None:
    while _RESTING:
        _RESTING.pop().after_fork()


def _in_child() -> None:
    while _RESTING:
        _RESTING.pop().disown()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    # Whoever comes last is called first: to come to rest, runs need what these two lock for the time of a fork.
    import concurrent.futures.thread  # noqa: F401
    import logging  # noqa: F401

    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
