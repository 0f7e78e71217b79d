"""One run of the command line: its home, settings, screen and output."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.home import Home, open_home
from configs.settings import LoadedSettings, Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

DEFAULT_HOME = Path(".tagtide")

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output instead of a table.")
]
"""The option every command takes for machines; it is accepted before the command as well."""


class Invocation:
    """What the options before the command decided, opened only when asked for.

    Results go to standard output by `emit`; progress, notes and errors go to standard error, so that
    ``--json`` output can be piped.

    Parameters
    ----------
    home_path
        The home directory; it need not exist.
    environ
        Usually ``os.environ``.
    as_json
        Whether ``--json`` stood before the command.
    debug
        Whether a failure shows its traceback.
    """

    def __init__(
        self, home_path: Path, environ: Mapping[str, str], *, as_json: bool = False, debug: bool = False
    ) -> None:
        self.home_path = home_path
        self.environ = environ
        self.as_json = as_json
        self.debug = debug

    def home(self, create: bool = False) -> Home:
        """Open the home directory, made if ``create`` says so.

        Raises
        ------
        HomeError
            If it is missing (and ``create`` is false), is no home, or was written by another layout.
        """
        return open_home(self.home_path, create=create)

    @cached_property
    def loaded(self) -> LoadedSettings:
        """Settings with their origins, read once.

        Raises
        ------
        ConfigError
            If a setting's name or value is wrong.
        """
        return load_settings(self.home_path, self.environ)

    @property
    def settings(self) -> Settings:
        """Settings, read once."""
        return self.loaded.settings

    @cached_property
    def console(self) -> Console:
        """The screen for everything that is not the result: standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def progress(self) -> Progress:
        """Return a progress display on standard error, silent where that is no terminal."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that names the step being done: shown with a spinner, or as lines where piped."""
        if not self.console.is_terminal:
            yield lambda step: self.console.print(f"… {step}")
            return
        with self.console.status("") as status:
            yield lambda step: status.update(f"{step} …")

    def emit(self, payload: Mapping[str, Any], shown: RenderableType, as_json: bool = False) -> None:
        """Print a command's result on standard output.

        Parameters
        ----------
        payload
            The result for machines. Dates become ISO 8601, numpy scalars numbers, NaN and infinities null.
        shown
            The same for people: a string, a table, anything rich can render.
        as_json
            The command's own ``--json``.
        """
        if as_json or self.as_json:
            text = json.dumps(plain(payload), indent=2, ensure_ascii=False, allow_nan=False)
            typer.echo(text)
            return
        from rich.console import Console

        # A text may hold commands to copy: the terminal may wrap it, we must not.
        Console(highlight=False).print(shown, soft_wrap=isinstance(shown, str))


def plain(value: object) -> Any:
    """Turn a value into what JSON can hold.

    Raises
    ------
    TypeError
        If the value is of a kind that has no one JSON form.

    >>> plain({"share": float("nan"), "path": Path("a/b"), "rows": (1, 2)})
    {'share': None, 'path': 'a/b', 'rows': [1, 2]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
