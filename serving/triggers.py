"""Triggers as declared in ``configs/triggers.yaml`` or ``HOME/triggers.yaml``: what sets each off."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import read_yaml_mapping
from features.events import EVENT_TYPES
from features.tags import load_catalogue
from serving.errors import TriggerError

FILE_NAME = "triggers.yaml"

WAIT_MINUTES_MAX = 72 * 60
"""The memory that tells what did not happen holds 72 hours."""

MINUTE_US = 60 * 1_000_000

HORIZONS = ("72h", "7d", "30d")

FORMS = "expected event (with without and for_minutes), tag, or propensity with above"


def _one_of(what: str, known: Sequence[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"unknown {what} {name!r}{hint}; expected one of {', '.join(known)}")
        return name

    return AfterValidator(check)


def _known_tag(name: str) -> str:
    families = load_catalogue()
    family, _, key = name.partition(":")
    if family not in families:
        raise ValueError(
            f"unknown tag family {family!r}{did_you_mean(family, families)}; "
            f"expected one of {', '.join(families)}"
        )
    if key and families[family].key is None:
        raise ValueError(f"tags of {family!r} have no key; expected {family!r}")
    return name


EventType = Annotated[str, _one_of("event type", tuple(EVENT_TYPES))]
Probability = Annotated[float, Field(gt=0, lt=1)]


class Cause(BaseModel):
    """What sets a trigger off: exactly one of an event, a tag and a propensity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: EventType | None = None
    without: EventType | None = None
    for_minutes: Annotated[int, Field(ge=1, le=WAIT_MINUTES_MAX)] | None = None
    tag: Annotated[str, AfterValidator(_known_tag)] | None = None
    propensity: Annotated[str, _one_of("horizon", HORIZONS)] | None = None
    above: Probability | None = None
    again_below: Probability | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Cause:
        if sum(one is not None for one in (self.event, self.tag, self.propensity)) != 1:
            raise ValueError(f"one cause each: {FORMS}")
        if (self.without is None) != (self.for_minutes is None):
            raise ValueError("without and for_minutes belong together")
        if self.without is not None and self.event in (None, self.without):
            raise ValueError("without needs an event, of another type")
        if (self.propensity is None) != (self.above is None):
            raise ValueError("propensity and above belong together")
        if self.again_below is not None and (self.above is None or self.again_below > self.above):
            raise ValueError("again_below needs above, and may not exceed it")
        return self

    @property
    def wait_us(self) -> int:
        """How long nothing else may happen, microseconds; 0: the event alone counts."""
        return (self.for_minutes or 0) * MINUTE_US

    @property
    def rearmed_below(self) -> float:
        """What the probability must have fallen below to rise again."""
        above = self.above if self.above is not None else 1.0
        return above if self.again_below is None else self.again_below

    def is_tag(self, tag_id: str) -> bool:
        """Tell whether this is about a tag.

        >>> Cause(tag="interest").is_tag("interest:MILK"), Cause(tag="interest:TEA").is_tag("interest:MILK")
        (True, False)
        """
        return self.tag is not None and tag_id in (self.tag, f"{self.tag}:{tag_id.partition(':')[2]}")


class Trigger(BaseModel):
    """One rule."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Annotated[str, Field(alias="trigger", pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    on: Cause
    postpone: bool = False


def load_triggers(home: Home) -> tuple[Trigger, ...]:
    """Read a home's triggers: its own file where there is one, else the shipped one.

    Raises
    ------
    TriggerError
        If the file is not as it should be; the message names file, trigger, field and value.
    """
    own = home.root / FILE_NAME
    path = own if own.exists() else Path(str(resources.files("configs") / FILE_NAME))
    content = read_yaml_mapping(path, "triggers")
    listed = content.get("triggers")
    if set(content) != {"triggers"} or not isinstance(listed, list):
        raise TriggerError(
            f"triggers {path}: expected one list, triggers; got {', '.join(map(str, content)) or 'nothing'}",
            "write `triggers: []` for none",
        )
    found = [_trigger(path, number, one) for number, one in enumerate(listed, start=1)]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise TriggerError(
                f"triggers {path}: {name!r} is declared more than once", "give each its own name"
            )
    return tuple(found)


def _trigger(path: Path, number: int, declared: Any) -> Trigger:
    if isinstance(declared, dict):
        # YAML 1.1 takes a bare `on` for a truth value.
        declared = {"on" if key is True else key: value for key, value in declared.items()}
    try:
        return Trigger.model_validate(declared)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = declared.get("trigger", number) if isinstance(declared, dict) else number
        where = ".".join(str(part) for part in first["loc"])
        field = f" field {where!r} is {first['input']!r}:" if where else ""
        said = first["msg"].removeprefix("Value error, ")
        raise TriggerError(
            f"triggers {path}: trigger {name!r}:{field} {said}", "see docs/triggers.md for the grammar"
        ) from None
