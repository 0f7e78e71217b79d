"""Which inputs a model could learn nothing from: they never changed, or were missing throughout."""

from __future__ import annotations

import re
from collections.abc import Iterable

from training.artifact import Bundle

RANGES = re.compile(r"^feature_infos=(.*)$", re.MULTILINE)
NOTHING = "none"
"""What LightGBM's text model has for the range of an input in which it found no two values to tell apart."""

SHOWN = 5


def unlearnt_inputs(bundle: Bundle) -> list[str]:
    """Return the inputs that none of a bundle's boosters could learn from, in the order they are read.

    An input is one where all rows that were fitted on have the same value, or nearly all have, or where all
    are missing.
    """
    learnt: set[str] = set()
    read: dict[str, None] = {}
    for role, text in bundle.models.items():
        found = RANGES.search(text)
        ranges = found[1].split(" ") if found else []
        names = bundle.features.get(role, ())
        read |= dict.fromkeys(names)
        learnt |= {name for name, one in zip(names, ranges, strict=False) if one != NOTHING}
    return [name for name in read if name not in learnt]


def in_words(task: str, inputs: Iterable[str]) -> str:
    """Say it in a line; empty where every input could be learnt from.

    >>> in_words("clv", ["refund_90d_minor"])
    'clv learnt nothing from 1 input that never changes or is missing throughout: refund_90d_minor'
    >>> in_words("clv", [])
    ''
    """
    names = list(inputs)
    if not names:
        return ""
    many = f"{len(names)} inputs that never change or are"
    what = "1 input that never changes or is" if len(names) == 1 else many
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{task} learnt nothing from {what} missing throughout: {', '.join(names[:SHOWN])}{more}"
