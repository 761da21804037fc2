"""Which rows an answer may contain, in the forms that searches take."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from simsearch.index.vectors import Rows

Mask = npt.NDArray[np.bool_]


class Allowed:
    """``count`` of the rows 0 to ``total`` - 1: what a filter leaves, or all that is not deleted.

    Each form is made when it is first asked for and then kept, so an object that is kept serves
    many searches for the price of one.
    """

    def __init__(self, rows: Rows, total: int) -> None:
        """The rows in ``rows``, int64 (count,): ascending, each once; ValueError if they aren't."""
        inside = not len(rows) or (rows[0] >= 0 and rows[-1] < total)
        if not inside or not (np.diff(rows) > 0).all():
            raise ValueError(f"allowed rows ascend from 0 to {total - 1}, each once; got {rows}")
        self._rows: Rows | None = rows
        self._mask: Mask | None = None
        self.total = total
        self.count = len(rows)

    @classmethod
    def of_mask(cls, mask: Mask) -> Allowed:
        """The rows where ``mask``, bool (total,), is true; it must not change afterwards."""
        allowed = cls(np.empty(0, np.int64), len(mask))
        allowed._rows, allowed._mask = None, mask
        allowed.count = int(np.count_nonzero(mask))
        return allowed

    @classmethod
    def all_but(cls, rows: Rows, total: int) -> Allowed:
        """Every row but ``rows``, int64, in any order."""
        mask = np.ones(total, np.bool_)
        mask[rows] = False
        return cls.of_mask(mask)

    @cached_property
    def rows(self) -> Rows:
        """Their numbers, ascending, int64 (count,)."""
        if self._rows is not None:
            return self._rows
        return np.flatnonzero(self.mask).astype(np.int64, copy=False)

    @cached_property
    def mask(self) -> Mask:
        """True for each, bool (total,)."""
        if self._mask is not None:
            return self._mask
        mask = np.zeros(self.total, np.bool_)
        mask[self.rows] = True
        return mask

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The mask, eight rows a byte, the first in the lowest bit."""
        return np.packbits(self.mask, bitorder="little")

    def part(self, start: int, stop: int) -> Allowed:
        """Those of the rows ``start`` to ``stop`` - 1, counted from ``start``."""
        if self._mask is not None:
            return Allowed.of_mask(self._mask[start:stop])
        cut = slice(*np.searchsorted(self.rows, (start, stop)).tolist())
        return Allowed(self.rows[cut] - start, stop - start)
