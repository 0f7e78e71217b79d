"""Progress of a command in stages: a bar that says how much is done, what is being done, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str, int, int], None]
"""Told the step, how many stages are done, and how many there are as far as is known."""


class Stages:
    """Counts stages, and names the step within one; whoever wants a plain ``say`` may be given it.

    Parameters
    ----------
    show
        Where it is shown.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._step = ""
        self.planned = 0
        self.finished = 0

    def plan(self, count: int) -> None:
        """Expect so many stages more."""
        self.planned += count
        self._show(self._step, self.finished, self.planned)

    def finish(self, count: int = 1) -> None:
        """Count stages as done."""
        self.finished += count
        self._show(self._step, self.finished, self.planned)

    def __call__(self, step: str) -> None:
        """Name the step that begins."""
        self._step = step
        self._show(step, self.finished, self.planned)


@contextmanager
def shown_stages(console: Console) -> Iterator[Stages]:
    """Show stages with a bar and the time elapsed; as a line for each step where there is no terminal."""
    if not console.is_terminal:
        yield Stages(_lines(console))
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None)

        def show(step: str, finished: int, planned: int) -> None:
            progress.update(task, description=step, completed=finished, total=planned or None)

        yield Stages(show)


def _lines(console: Console) -> Show:
    begun = time.perf_counter()
    last = ""

    def show(step: str, finished: int, planned: int) -> None:
        nonlocal last
        if step and step != last:
            last = step
            minutes, seconds = divmod(round(time.perf_counter() - begun), 60)
            line = f"… {minutes}:{seconds:02} {finished}/{planned} {step}"
            console.print(line, soft_wrap=True, markup=False)

    return show
