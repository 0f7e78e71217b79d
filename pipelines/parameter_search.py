"""The search for parameters as a part of training: its budget shown, its progress, and what it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from configs.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from training.tuning import Found, SearchBudget, SearchRows, Trial

Say = Callable[[str], None]


@dataclass(frozen=True)
class ParameterSearch:
    """Searches before models are trained; false if it is to search nothing.

    Attributes
    ----------
    budget
        Of each model's search; None: no search.
    progress
        Makes the display of a search; None: none.
    """

    budget: SearchBudget | None = None
    progress: Callable[[], Progress] | None = None

    @classmethod
    def within(
        cls, trials: int, minutes: float | None, progress: Callable[[], Progress] | None = None
    ) -> ParameterSearch:
        """Return a search of some trials and minutes; of 0 trials, none.

        Raises
        ------
        TuningUnavailableError
            If Optuna is not installed, before anything is computed.
        """
        if not trials:
            return NO_SEARCH
        from training.tuning import SearchBudget, require_optuna

        require_optuna()
        return cls(SearchBudget(trials, minutes), progress)

    def __bool__(self) -> bool:
        """Return whether there is anything to search."""
        return self.budget is not None

    def of(
        self,
        task: str,
        rows: Sequence[SearchRows],
        defaults: Mapping[str, Any],
        settings: Settings,
        say: Say,
    ) -> Found | None:
        """Search the parameters of one task; None without a budget."""
        from training.tuning import search, stretches

        if self.budget is None:
            return None
        limit = "" if self.budget.minutes is None else f", at most {self.budget.minutes:g} minutes"
        say(f"searching parameters of {task}: {self.budget.trials} trials{limit}")
        problems = [stretches(one, settings.seed) for one in rows]
        with _Shown(task, self.budget.trials, self.progress) as shown:
            found = search(
                problems,
                defaults,
                self.budget,
                seed=settings.seed,
                threads=settings.threads,
                told=shown.trial,
            )
        say(
            f"parameters of {task}: log loss {found.loss:.5f} after {found.trials} trials, "
            f"{found.default_loss:.5f} by default"
        )
        return found


NO_SEARCH = ParameterSearch()


class _Shown:
    """A bar of the trials done, with the best so far and the time that is left."""

    def __init__(self, task: str, trials: int, progress: Callable[[], Progress] | None) -> None:
        self._task = task
        self._trials = trials
        self._progress = None if progress is None else progress()
        self._begun = time.perf_counter()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
            self._bar = self._progress.add_task(
                f"{self._task}: trial 1 of {self._trials}", total=self._trials
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def trial(self, done: Trial) -> None:
        """Show a trial that ended."""
        if self._progress is None:
            return
        left = (time.perf_counter() - self._begun) / done.number * (self._trials - done.number)
        text = (
            f"{self._task}: trial {done.number} of {self._trials}, log loss {done.best:.5f} "
            f"(by default {done.default:.5f}), about {left:.0f} s left"
        )
        self._progress.update(self._bar, completed=done.number, description=text)
