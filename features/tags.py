"""The tag catalogue: families as declared in ``configs/tags.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import did_you_mean
from configs.settings import read_yaml_mapping
from features.affinity import CandidateRule
from features.errors import TagCatalogueError
from features.events import EVENT_TYPES
from features.feast_objects import SERVICES
from features.memory import ATTENTION_TYPES
from features.windows import DAY_90, SHORT_WINDOWS

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


class Condition(BaseModel):
    """Something seen of the customer after the claim, in ``(t + not_before, t + within]``.

    Attributes
    ----------
    any_of
        At least one event of these types,
    none_of
        and none of these.
    same_key
        Only events with the tag's key count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[KnownType, ...] = ()
    none_of: tuple[KnownType, ...] = ()
    same_key: bool = False
    within_hours: int = Field(default=LIFE_HOURS_MAX, ge=1, le=LIFE_HOURS_MAX)
    not_before_minutes: int = Field(default=0, ge=0, lt=60 * LIFE_HOURS_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Condition:
        if not self.any_of and not self.none_of:
            raise ValueError("needs any_of or none_of")
        if self.not_before_minutes >= 60 * self.within_hours:
            raise ValueError(
                f"not_before_minutes {self.not_before_minutes} leaves nothing of "
                f"within_hours {self.within_hours}; expected less than {60 * self.within_hours}"
            )
        return self


class Candidate(BaseModel):
    """Who is worth a claim: an event of some types lately, or attention to the key at two moments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[KnownType, ...] = Field(min_length=1)
    within_hours: Literal[1, 6, 24, 72]
    or_repeat_within_days: Literal[90] | None = None

    @property
    def rule(self) -> CandidateRule:
        """The same in windows of the kernel."""
        within = next(window for window in SHORT_WINDOWS if window.name == f"{self.within_hours}h")
        return CandidateRule(within, DAY_90)


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
        if self.confirmed_by.same_key and self.key is None:
            raise ValueError("confirmed_by.same_key needs a key (category or brand)")
        if self.key is not None and self.candidate.or_repeat_within_days is None:
            raise ValueError("candidate.or_repeat_within_days is required where there is a key; expected 90")
        if self.key is not None and set(self.candidate.any_of) != set(ATTENTION_TYPES):
            raise ValueError(
                f"candidate.any_of is {list(self.candidate.any_of)}; with a key it is {list(ATTENTION_TYPES)}"
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
        """Return the event types without which the family cannot run, empty if it can."""
        wanted = self.confirmed_by.any_of or self.confirmed_by.none_of
        return () if present & set(wanted) else tuple(wanted)


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
