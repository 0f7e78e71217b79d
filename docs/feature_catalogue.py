"""The tables of features.md, made from the definitions; ``generate_reference.py`` writes the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from features import affinity, customer
from features.definitions import FeatureDefinition
from features.feast_objects import SERVICES

HEAD = ["name", "windows", "unit", "meaning", "null means", "read by"]
NOBODY = "–"
NEVER_NULL = "never null"


def features_block() -> str:
    """Return both catalogues as tables, a row for each function, and which service reads how many."""
    parts = [
        ("## Of a customer", customer.catalogue()),
        ("## Of a customer and a category or brand", affinity.catalogue()),
    ]
    sections = [f"{title}\n\n{count_line(features)}\n\n{table(features)}" for title, features in parts]
    return "\n\n".join([services_table(), *sections])


def count_line(features: Sequence[FeatureDefinition]) -> str:
    """Return how many features and families there are."""
    families = len({one.family for one in features})
    read = sum(bool(one.services) for one in features)
    return f"{len(features)} features by {families} functions; models read {read} of them."


def services_table() -> str:
    """Return how many features each feature service reads of a customer, and of a customer and a key."""
    lines = ["| feature service | features of the customer | of customer and key |", "|---|---:|---:|"]
    for service in SERVICES:
        pair = len(affinity.CATALOGUE.names(service))
        lines.append(f"| `{service}` | {len(customer.CATALOGUE.names(service))} | {pair or NOBODY} |")
    return "\n".join(lines)


def table(features: Iterable[FeatureDefinition]) -> str:
    """Return the features as a table, those of one function in one row; first what models read."""
    families = [list(members) for _, members in groupby(features, key=lambda one: one.family)]
    families.sort(key=lambda members: not any(one.services for one in members))
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(row(members))} |" for members in families]
    return "\n".join(lines)


def row(members: Sequence[FeatureDefinition]) -> list[str]:
    """Return the cells of one function's features."""
    first = members[0]
    return [
        f"`{first.family}`",
        " ".join(one.window for one in members),
        first.unit,
        first.meaning,
        first.null_meaning or NEVER_NULL,
        read_by(members),
    ]


def read_by(members: Sequence[FeatureDefinition]) -> str:
    """Return the services that read a function's features, and over which windows if not over all.

    >>> of = lambda window, *services: FeatureDefinition("n", "int", "", window, "", "", services, "n")
    >>> read_by([of("7d", "a_v1", "b_v1"), of("30d", "a_v1", "b_v1", "c_v1")])
    '`a_v1` `b_v1`; `c_v1` 30d'
    >>> read_by([of("7d")])
    '–'
    """
    windows: dict[tuple[str, ...], list[str]] = {}
    for service in dict.fromkeys(name for one in members for name in one.services):
        over = tuple(one.window for one in members if service in one.services)
        windows.setdefault(over, []).append(f"`{service}`")
    everything = tuple(one.window for one in members)
    parts = [
        " ".join([*services, *(over if over != everything else ())]) for over, services in windows.items()
    ]
    return "; ".join(parts) or NOBODY
