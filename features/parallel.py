"""Array work spread over the cores there are: NumPy lets go of the interpreter while it computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def core_count() -> int:
    """Return how many cores this process may use.

    >>> core_count() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_part(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Apply a function to each part, on all cores if there is more than one part.

    The threads end with the call: none is left that a forked process would miss.

    >>> each_part(abs, [-3, 2])
    [3, 2]
    """
    parts = list(parts)
    threads = min(core_count(), len(parts))
    if threads <= 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads, thread_name_prefix="part") as pool:
        return list(pool.map(function, parts))
