"""Feast's objects: entities, feature views, feature services and the repository's configuration.

Everything is built in Python from the two feature catalogues; no ``feature_store.yaml`` is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Literal, Protocol

import yaml

from configs.errors import ConfigError, did_you_mean
from configs.home import Home
from configs.settings import Settings
from features.errors import FeatureStoreError
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, KEY_PROFILE, LIFE_US

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView, RepoConfig

CUSTOMER_SNAPSHOT = "customer_snapshot"
CATEGORY_SNAPSHOT = "category_snapshot"
BRAND_SNAPSHOT = "brand_snapshot"

EVENT_TIMESTAMP = "event_timestamp"
PACKED = "packed"

THAT_VERY_INSTANT = timedelta(microseconds=1)
"""Life of a snapshot. A life of 0 would be infinite to Feast and fill gaps with stale rows."""

LIFE = timedelta(microseconds=LIFE_US)


class Feature(Protocol):
    """What a catalogue says of a feature, as far as Feast is concerned."""

    @property
    def name(self) -> str:
        """Column name."""

    @property
    def dtype(self) -> Literal["int", "float"]:
        """Column type; missing is null in an ``int`` column and NaN or null in a ``float`` column."""

    @property
    def meaning(self) -> str:
        """One sentence."""

    @property
    def services(self) -> Sequence[str]:
        """The feature services that read it; a feature of none is no part of a view."""


@dataclass(frozen=True)
class View:
    """One feature view: its keys, where its rows lie, how long they live."""

    name: str
    file: str
    join_keys: tuple[str, ...]
    life: timedelta
    online: bool
    meaning: str

    def path(self, home: Home) -> Path:
        """Parquet file of the view's rows."""
        return home.feature_store / self.file

    @property
    def instant_feature(self) -> str:
        """Name of the feature that repeats a snapshot's own instant, in microseconds.

        Feast's life is inclusive: a life of 1 µs also admits a snapshot 1 µs older. The joined row says by
        this feature which instant it is of.
        """
        return f"{self.name}_us"


VIEWS = {
    view.name: view
    for view in (
        View(
            CUSTOMER_SNAPSHOT,
            "snapshots/customer.parquet",
            ("customer_id",),
            THAT_VERY_INSTANT,
            False,
            "customer features at decision instants",
        ),
        View(
            CATEGORY_SNAPSHOT,
            "snapshots/category.parquet",
            ("customer_id", "category"),
            THAT_VERY_INSTANT,
            False,
            "features of customer and category at decision instants",
        ),
        View(
            BRAND_SNAPSHOT,
            "snapshots/brand.parquet",
            ("customer_id", "brand"),
            THAT_VERY_INSTANT,
            False,
            "features of customer and brand at decision instants",
        ),
        View(
            CUSTOMER_MEMORY,
            "profiles/customer_memory.parquet",
            ("customer_id",),
            LIFE,
            True,
            "short memory: the last 72 hours of events, packed",
        ),
        View(
            CUSTOMER_PROFILE,
            "profiles/customer_profile.parquet",
            ("customer_id",),
            LIFE,
            True,
            "long memory as of a day boundary, affinities included, packed",
        ),
        View(
            KEY_PROFILE,
            "profiles/key_profile.parquet",
            ("key_column", "key_value"),
            LIFE,
            True,
            "popularity and trend of one category or brand, packed",
        ),
    )
}
"""Every feature view by name."""

ONLINE_VIEWS = tuple(name for name, view in VIEWS.items() if view.online)

SERVICES: dict[str, tuple[str, ...]] = {
    "interest_v1": (CUSTOMER_SNAPSHOT, CATEGORY_SNAPSHOT),
    "brand_preference_v1": (CUSTOMER_SNAPSHOT, BRAND_SNAPSHOT),
    "high_intent_v1": (CUSTOMER_SNAPSHOT,),
    "deal_seeker_v1": (CUSTOMER_SNAPSHOT,),
    "propensity_v1": (CUSTOMER_SNAPSHOT,),
    "clv_v1": (CUSTOMER_SNAPSHOT,),
}
"""The snapshot views that each model's feature service joins. Which features it reads of them, the features
themselves say."""

JOIN_KEYS = {
    "customer": "customer_id",
    "category": "category",
    "brand": "brand",
    "key_column": "key_column",
    "key_value": "key_value",
}
"""Join key by entity."""


def view_named(name: str, known: Iterable[str] = tuple(VIEWS)) -> View:
    """Return a view by name.

    Raises
    ------
    FeatureStoreError
        If it is not one of those known; the message names the nearest.
    """
    names = list(known)
    if name not in names:
        raise FeatureStoreError(
            f"unknown feature view {name!r}{did_you_mean(name, names)}; expected one of {', '.join(names)}"
        )
    return VIEWS[name]


def entities() -> dict[str, Entity]:
    """Return every entity by its join key."""
    from feast import Entity, ValueType

    return {
        join_key: Entity(name=name, join_keys=[join_key], value_type=ValueType.STRING)
        for name, join_key in JOIN_KEYS.items()
    }


