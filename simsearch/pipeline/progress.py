"""Progress of long work, as whoever called it wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable

from simsearch.backbone import Progress

OnProgress = Callable[[int, int | None], None]
"""Called with the number of texts that have vectors, and of all (``None``: not known)."""


def counting(progress: OnProgress | None, done: int, total: int | None) -> Progress:
    """What an encoder calls with the number of texts just done, from that of all done so far."""

    def advance(texts: int) -> None:
        nonlocal done
        done += texts
        if progress is not None:
            progress(done, total)

    return advance
