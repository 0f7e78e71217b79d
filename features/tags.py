"""The tag catalogue: families as declared in ``configs/tags.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import did_you_mean
from configs.settings import read_yaml_mapping
from features.candidates import CustomerRule, PairRule
from features.errors import TagCatalogueError
from features.events import EVENT_TYPES
from features.feast_objects import SERVICES
from features.memory import ATTENTION_TYPES
from features.where import NUMBER_COLUMNS, TEXT_COLUMNS, Where
from features.windows import DAY_30, DAY_90, HOUR_72, HOUR_US, SHORT_WINDOWS, Window

LIFE_HOURS_MAX = 72

SERVICE_OF_KIND = {"category": "interest_v1", "brand": "brand_preference_v1", None: "propensity_v1"}
"""Per key the feature service of a family that has none of its own: the widest of its kind."""


def _known_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(
            f"unknown event type{did_you_mean(name, EVENT_TYPES)}; expected one of {', '.join(EVENT_TYPES)}"
        )
    return name


KnownType = Annotated[str, AfterValidator(_known_type)]


@lru_cache(maxsize=64)
def _where(said: str) -> Where:
    return Where(said)


def _readable(said: str) -> str:
    _where(said)
    return said


class Condition(BaseModel):
    """Something seen of the customer after the claim, in ``(t + not_before, t + within]``.

    Attributes
    ----------
    any_of
        At least one event of these types,
    none_of
        and none of these: their absence confirms.
    next
        Or, instead of both, the next event of this type decides: the order of that instant, all its lines
        together. Without one nothing is decided.
    where
        Only events of which this comparison is true count; with ``next`` it is what the next order has to
        fulfil, sums over its lines.
    same_key
        Only events with the tag's key count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[KnownType, ...] = ()
    none_of: tuple[KnownType, ...] = ()
    next: KnownType | None = None
    where: Annotated[str, AfterValidator(_readable)] | None = None
    same_key: bool = False
    within_hours: int = Field(default=LIFE_HOURS_MAX, ge=1, le=LIFE_HOURS_MAX)
    not_before_minutes: int = Field(default=0, ge=0, lt=60 * LIFE_HOURS_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Condition:
        if self.next is not None and (self.any_of or self.none_of):
            raise ValueError("next decides alone; expected no any_of or none_of beside it")
        if self.next is not None and self.where is None:
            raise ValueError("next needs a where; expected what the next event has to fulfil")
        if not self.types:
            raise ValueError("needs any_of, none_of or next")
        if self.not_before_minutes >= 60 * self.within_hours:
            raise ValueError(
                f"not_before_minutes {self.not_before_minutes} leaves nothing of "
                f"within_hours {self.within_hours}; expected less than {60 * self.within_hours}"
            )
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """The event types that confirm or refute."""
        return (self.next,) if self.next is not None else (*self.any_of, *self.none_of)

    @property
    def comparison(self) -> Where | None:
        """What ``where`` says."""
        return None if self.where is None else _where(self.where)


class Candidate(BaseModel):
    """Who is worth a claim.

    Attributes
    ----------
    any_of, within_hours
        An event of these types lately,
    none_since
        and none of these since the latest of them. Only without a key.
    or_repeat_within_days
        With a key, instead of lately: attention to it at two moments.
    orders_at_least, overdue_ratio
        That many orders, and at least so many times the usual gap between them since the latest; with a key
        it is orders with the key that count.
    ahead_hours
        With a key: by when the gap will have passed, counted from now.
    seen_within_days
        How long ago the latest event other than a contact may lie. Whoever was not seen for more than 3 days
        is looked at once a day, after the profiles' refresh.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[KnownType, ...] = ()
    within_hours: Literal[1, 6, 24, 72] | None = None
    none_since: tuple[KnownType, ...] = ()
    or_repeat_within_days: Literal[90] | None = None
    orders_at_least: int | None = Field(default=None, ge=2)
    overdue_ratio: float | None = Field(default=None, gt=0)
    ahead_hours: int = Field(default=0, ge=0, le=LIFE_HOURS_MAX)
    seen_within_days: Literal[3, 30] = 3

    @model_validator(mode="after")
    def _says_something(self) -> Candidate:
        if bool(self.any_of) != (self.within_hours is not None):
            raise ValueError("any_of and within_hours belong together; expected both or neither")
        if (self.orders_at_least is None) != (self.overdue_ratio is None):
            raise ValueError("orders_at_least and overdue_ratio belong together; expected both or neither")
        if not self.any_of and self.orders_at_least is None:
            raise ValueError("needs any_of or orders_at_least")
        if self.ahead_hours and self.orders_at_least is None:
            raise ValueError("ahead_hours needs orders_at_least: by when which order is due")
        if self.none_since and not self.any_of:
            raise ValueError("none_since needs any_of: since which event")
        return self

    @property
    def is_attention(self) -> bool:
        """Whether it asks for events lately and for nothing else."""
        return self.orders_at_least is None and not self.none_since

    @property
    def within(self) -> Window | None:
        """The window of ``within_hours``."""
        return next((window for window in SHORT_WINDOWS if window.name == f"{self.within_hours}h"), None)

    @property
    def seen_within(self) -> Window:
        """The window of ``seen_within_days``."""
        return HOUR_72 if self.seen_within_days == 3 else DAY_30

    @property
    def rule(self) -> PairRule:
        """The same about a customer and a key, in windows of the kernel."""
        return PairRule(
            within=self.within,
            repeat_within=None if self.or_repeat_within_days is None else DAY_90,
            orders_at_least=self.orders_at_least,
            overdue_ratio=self.overdue_ratio,
            ahead_us=self.ahead_hours * HOUR_US,
        )

    @property
    def customer_rule(self) -> CustomerRule:
        """The same about a customer alone."""
        return CustomerRule(
            any_of=self.any_of,
            within=self.within,
            none_since=self.none_since,
            orders_at_least=self.orders_at_least,
            overdue_ratio=self.overdue_ratio,
        )

    def check_with_key(self) -> None:
        """Raise unless it can be said of a customer and a key."""
        if self.none_since:
            raise ValueError("candidate.none_since is about a customer alone; leave it out, or the key")
        if self.any_of and self.orders_at_least is not None:
            raise ValueError("with a key candidate has any_of or orders_at_least; expected one of them")
        if self.any_of and self.or_repeat_within_days is None:
            raise ValueError("candidate.or_repeat_within_days is required where there is a key; expected 90")
        if self.any_of and set(self.any_of) != set(ATTENTION_TYPES):
            raise ValueError(
                f"candidate.any_of is {list(self.any_of)}; with a key it is {list(ATTENTION_TYPES)}"
            )


class Contract(BaseModel):
    """What a tag has to prove before it is given out.

    Attributes
    ----------
    precision
        Share of observed claims that come true, at least.
    lift
        Precision over the tag's base rate, at least.
    confidence, slack
        The one-sided lower bound of the precision at ``confidence`` may lie at most ``slack`` below it.
    min_support
        Observed claims to judge by, at least.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: float = Field(gt=0, lt=1)
    lift: float = Field(ge=1)
    confidence: float = Field(gt=0.5, lt=1)
    slack: float = Field(ge=0, lt=1)
    min_support: int = Field(ge=1)


class TagFamily(BaseModel):
    """Tags of one kind; see ``configs/tags.yaml`` for the grammar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    key: Literal["category", "brand"] | None = None
    meaning: str
    candidate: Candidate
    confirmed_by: Condition
    observed_if: Condition | Literal["always"]
    life_hours: int = Field(ge=1, le=LIFE_HOURS_MAX)
    contract: Contract

    @model_validator(mode="after")
    def _consistent(self) -> TagFamily:
        for name, condition in (("confirmed_by", self.confirmed_by), ("observed_if", self.observed_if)):
            if isinstance(condition, Condition) and condition.same_key and self.key is None:
                raise ValueError(f"{name}.same_key needs a key (category or brand)")
        if self.key is not None:
            self.candidate.check_with_key()
        elif self.candidate.or_repeat_within_days or self.candidate.ahead_hours:
            raise ValueError("candidate.or_repeat_within_days and ahead_hours need a key (category or brand)")
        if isinstance(self.observed_if, Condition) and self.observed_if.next is not None:
            raise ValueError("observed_if.next: expected any_of; next is for confirmed_by")
        if self.confirmed_by.next is not None:
            decided = self.confirmed_by
            update = {"any_of": (decided.next,), "next": None, "where": None}
            if self.observed_if != decided.model_copy(update=update):
                raise ValueError(
                    f"observed_if: where the next {decided.next} decides, expected any_of: [{decided.next}] "
                    "with confirmed_by's within_hours, not_before_minutes and same_key"
                )
        return self

    def tag_id(self, key: str | None) -> str:
        """Return the id of the family's tag for a key."""
        return self.family if self.key is None else f"{self.family}:{key}"

    @property
    def service(self) -> str:
        """The feature service whose features its model reads: its own, or that of its kind."""
        own = f"{self.family}_v1"
        return own if own in SERVICES else SERVICE_OF_KIND[self.key]

    def missing_types(self, present: set[str]) -> tuple[str, ...]:
        """Return the event types, or columns, without any of which the family cannot run.

        Parameters
        ----------
        present
            As `carried_by` tells.

        Returns
        -------
        Empty if it can run.
        """
        candidate, confirmed = self.candidate, self.confirmed_by
        compared = () if confirmed.comparison is None else confirmed.comparison.compared
        wanted = (
            candidate.any_of,
            ("purchase",) if candidate.orders_at_least is not None else (),
            confirmed.any_of,
            confirmed.none_of,
            (confirmed.next,) if confirmed.next is not None else (),
            compared,
        )
        return next((any_of for any_of in wanted if any_of and not present & set(any_of)), ())


def carried_by(events: pl.DataFrame) -> set[str]:
    """Return the event types that occur, and the columns that ``where`` may name that are not all unknown.

    Parameters
    ----------
    events
        Rows of the event schema.
    """
    numbers = events.select((pl.col(name).fill_null(0) != 0).any() for name in NUMBER_COLUMNS)
    texts = events.select(pl.col(name).is_not_null().any() for name in TEXT_COLUMNS)
    columns = (numbers.row(0, named=True) | texts.row(0, named=True)).items()
    return {*events["event_type"].unique(), *(name for name, is_known in columns if is_known)}


class _CatalogueFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    families: tuple[TagFamily, ...]


def load_catalogue(path: Path | None = None) -> dict[str, TagFamily]:
    """Read the tag families, by name.

    Parameters
    ----------
    path
        A file of one's own; by default the shipped one.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML.
    TagCatalogueError
        If a family is declared wrongly; the message names family, field and value.
    """
    where = Path(str(resources.files("configs") / "tags.yaml")) if path is None else path
    content = read_yaml_mapping(where, "tag catalogue")
    try:
        families = _CatalogueFile.model_validate(content).families
    except ValidationError as error:
        raise TagCatalogueError(f"tag catalogue {where}: {_first_problem(content, error)}") from None
    named: dict[str, TagFamily] = {}
    for family in families:
        if family.family in named:
            raise TagCatalogueError(f"tag catalogue {where}: family {family.family!r} is declared twice")
        named[family.family] = family
    return named


def _first_problem(content: Mapping[str, Any], error: ValidationError) -> str:
    problem = error.errors()[0]
    path = list(problem["loc"])
    name = ""
    if len(path) > 1 and path[0] == "families" and isinstance(path[1], int):
        entry = content["families"][path[1]]
        if isinstance(entry, dict):
            name = f"family {entry.get('family')!r}: "
            path = path[2:]
    field = ".".join(str(part) for part in path)
    shown = "" if isinstance(problem["input"], dict) else f" is {problem['input']!r}"
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        models: tuple[type[BaseModel], ...] = (TagFamily, Candidate, Condition, Contract)
        known = {known for model in models for known in model.model_fields}
        said = f"no such field{did_you_mean(str(path[-1]), known)}"
    return f"{name}{field}{shown}: {said}"
