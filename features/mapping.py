"""A source's mapping: how its rows become events, and what `backtest` does with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Self
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from configs.errors import did_you_mean
from configs.settings import read_yaml_mapping
from features.errors import SourceError
from features.events import EVENT_SCHEMA

MAPPABLE = tuple(name for name in EVENT_SCHEMA if name != "source")
MUST_BE_MAPPED = ("customer_id", "event_type", "event_time")
READERS = ("parquet", "csv", "sql", "loader")
VARIABLE = re.compile(r"\$\{([^}]*)\}")
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Census(_Part):
    """Evaluation midnights (00:00 in the business zone), from ``first`` to ``last`` inclusive."""

    first: date
    last: date
    every_days: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} lies before first {self.first}")
        return self


class TagsPlan(_Part):
    """Slices of the tag backtest: fit on cut-offs up to ``fit_until``; the census is the test slice."""

    census: Census
    fit_until: date
    calibrate: Census
    certify: Census


class PropensityPlan(_Part):
    """Slices of the propensity backtest for one horizon."""

    horizon_hours: int = Field(ge=1)
    census: Census
    fit_until: date
    calibrate: Census
    active_within_days: int = Field(default=30, ge=1)


class ClvPlan(_Part):
    """One CLV backtest: predict at ``as_of``, compare with the ``horizon_days`` after it."""

    as_of: date
    horizon_days: int = Field(ge=1)


class EvaluationPlan(_Part):
    """What `backtest` does when no flag says otherwise; what a source cannot carry is absent."""

    tags: TagsPlan | None = None
    propensity: tuple[PropensityPlan, ...] = ()
    clv: tuple[ClvPlan, ...] = ()


class SourceMapping(_Part):
    """One source's mapping, as written: environment variables are not yet filled in.

    Attributes
    ----------
    shares_customer_ids_with
        A source whose customer ids are this one's too; null: they are its own.
    identities
        By space (``unionid``, another source) an expression that gives the customer's id there.
    """

    source: str
    read: dict[str, Any]
    time_zone: str | None = None
    currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    left_out: str | None = None
    columns: dict[str, str]
    shares_customer_ids_with: str | None = None
    identities: dict[str, str] = Field(default_factory=dict)
    evaluation: EvaluationPlan = EvaluationPlan()
    folder: Path = Field(description="what relative paths are relative to; not a key of the file")

    @field_validator("source")
    @classmethod
    def _source_is_a_name(cls, value: str) -> str:
        if not SOURCE_NAME.fullmatch(value):
            raise ValueError("expected 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError(f"no such time zone{did_you_mean(value, available_timezones())}")
        return value

    @field_validator("columns", "identities", mode="before")
    @classmethod
    def _expressions_are_text(cls, value: object) -> object:
        if isinstance(value, dict):
            # A number or a truth value is a constant expression; YAML has already made it no text.
            return {
                name: str(expression) if isinstance(expression, int | float) else expression
                for name, expression in value.items()
            }
        return value

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in MAPPABLE:
                raise ValueError(
                    f"unknown column {name!r}{did_you_mean(name, MAPPABLE)}; known: {', '.join(MAPPABLE)}"
                )
        for name in MUST_BE_MAPPED:
            if name not in value:
                raise ValueError(f"column {name!r} is missing: it has no default")
        for name, expression in value.items():
            if not expression.strip():
                raise ValueError(f"column {name!r} is empty: expected a DuckDB SQL expression")
        return value

    @field_validator("identities")
    @classmethod
    def _identities_are_spaces(cls, value: dict[str, str]) -> dict[str, str]:
        for name, expression in value.items():
            if not SOURCE_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r}: expected 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit"
                )
            if not expression.strip():
                raise ValueError(f"{name!r} is empty: expected a DuckDB SQL expression")
        return value

    @field_validator("shares_customer_ids_with")
    @classmethod
    def _shares_with_another(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value == info.data.get("source"):
            raise ValueError("expected another source")
        return value

    @field_validator("read")
    @classmethod
    def _one_reader(cls, value: dict[str, Any]) -> dict[str, Any]:
        named = [reader for reader in READERS if reader in value]
        if len(named) != 1:
            given = ", ".join(map(repr, value)) or "nothing"
            hint = next((did_you_mean(str(name), READERS) for name in value if str(name) not in READERS), "")
            raise ValueError(f"expected exactly one of {', '.join(READERS)}, got {given}{hint}")
        if not isinstance(value[named[0]], str) or not value[named[0]].strip():
            raise ValueError(f"{named[0]} is {value[named[0]]!r}: expected text")
        return value

    @property
    def reader(self) -> str:
        """Which of `READERS` reads the source."""
        return next(reader for reader in READERS if reader in self.read)

    def filled_in(self, environ: Mapping[str, str]) -> SourceMapping:
        """Return the mapping with every ``${NAME}`` of its reader and expressions replaced.

        Raises
        ------
        SourceError
            If a variable is not set.
        """
        what = f"source {self.source}"
        return self.model_copy(
            update={
                "read": fill_in(self.read, environ, what),
                "columns": fill_in(self.columns, environ, what),
                "identities": fill_in(self.identities, environ, what),
                "left_out": fill_in(self.left_out, environ, what),
            }
        )


KEYS = tuple(name for name in SourceMapping.model_fields if name != "folder")


def load_mapping(path_or_name: str | Path, environ: Mapping[str, str]) -> SourceMapping:
    """Load a mapping by path, or a shipped one by name.

    Parameters
    ----------
    path_or_name
        ``completejourney``, or the path of a YAML file.
    environ
        Where its ``${NAME}`` will be taken from: checked here, filled in when the source is read.

    Raises
    ------
    TagtideError
        If there is no such mapping, it is malformed, or a variable is not set; one line that names the field
        and its value.
    """
    text = str(path_or_name)
    if text.endswith((".yaml", ".yml")) or "/" in text or Path(text).is_file():
        path = Path(text).expanduser()
    else:
        path = shipped_folder() / f"{text}.yaml"
        if not path.is_file():
            raise SourceError(
                f"no shipped source {text!r}{did_you_mean(text, shipped_names())}",
                f"choose one of {', '.join(shipped_names())}, or give the path of a mapping (.yaml)",
            )
    what = f"source mapping {path}"
    mapping = check_mapping(read_yaml_mapping(path, "source mapping"), what, path.absolute().parent)
    mapping.filled_in(environ)
    return mapping


def check_mapping(written: Mapping[str, Any], what: str, folder: Path) -> SourceMapping:
    """Check a mapping's shape; its relative paths will be relative to ``folder``.

    Raises
    ------
    SourceError
        If a key or column is unknown or missing, or a value does not fit.
    """
    for name in written:
        if name not in KEYS:
            raise SourceError(
                f"{what}: unknown key {name!r}{did_you_mean(str(name), KEYS)}",
                f"known keys: {', '.join(KEYS)}",
            )
    try:
        return SourceMapping.model_validate({**written, "folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise SourceError(f"{what}: {field!r} is missing", "see docs/sources.md") from None
        if first["type"] == "extra_forbidden":
            raise SourceError(f"{what}: unknown key {field!r}", "see docs/sources.md") from None
        reason = str(first["msg"]).removeprefix("Value error, ")
        value = "" if isinstance(first["input"], dict) else f" is {first['input']!r}"
        raise SourceError(f"{what}: {field!r}{value}: {reason}", "see docs/sources.md") from None


def fill_in(value: Any, environ: Mapping[str, str], what: str) -> Any:
    """Replace every ``${NAME}`` in texts, however deeply nested, by the environment's value.

    Raises
    ------
    SourceError
        If a variable is not set or is empty.

    >>> fill_in({"csv": "${DATA}/a.csv"}, {"DATA": "/srv"}, "mapping")
    {'csv': '/srv/a.csv'}
    """
    if isinstance(value, str):
        for name in VARIABLE.findall(value):
            if not environ.get(name):
                raise SourceError(
                    f"{what}: environment variable {name} is not set{did_you_mean(name, environ)}",
                    f"export {name}=… and run the command again",
                )
        return VARIABLE.sub(lambda match: environ[match.group(1)], value)
    if isinstance(value, Mapping):
        return {key: fill_in(inner, environ, what) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill_in(inner, environ, what) for inner in value]
    return value


def shipped_folder() -> Path:
    """Return where the shipped mappings lie."""
    return Path(str(resources.files("configs") / "sources"))


def shipped_names() -> list[str]:
    """Return the names of the shipped mappings, sorted.

    >>> "completejourney" in shipped_names()
    True
    """
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))
