"""Array work spread over the cores there are: NumPy lets go of the interpreter while it computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

WORTH_A_THREAD = 50_000
"""Fewer numbers than these are handled sooner than a thread is started."""

PARTS_AHEAD = 4
"""How many results wait to be used: enough that neither side waits for the other's longest part."""


def core_count() -> int:
    """Return how many cores this process may use.

    >>> core_count() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_part(
    function: Callable[[Part], Result], parts: Iterable[Part], *, work: int = WORTH_A_THREAD
) -> list[Result]:
    """Apply a function to each part, on all cores if there is more than one part.

    The threads end with the call: none is left that a forked process would miss.

    Parameters
    ----------
    work
        How many numbers there are in all; what is soon done is done by the calling thread.

    >>> each_part(abs, [-3, 2])
    [3, 2]
    """
    parts = list(parts)
    threads = min(core_count(), len(parts)) if work >= WORTH_A_THREAD else 1
    if threads <= 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads, thread_name_prefix="part") as pool:
        return list(pool.map(function, parts))


def each_ahead(
    function: Callable[[Part], Result], parts: Iterable[Part], *, work: int = WORTH_A_THREAD
) -> Iterator[Result]:
    """Apply a function to each part in turn, while another thread is a few parts ahead.

    Parameters
    ----------
    work
        How many numbers there are in all; what is soon done is done by the calling thread alone.

    >>> list(each_ahead(abs, [-3, 2]))
    [3, 2]
    """
    if work < WORTH_A_THREAD or core_count() == 1:
        yield from map(function, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming: deque[Future[Result]] = deque()
        for part in parts:
            coming.append(pool.submit(function, part))
            if len(coming) > PARTS_AHEAD:
                yield coming.popleft().result()
        for result in coming:
            yield result.result()


def parts_of(size: int, *, at_most: int | None = None) -> list[slice]:
    """Divide ``range(size)`` into as many slices as there are cores, or into such of at most so many.

    >>> parts_of(5, at_most=2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    length = max(-(-size // core_count()) if at_most is None else at_most, 1)
    return [slice(start, min(start + length, size)) for start in range(0, max(size, 1), length)]
