"""Typed settings, read once: environment over file over default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from configs.errors import ConfigError, did_you_mean

PREFIX = "TAGTIDE_"
FILE_NAME = "tagtide.yaml"

NOT_SETTINGS = frozenset({"TAGTIDE_DATA", "TAGTIDE_HOME"})
"""Variables of ours that are not settings: where test data lies, and where the home lies."""


class Settings(BaseModel):
    """Everything that can be configured, with its unit in the name.

    Secrets (`ENVIRONMENT_ONLY`) come from the environment only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_zone: str = Field(description="business time zone: day boundaries and weekday rhythm")
    publication_lag_minutes: int = Field(
        ge=0, le=24 * 60, description="how long after a day boundary its profiles are assumed published"
    )
    future_skew_minutes: int = Field(
        ge=0, le=24 * 60, description="how far ahead of its arrival an event may be stamped"
    )
    lateness_allowance_hours: int = Field(
        ge=0, le=7 * 24, description="how long after a window's end its outcome is judged"
    )
    sweep_every_hours: int = Field(
        ge=1, le=24, description="how often customers with live memory are re-evaluated without an event"
    )
    renew_after_hours: int = Field(
        ge=1, le=72, description="a live tag is renewed, and claimed again, at most this often"
    )
    seed: int = Field(ge=0, description="seed of every random choice in training")
    threads: int = Field(ge=1, le=256, description="threads of LightGBM, DuckDB and polars")
    online_store: Literal["sqlite", "redis"] = Field(description="where Feast keeps online values")
    clock: Literal["wall", "replay"] = Field(
        description="what the service calls now: the wall clock, or in a replay the latest event's arrival"
    )
    serve_host: str = Field(min_length=1, description="address the service listens on")
    serve_port: int = Field(ge=1, le=65535, description="port the service listens on")
    max_batch_events: int = Field(ge=1, le=100_000, description="most events of one request")
    max_waiting_events: int = Field(
        ge=1, le=10_000_000, description="most posted events that wait to be written; beyond it 429"
    )
    max_batch_ids: int = Field(ge=1, le=100_000, description="most ids of one prediction request")
    max_body_bytes: int = Field(ge=1024, description="largest request body read")
    consent_default: Literal["allow", "deny"] = Field(
        description="what holds for a purpose about which a customer has said nothing"
    )
    contacts_per_day: int = Field(
        ge=0, le=1000, description="most contacts of a customer in 24 hours, from whatever source"
    )
    contacts_per_week: int = Field(ge=0, le=1000, description="most contacts of a customer in 7 days")
    quiet_hours_from: str = Field(
        description="nobody is contacted from this time of their day on, HH:MM in quotes"
    )
    quiet_hours_until: str = Field(
        description="end of the quiet hours; the same as their beginning: there are none"
    )
    webhook_attempts: int = Field(
        ge=1, le=100, description="a message that was refused so often becomes a dead letter"
    )
    webhook_timeout_seconds: int = Field(
        ge=1, le=60, description="how long the receiver of a message may take"
    )
    audit: bool = Field(description="whether reads and changes are written into the audit log")
    pseudonymous_ids: bool = Field(
        description="whether customers' ids are replaced by keyed hashes before anything is stored"
    )
    api_token: SecretStr | None = Field(
        default=None, description="bearer token of scope admin of the HTTP service; environment only"
    )
    redis_url: SecretStr | None = Field(default=None, description="Redis URL; environment only")
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of event log and ledger; environment only; default: SQLite in the home",
    )
    erasure_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="secret that erased ids are hashed with; environment only; default: HOME/erasure.key",
    )
    webhook_url: SecretStr | None = Field(
        default=None, description="where triggers and tag changes are posted; environment only"
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="what messages are signed with, several separated by commas; environment only",
    )

    id_key: SecretStr | None = Field(
        default=None, min_length=16, description="secret of pseudonymous ids; environment only"
    )
    wecom_corp_id: SecretStr | None = Field(
        default=None, description="WeCom corporation that tags are pushed to; environment only"
    )
    wecom_secret: SecretStr | None = Field(
        default=None, description="secret of its customer-contact application; environment only"
    )

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"no such time zone{did_you_mean(value, available_timezones())}")
        return value

    @field_validator("quiet_hours_from", "quiet_hours_until", mode="before")
    @classmethod
    def _is_time_of_day(cls, value: object) -> object:
        # YAML 1.1 reads 21:00 without quotes as the number 1260.
        if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError("expected HH:MM in quotes")
        return value

    @property
    def quiet_hours(self) -> tuple[time, time]:
        """When the quiet hours of a customer's day begin and end."""
        return time.fromisoformat(self.quiet_hours_from), time.fromisoformat(self.quiet_hours_until)

    @property
    def zone(self) -> ZoneInfo:
        """Business time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def publication_lag(self) -> timedelta:
        """Delay between a day boundary and its profiles being assumed published."""
        return timedelta(minutes=self.publication_lag_minutes)

    @property
    def lateness_allowance(self) -> timedelta:
        """Delay between the end of an outcome window and its judgement."""
        return timedelta(hours=self.lateness_allowance_hours)


ENVIRONMENT_ONLY = frozenset(
    {
        "api_token",
        "redis_url",
        "database_url",
        "erasure_key",
        "webhook_url",
        "webhook_secret",
        "id_key",
        "wecom_corp_id",
        "wecom_secret",
    }
)


@dataclass(frozen=True)
class LoadedSettings:
    """Settings together with where each one came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Per setting ``default``, ``file PATH`` or ``environment NAME``."""

    def shown(self) -> list[tuple[str, str, str]]:
        """Return (name, value, origin) rows fit for a screen: secrets are masked."""
        rows = []
        for name in Settings.model_fields:
            value = getattr(self.settings, name)
            text = "********" if isinstance(value, SecretStr) else "" if value is None else str(value)
            rows.append((name, text, self.origins[name]))
        return rows


def read_yaml_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or is not a mapping; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{what} not found: {path}", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} cannot be read: {path}: {error}") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{what} {path}{where}: {problem}", "mend the YAML there") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{what} {path}: expected a mapping, got {type(content).__name__}")
    return content


def load_settings(home: Path, environ: Mapping[str, str]) -> LoadedSettings:
    """Read the settings of a home: environment over ``HOME/tagtide.yaml`` over the shipped defaults.

    Parameters
    ----------
    home
        The home directory; it need not exist yet.
    environ
        Usually ``os.environ``; passed in, so that tests need not patch it.

    Raises
    ------
    ConfigError
        If a name is unknown, a secret stands in the file, or a value does not fit its type or range.
    """
    default_path = Path(str(resources.files("configs") / "default.yaml"))
    values: dict[str, Any] = dict(read_yaml_mapping(default_path, "default settings"))
    origins = dict.fromkeys(Settings.model_fields, "default")

    path = home / FILE_NAME
    if path.exists():
        for name, value in read_yaml_mapping(path, "settings file").items():
            if name not in Settings.model_fields:
                near = did_you_mean(str(name), Settings.model_fields)
                raise ConfigError(
                    f"settings file {path}: unknown setting {name!r}{near}",
                    "see `tagtide config show` for the names",
                )
            if name in ENVIRONMENT_ONLY:
                raise ConfigError(
                    f"settings file {path}: {name!r} is a secret and may not stand in a file",
                    f"set {PREFIX}{name.upper()} in the environment instead",
                )
            values[name] = value
            origins[name] = f"file {path}"

    variables = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        if variable not in variables:
            near = did_you_mean(variable, [*variables, *NOT_SETTINGS])
            raise ConfigError(
                f"unknown environment variable {variable}{near}",
                "unset it, or see `tagtide config show` for the names",
            )
        values[variables[variable]] = text
        origins[variables[variable]] = f"environment {variable}"

    try:
        return LoadedSettings(Settings.model_validate(values), origins)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        shown = "a secret" if name in ENVIRONMENT_ONLY else repr(first["input"])
        raise ConfigError(f"{origins.get(name, name)}: setting {name!r} is {shown}: {first['msg']}") from None
