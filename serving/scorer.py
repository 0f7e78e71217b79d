"""Scores customers from the online store: one packed read, the kernel, every published model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.home import Home
from configs.settings import Settings
from features import affinity, customer
from features.candidates import seen_within
from features.live import KeyProfiles, LiveCustomers
from features.memory import KEY_COLUMNS
from features.money import home_currency
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    LIFE_US,
    PackedRow,
    PackedStore,
    profile_key,
)
from features.profile import ORDER_COUNT
from features.tags import load_catalogue
from features.windows import LIFETIME, profile_boundary
from serving.explanations import explain_propensity, explain_tags, explain_value, explainer
from serving.scores import CustomerScores, ScoredTag
from serving.static_tags import StaticTags
from serving.tag_schemas import TagContract
from serving.upkeep import BOUNDARY_MARK
from training import propensity
from training.artifact import Bundle, load_bundle
from training.clv import ClvPrediction
from training.clv_bundle import load_models
from training.clv_horizons import ClvHorizons
from training.clv_inputs import ClvInputs
from training.fast_trees import read_trees
from training.high_value import CUT_OFF
from training.model_inputs import features_read, require_features
from training.reasons import Explanation
from training.segments import TASK as SEGMENTS
from training.segments import SegmentModel
from training.stages import STAGE_FEATURES, life_cycle_stages
from training.tag_model import TAGS_TASK, TagModel, TagScores

Columns = Mapping[str, npt.NDArray[Any]]

NO_CONTRACT: Mapping[str, Any] = {
    "threshold": None,
    "precision_shrunk": None,
    "lift": None,
    "certified": False,
}


class BundleScorer:
    """Scores customers with the published bundles. Safe to share between threads.

    Parameters
    ----------
    store
        Packed memories and profiles.
    settings
        Business time zone and publication lag.
    bundles
        Per task a bundle, such as `training.publication.published` names them.
    versions
        Per task its model version.
    currency
        Of all amounts, for reasons in words; None where nobody knows it.

    Attributes
    ----------
    customer_features
        What is computed of a customer: what models and the life-cycle rule look at.

    Raises
    ------
    BundleError
        If a bundle reads a feature that does not exist any more, or is of another type than it was fitted on.
    """

    def __init__(
        self,
        store: PackedStore,
        settings: Settings,
        bundles: Mapping[str, Bundle],
        versions: Mapping[str, str],
        currency: str | None = None,
    ) -> None:
        for bundle in bundles.values():
            require_features(bundle)
        families = load_catalogue()
        self._store = store
        self._settings = settings
        self._versions = dict(versions)
        self._tags = [
            TagModel(bundle, families[task.removeprefix(TAGS_TASK)], read=read_trees)
            for task, bundle in bundles.items()
            if task.startswith(TAGS_TASK) and task.removeprefix(TAGS_TASK) in families
        ]
        found = bundles.get(propensity.TASK)
        self._propensity = None if found is None else propensity.PropensityModel(found, read=read_trees)
        value = bundles.get("clv")
        self._clv = None if value is None else load_models(value, threads=1, read=read_trees)
        grouped = bundles.get(SEGMENTS)
        self._segments = None if grouped is None else SegmentModel(grouped)
        self._static_tags = StaticTags(
            {} if self._segments is None else self._segments.descriptions,
            None if value is None else value.content.get(CUT_OFF),
        )
        self.customer_features, self._pair_features = _features_read(bundles.values())
        self._words = explainer(currency)
        self._keys: tuple[int, dict[str, KeyProfiles]] | None = None
        self._lock = threading.Lock()

    @property
    def quiet_families(self) -> frozenset[str]:
        """The tag families that also look at customers who have no live memory any more."""
        families = [model.family for model in self._tags]
        return frozenset(one.family for one in families if one.candidate.seen_within.is_long)

    @cached_property
    def contracts(self) -> Sequence[TagContract]:
        """What is proved of every tag that the models know."""
        return [
            TagContract(
                tag_id=model.family.tag_id(row["tag"] if model.family.key else None),
                family=model.family.family,
                key=row["tag"] if model.family.key else None,
                is_certified=row["certified"],
                reason=row["reason"],
                threshold=row["threshold"],
                precision=row["precision_shrunk"],
                lift=row["lift"],
                model_version=self._versions.get(f"{TAGS_TASK}{model.family.family}", ""),
            )
            for model in self._tags
            for row in model.contract
        ]

    def score_many(
        self, customers: Sequence[str], now_us: int, *, with_tags: bool, with_reasons: bool
    ) -> dict[str, CustomerScores]:
        """Score customers as of an instant; see `serving.scores.Scorer`."""
        if not customers:
            return {}
        boundary = self._boundary(now_us)
        views = (CUSTOMER_MEMORY, CUSTOMER_PROFILE)
        found = self._store.get_views(views, customers, now_us=now_us, ttl_us=LIFE_US)
        memories, profiles = (found[view] for view in views)
        live = LiveCustomers(
            customers,
            [memories[name].value if name in memories else None for name in customers],
            [profiles.get(name) for name in customers],
            now_us,
            boundary,
            self._key_profiles(boundary, now_us),
            self._settings.zone,
        )
        columns = customer.CATALOGUE.compute(live.rows, self.customer_features)
        usable = live.is_known & ~live.is_stale
        tags = self._scored_tags(live, columns, with_reasons) if with_tags else {}
        purchase = {} if self._propensity is None else self._propensity.score(columns)
        priors = {} if self._propensity is None else self._propensity.priors
        population = {} if self._propensity is None else self._propensity.population
        stages = life_cycle_stages(columns)
        buyers = np.flatnonzero(usable & (live.rows.total(ORDER_COUNT, LIFETIME) > 0))
        values = self._values(columns, buyers)
        told = self._explained(columns, np.flatnonzero(usable), buyers) if with_reasons else {}
        segments = None if self._segments is None else self._segments.assign(columns).tolist()
        hashes = _row_hashes(columns, len(customers)) if with_tags else [""] * len(customers)
        scores = {}
        for row, name in enumerate(customers):
            known = bool(usable[row])
            segment = segments[row] if known and segments is not None else None
            scores[name] = CustomerScores(
                propensity={
                    horizon: float(found[row])
                    if known
                    else (population if live.is_stale[row] else priors)[horizon]
                    for horizon, found in purchase.items()
                },
                clv=values.get(row),
                life_cycle_stage=stages[row] if known else "new",
                tags=tags.get(row, ()) if known else (),
                status="ok" if known else "stale_profile" if live.is_stale[row] else "cold_start",
                model_versions=self._versions,
                features_hash=hashes[row],
                explanations=told.get(row, {}),
                segment=segment,
                static_tags=self._static_tags.of(stages[row], segment, values.get(row)) if known else (),
            )
        return scores

    def _boundary(self, now_us: int) -> int:
        mark = self._store.mark(BOUNDARY_MARK)
        if mark is not None:
            return mark
        instants = np.array([now_us], np.int64)
        return int(profile_boundary(instants, self._settings.zone, self._settings.publication_lag)[0])

    def _key_profiles(self, boundary: int, now_us: int) -> dict[str, KeyProfiles]:
        with self._lock:
            if self._keys is None or self._keys[0] != boundary:
                packed: dict[str, dict[str, PackedRow]] = {column: {} for column in KEY_COLUMNS}
                prefixes = {profile_key(column, ""): column for column in KEY_COLUMNS}
                names = list(self._store.keys(KEY_PROFILE))
                for key, row in self._store.get_many(
                    KEY_PROFILE, names, now_us=now_us, ttl_us=LIFE_US
                ).items():
                    for prefix, column in prefixes.items():
                        if key.startswith(prefix):
                            packed[column][key.removeprefix(prefix)] = row
                self._keys = boundary, {column: KeyProfiles.unpack(rows) for column, rows in packed.items()}
            return self._keys[1]

    def _explained(
        self, columns: Columns, known: npt.NDArray[np.int64], buyers: npt.NDArray[np.int64]
    ) -> dict[int, dict[str, dict[str, Explanation]]]:
        told: dict[int, dict[str, dict[str, Explanation]]] = {}
        if self._propensity is not None and len(known) > 0:
            for row, horizons in explain_propensity(self._words, self._propensity, columns, known).items():
                told.setdefault(row, {})[propensity.TASK] = horizons
        if self._clv is not None and len(buyers) > 0:
            inputs = _clv_inputs(self._clv, columns, buyers)
            for row, parts in explain_value(self._words, self._clv.models[0], inputs, buyers).items():
                told.setdefault(row, {})["clv"] = parts
        return told

    def _values(self, columns: Columns, buyers: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
        if self._clv is None or len(buyers) == 0:
            return {}
        default, *others = self._clv.predict(_clv_inputs(self._clv, columns, buyers)).items()
        values = {}
        for place, row in enumerate(buyers.tolist()):
            values[int(row)] = _value(*default, place)
            if others:
                values[int(row)]["other_horizons"] = [_value(*one, place) for one in others]
        return values

    def _scored_tags(
        self, live: LiveCustomers, columns: Columns, with_reasons: bool
    ) -> dict[int, list[ScoredTag]]:
        found: dict[int, list[ScoredTag]] = {}
        candidates: dict[tuple[str, str], _Candidates] = {}
        for model in self._tags:
            family = model.family
            if family.key is None:
                chosen = np.flatnonzero(family.candidate.customer_rule.holds(live.rows))
                here = _Candidates({}, chosen, [""] * len(chosen))
            else:
                at = (family.key, repr(family.candidate.rule))
                if at not in candidates:
                    rows, keys = live.pair_rows(family.key, family.candidate.rule)
                    values = affinity.CATALOGUE.compute(rows, self._pair_features)
                    candidates[at] = _Candidates(values, rows.customer_row, keys)
                here = candidates[at]
            here = here.of(seen_within(live.rows, family.candidate.seen_within))
            if len(here.customer_row) == 0:
                continue
            scores = model.score(here.pairs, columns, here.customer_row, here.keys)
            above = model.given(scores)
            told: Mapping[int, Explanation] = {}
            if with_reasons:
                chosen = np.flatnonzero(above)
                told = explain_tags(
                    self._words, model, here.pairs, columns, here.customer_row, here.keys, chosen
                )
            for row, tag in zip(
                here.customer_row.tolist(), _scored(model, here.keys, scores, above, told), strict=True
            ):
                found.setdefault(row, []).append(tag)
        return found


def _value(horizon_days: int, found: ClvPrediction, place: int) -> dict[str, Any]:
    amounts = {name: round(float(values[place])) for name, values in vars(found).items()}
    return {"horizon_days": horizon_days, **amounts}


def _clv_inputs(model: ClvHorizons, columns: Columns, rows: npt.NDArray[np.int64]) -> ClvInputs:
    return ClvInputs.of({name: columns[name][rows] for name in model.inputs}, model.inputs)


def _features_read(bundles: Iterable[Bundle]) -> tuple[Sequence[str], Sequence[str]]:
    read = {name for bundle in bundles for name in features_read(bundle)} | set(STAGE_FEATURES)
    of_customers = [one.name for one in customer.catalogue() if one.name in read]
    return of_customers, [one.name for one in affinity.catalogue() if one.name in read]


@dataclass(frozen=True)
class _Candidates:
    pairs: Columns
    customer_row: npt.NDArray[np.int64]
    keys: Sequence[str]

    def of(self, customers: npt.NDArray[np.bool_]) -> _Candidates:
        """Return those of some customers."""
        kept = customers[self.customer_row]
        if kept.all():
            return self
        pairs = {name: values[kept] for name, values in self.pairs.items()}
        keys = [key for key, is_kept in zip(self.keys, kept.tolist(), strict=True) if is_kept]
        return _Candidates(pairs, self.customer_row[kept], keys)


def _scored(
    model: TagModel,
    keys: Sequence[str],
    scores: TagScores,
    above: npt.NDArray[np.bool_],
    told: Mapping[int, Explanation],
) -> Iterator[ScoredTag]:
    family = model.family
    entries = zip(
        keys,
        scores.probability.tolist(),
        scores.probability_if_observed.tolist(),
        scores.certificate.tolist(),
        above.tolist(),
        strict=True,
    )
    for place, (key, probability, if_observed, row, is_above) in enumerate(entries):
        proved = model.contract[row] if row >= 0 else NO_CONTRACT
        name = None if family.key is None else key
        yield ScoredTag(
            tag_id=family.tag_id(name),
            family=family.family,
            key=name,
            probability=probability,
            probability_if_observed=if_observed,
            threshold=proved["threshold"],
            certified_precision=proved["precision_shrunk"],
            certified_lift=proved["lift"],
            certified=proved["certified"],
            above=is_above,
            explanation=told.get(place),
        )


def _row_hashes(columns: Columns, rows: int) -> list[str]:
    matrix = np.empty((rows, len(columns)))
    for number, values in enumerate(columns.values()):
        matrix[:, number] = values
    return [hashlib.blake2b(matrix[row].tobytes(), digest_size=8).hexdigest() for row in range(rows)]


def load_scorer(
    home: Home, settings: Settings, store: PackedStore, named: Mapping[str, Mapping[str, Any]]
) -> BundleScorer:
    """Load the bundles that the pointer names.

    Parameters
    ----------
    named
        Content of the pointer: per task ``path`` and ``model_version``.

    Raises
    ------
    BundleError
        If one is damaged, of another format, or reads a feature that there is not.
    """
    return BundleScorer(
        store,
        settings,
        {task: load_bundle(home.bundles / one["path"]) for task, one in named.items()},
        {task: str(one["model_version"]) for task, one in named.items()},
        home_currency(home),
    )
