"""A random order of any number of things, drawn from a key, that takes no memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError
from albertine.records import IntArray

__all__ = ["KeyedPermutation"]

Int64Array = npt.NDArray[np.int64]
_UInt64Array = npt.NDArray[np.uint64]

_ROUNDS = 6
# The multipliers and shifts of the splitmix64 generator's finalizer (Steele, Lea and Flood, OOPSLA 2014).
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


class KeyedPermutation:
    """A bijection of 0 … size - 1 onto itself; any part of it is computed without the rest.

    A number is written as two digits, of bases a and b with a * b just above `size`. In every round one digit is moved
    by a keyed hash of the other, which can be undone, so that the whole is a bijection of 0 … a * b - 1 (the
    generalized Feistel cipher of Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Where the result is
    `size` or more, it is put in again until it is not.

    Args:
        size: how many things are ordered, at least 1.
        key: numbers of 0 or more; another key gives another order.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(self, size: int, key: Sequence[int]) -> None:
        if size < 1:
            raise ConfigError("nothing to put in order", where="size", received=size, allowed="1 or more")
        self.size = size
        self._high = math.isqrt(size - 1) + 1
        self._low = -(-size // self._high)
        state = np.random.SeedSequence(list(key)).generate_state(_ROUNDS, np.uint64)
        self._keys: _UInt64Array = state.astype(np.uint64)

    def __call__(self, places: IntArray) -> Int64Array:
        """Return what stands at these places of the order.

        Args:
            places: [K] each from 0 to size - 1.

        Returns:
            [K] each from 0 to size - 1; different places give different values.
        """
        values = self._encrypted(np.asarray(places, dtype=np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._encrypted(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)

    def _encrypted(self, values: _UInt64Array) -> _UInt64Array:
        high_base, low_base = np.uint64(self._high), np.uint64(self._low)
        high, low = np.divmod(values, low_base)
        for number, key in enumerate(self._keys):
            if number % 2:
                low = (low + _hashed(high, key) % low_base) % low_base
            else:
                high = (high + _hashed(low, key) % high_base) % high_base
        return high * low_base + low


def _hashed(values: _UInt64Array, key: np.uint64) -> _UInt64Array:
    mixed = values ^ key
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        mixed = (mixed ^ (mixed >> shift)) * multiplier
    return mixed ^ (mixed >> _SHIFTS[2])
