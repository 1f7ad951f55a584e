"""Arrays too large for memory: entries that are read, and made what is wanted of them, whenever they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Entries:
    """An array `[n, ...]` of which no more is in memory than the entries asked for.

    A number gives an entry; a slice, or an array of numbers or of booleans, gives `Entries` again; `np.asarray` reads
    them all.

    Args:
      read: read(i) gives entry i of the whole.
      rows: the numbers of the entries that are these.
      like: an array of the shape and type of an entry.
    """

    def __init__(self, read: Callable[[int], np.ndarray], rows: np.ndarray, like: np.ndarray) -> None:
        self._read, self._rows, self._like = read, rows, like
        self.shape, self.ndim, self.dtype = (len(rows), *like.shape), like.ndim + 1, like.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return self._read(self._rows[index])
        return Entries(self._read, self._rows[index], self._like)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        values = np.empty(self.shape, dtype or self.dtype)
        for i, entry in enumerate(self):
            values[i] = entry
        return values

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Entries:
        """The entries, each through the function when it is read."""
        return Entries(lambda i: function(self._read(i)), self._rows, function(np.zeros_like(self._like)))
