"""``tagtide config show``: every setting, its value, and where the value came from."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import SecretStr
from rich.table import Table

from configs.settings import FILE_NAME, PREFIX, LoadedSettings, Settings
from pipelines.invocation import Invocation, JsonFlag

MASK = "********"


def command(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Show every setting, its value, and where the value came from. Secrets are masked.

    A setting is taken from the environment, else from HOME/tagtide.yaml, else from the shipped defaults.

    \b
    [bold]Examples[/bold]
      tagtide config show
      TAGTIDE_SERVE_PORT=9000 tagtide config show
      tagtide --home shop config show --json
    """
    invocation = ctx.ensure_object(Invocation)
    loaded = invocation.loaded
    payload = {
        "home": str(invocation.home_path),
        "file": str(invocation.home_path / FILE_NAME),
        "settings": as_payload(loaded),
    }
    invocation.emit(payload, as_table(loaded), as_json)


def as_payload(loaded: LoadedSettings) -> dict[str, dict[str, Any]]:
    """Return value, origin, variable and meaning of every setting, secrets masked."""
    payload = {}
    for name, field in Settings.model_fields.items():
        value = getattr(loaded.settings, name)
        payload[name] = {
            "value": MASK if isinstance(value, SecretStr) else value,
            "origin": loaded.origins[name],
            "variable": f"{PREFIX}{name.upper()}",
            "meaning": field.description,
        }
    return payload


def as_table(loaded: LoadedSettings) -> Table:
    """Return the settings as a table of name, value and origin, secrets masked."""
    table = Table("setting", "value", "origin", "meaning", box=None, pad_edge=False, header_style="bold")
    for name, value, origin in loaded.shown():
        table.add_row(name, value or "[dim]not set[/dim]", origin, Settings.model_fields[name].description)
    return table