def feature_views(
    home: Home, customer_features: Sequence[Feature], affinity_features: Sequence[Feature]
) -> dict[str, FeatureView]:
    """Build every feature view over the home's Parquet files, which need not exist yet.

    Parameters
    ----------
    home
        Where the files lie. A home that was moved has to be applied again.
    customer_features, affinity_features
        The catalogues of customer features and of features of a customer and a key. A view has those that a
        feature service reads: no snapshot is written of the others.
    """
    from feast import FeatureView, Field, FileSource
    from feast.data_format import ParquetFormat
    from feast.types import Bytes, Float64, Int64, String

    types = {"int": Int64, "float": Float64}
    by_join_key = entities()
    features = {
        CUSTOMER_SNAPSHOT: customer_features,
        CATEGORY_SNAPSHOT: affinity_features,
        BRAND_SNAPSHOT: affinity_features,
    }
    built = {}
    for view in VIEWS.values():
        keys = [Field(name=join_key, dtype=String) for join_key in view.join_keys]
        if view.online:
            fields = [Field(name=PACKED, dtype=Bytes)]
        else:
            fields = [
                Field(name=feature.name, dtype=types[feature.dtype], description=feature.meaning)
                for feature in features[view.name]
                if feature.services
            ]
            fields.append(Field(name=view.instant_feature, dtype=Int64))
        built[view.name] = FeatureView(
            name=view.name,
            entities=[by_join_key[join_key] for join_key in view.join_keys],
            ttl=view.life,
            schema=[*keys, *fields],
            online=view.online,
            source=FileSource(
                name=view.name,
                path=str(view.path(home).absolute()),
                timestamp_field=EVENT_TIMESTAMP,
                file_format=ParquetFormat(),
            ),
            description=view.meaning,
        )
    return built


def feature_services(
    views: Mapping[str, FeatureView],
    customer_features: Sequence[Feature],
    affinity_features: Sequence[Feature],
) -> list[FeatureService]:
    """Build the feature service of every model: of each of its views, the features that name the service.

    Parameters
    ----------
    views
        From `feature_views`.
    customer_features, affinity_features
        The catalogues.

    Raises
    ------
    FeatureStoreError
        If a feature names a service that there is not, or one that does not look at its view.
    """
    from feast import FeatureService

    read: dict[tuple[str, str], list[str]] = {}
    for features, homes in (
        (customer_features, {CUSTOMER_SNAPSHOT}),
        (affinity_features, {CATEGORY_SNAPSHOT, BRAND_SNAPSHOT}),
    ):
        for feature in features:
            for service in feature.services:
                for view in _views_read(feature.name, service, homes):
                    read.setdefault((service, view), []).append(feature.name)
    return [
        FeatureService(
            name=service,
            features=[
                views[view][[*read.get((service, view), []), VIEWS[view].instant_feature]] for view in names
            ],
        )
        for service, names in SERVICES.items()
    ]


def _views_read(feature: str, service: str, homes: set[str]) -> list[str]:
    if service not in SERVICES:
        raise FeatureStoreError(
            f"feature {feature!r} is for feature service {service!r}{did_you_mean(service, SERVICES)}; "
            f"expected some of {', '.join(SERVICES)}"
        )
    views = [view for view in SERVICES[service] if view in homes]
    if not views:
        raise FeatureStoreError(
            f"feature {feature!r} is for feature service {service!r}, which joins only "
            f"{', '.join(SERVICES[service])}",
            "declare it in the other catalogue, or for another feature service",
        )
    return views


def repo_config(home: Home, settings: Settings, *, now: datetime | None = None) -> RepoConfig:
    """Fill in ``configs/feature_store/embedded.yaml`` or ``redis.yaml``, as the settings say.

    Parameters
    ----------
    home
        Where registry, Parquet files and the embedded online store lie.
    settings
        ``online_store`` chooses the file; ``redis_url`` fills in ``${REDIS_URL}``.
    now
        The present that the life of an online value is measured against, for replays and tests;
        the wall clock where it is not given.

    Raises
    ------
    ConfigError
        If Redis is chosen and no URL is set.
    """
    from feast import RepoConfig

    name = "embedded" if settings.online_store == "sqlite" else "redis"
    if name == "redis" and settings.redis_url is None:
        raise ConfigError(
            "setting 'online_store' is 'redis', but 'redis_url' is not set", "set TAGTIDE_REDIS_URL"
        )
    text = (resources.files("configs") / "feature_store" / f"{name}.yaml").read_text(encoding="utf-8")
    values = {
        "HOME_DIR": str(home.feature_store.absolute()),
        "REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
    }
    content: dict[str, Any] = _filled(yaml.safe_load(text), values)
    if now is not None:
        content["online_store"]["now"] = now
    return RepoConfig(**content, repo_path=home.feature_store.absolute())


def _filled(content: Any, values: dict[str, str]) -> Any:
    if isinstance(content, dict):
        return {name: _filled(value, values) for name, value in content.items()}
    return Template(content).substitute(values) if isinstance(content, str) else content
