"""CRC-32C (Castagnoli), the checksum of Zarr's shard indices, with nothing but numpy.

A table takes one byte at a time, too slow for an index of many megabytes. So the data is laid out as lanes, all lanes
go forward together, and their remainders are put together at the end: a remainder followed by n zero bytes is a linear
map of its 32 bits, whose matrix is squared as often as n asks for (RFC 3720, appendix B.4, has the polynomial).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL: Final = 0x82F63B78
_LANES: Final = 1024
_SHORT: Final = 4096
"""Bytes up to which a plain loop is quicker."""


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table = _table()
    size = len(data) // _LANES if len(data) > _SHORT else 0
    state = 0xFFFFFFFF
    if size:
        lanes = np.frombuffer(data, np.uint8, size * _LANES).reshape(_LANES, size).T
        remainders = np.zeros(_LANES, np.uint32)
        remainders[0] = state
        for column in lanes:
            remainders = table[(remainders ^ column) & 0xFF] ^ (remainders >> np.uint32(8))
        over = _zeros(size)
        state = 0
        for remainder in remainders.tolist():
            state = _times(over, state) ^ remainder
    rows = table.tolist()
    for byte in data[size * _LANES :]:
        state = rows[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@cache
def _table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


def _zeros(count: int) -> tuple[int, ...]:
    """Return what `count` zero bytes make of each of the 32 bits of a remainder."""
    table = _table().tolist()
    step = tuple(table[bit & 0xFF] ^ (bit >> 8) for bit in (1 << k for k in range(32)))
    done = tuple(1 << k for k in range(32))
    while count:
        if count & 1:
            done = tuple(_times(step, column) for column in done)
        step = tuple(_times(step, column) for column in step)
        count >>= 1
    return done


def _times(matrix: tuple[int, ...], vector: int) -> int:
    """Return the product of a matrix of bits, by columns, and a vector of bits."""
    out, bit = 0, 0
    while vector:
        if vector & 1:
            out ^= matrix[bit]
        vector >>= 1
        bit += 1
    return out
