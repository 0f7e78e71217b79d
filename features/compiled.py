"""Loops compiled to machine code when first called: one pass where arrays would need many."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Declare a loop over arrays that Numba compiles when it is first called, and keeps compiled on disk.

    Threads run it at the same time: it lets go of the interpreter. Where nothing can be kept on disk it is
    compiled once a process.

    >>> @compiled
    ... def total(numbers):
    ...     found = 0
    ...     for number in numbers:
    ...         found += number
    ...     return found
    >>> import numpy as np
    >>> total(np.array([1, 2]))
    3
    """
    made: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if not made:
            made.append(_machine_code(function))
        result: Result = made[0](*args, **kwargs)
        return result

    return call


def _machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    try:
        made: Callable[..., Any] = numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # neither the folder of the source nor the user's cache can be written
        made = numba.njit(function, nogil=True)
    return made
