"""Access to Feast: register, write snapshots and profiles, join training sets, materialise, read online.

Importing Feast takes seconds, so it is imported inside the functions; the service uses
`features.packed_store` and never comes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from features.errors import FeatureStoreError
from features.events import INSTANT
from features.feast_objects import (
    EVENT_TIMESTAMP,
    ONLINE_VIEWS,
    PACKED,
    SERVICES,
    VIEWS,
    Feature,
    View,
    entities,
    feature_services,
    feature_views,
    repo_config,
    view_named,
)
from features.packed_store import open_packed_store, packed_key

if TYPE_CHECKING:
    from feast import FeatureStore

Progress = Callable[[str], None]
"""Called with a line that says what is being done."""

NOT_REGISTERED = "run `tagtide features` to register the feature views"
WRITE_FIRST = "build the features first: `tagtide features`"
ROW_NUMBER = "row_number"
MICROSECOND = timedelta(microseconds=1)


def apply(
    home: Home,
    settings: Settings,
    customer_features: Sequence[Feature],
    affinity_features: Sequence[Feature],
) -> None:
    """Register entities, feature views and feature services; doing it again changes nothing.

    Parameters
    ----------
    home, settings
        Where the registry lies and which online store it names.
    customer_features, affinity_features
        The catalogues.
    """
    views = feature_views(home, customer_features, affinity_features)
    services = feature_services(views, customer_features, affinity_features)
    home.feature_store.mkdir(parents=True, exist_ok=True)
    with _feast(home, settings) as store, _quietly():
        store.apply([*entities().values(), *views.values(), *services])


def write_snapshot(home: Home, view: str, frame: pl.DataFrame) -> int:
    """Replace a view's Parquet file: snapshots for training, or packed values to be materialised.

    Parameters
    ----------
    home
        Where it is written.
    view
        One of `VIEWS`.
    frame
        The view's join keys, ``event_timestamp`` (any zone, any unit; stored as µs UTC), and the view's
        features or ``packed`` (binary). One row per keys and instant.

    Returns
    -------
    Rows written.

    Raises
    ------
    FeatureStoreError
        If the view is unknown, or a key or instant is missing, null or there twice.
    """
    target = view_named(view)
    keys = [*target.join_keys, EVENT_TIMESTAMP]
    _require_columns(frame.columns, [*keys, PACKED] if target.online else keys, f"snapshot of {view!r}")
    rows = frame.with_columns(_instant(frame, f"snapshot of {view!r}"))
    for name in keys:
        if count := rows[name].null_count():
            raise FeatureStoreError(f"snapshot of {view!r}: column {name!r} is null in {count} rows")
    if count := rows.height - rows.select(pl.struct(keys).n_unique()).item():
        raise FeatureStoreError(
            f"snapshot of {view!r}: {count} rows repeat the {', '.join(keys)} of another row"
        )
    if not target.online:
        rows = rows.with_columns(pl.col(EVENT_TIMESTAMP).dt.epoch("us").alias(target.instant_feature))
    _write_parquet(rows, target.path(home))
    return rows.height


def training_frame(
    home: Home,
    settings: Settings,
    service: str,
    rows: pl.DataFrame,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Join a feature service's features to rows of keys and instants, exactly as of those instants.

    Parameters
    ----------
    home, settings
        Where registry and snapshots lie; ``threads`` bounds DuckDB.
    service
        One of `SERVICES`.
    rows
        The service's join keys and ``event_timestamp`` (µs, UTC), and whatever else is to come along, such
        as labels. A row may be there twice.
    progress
        Told what is being done.

    Returns
    -------
    ``rows``, in their order, with the features of every view of the service appended.

    Raises
    ------
    FeatureStoreError
        If the service is unknown or not registered, a snapshot file or column is missing, or a requested
        row has no snapshot at its very instant.
    """
    if service not in SERVICES:
        raise FeatureStoreError(
            f"unknown feature service {service!r}{did_you_mean(service, SERVICES)}; "
            f"expected one of {', '.join(SERVICES)}"
        )
    views = [VIEWS[name] for name in SERVICES[service]]
    join_keys = list(dict.fromkeys(key for view in views for key in view.join_keys))
    _require_columns(rows.columns, [*join_keys, EVENT_TIMESTAMP], f"rows for {service!r}")
    request = rows.select(*join_keys, _instant(rows, f"rows for {service!r}")).with_row_index(ROW_NUMBER)
    with _feast(home, settings) as store, _duckdb(home, settings.threads):
        names = _service_features(store, service)
        for view in views:
            _require_registered(store, home, view)
            _require_snapshot(home, view, names[view.name])
        if clash := sorted({name for some in names.values() for name in some} & set(rows.columns)):
            raise FeatureStoreError(f"rows for {service!r}: column {clash[0]!r} is the name of a feature")
        if rows.is_empty():
            return _empty_frame(home, rows, views, names)
        if progress is not None:
            progress(f"joining {rows.height:,} rows with {' and '.join(view.name for view in views)}")
        job = store.get_historical_features(
            entity_df=request.with_columns(pl.col(ROW_NUMBER).cast(pl.Int64)).to_pandas(),
            features=store.get_feature_service(service),
        )
        joined = pl.DataFrame(job.to_arrow())
    if joined.height != rows.height:
        raise FeatureStoreError(
            f"feature service {service!r} returned {joined.height} rows, expected {rows.height}"
        )
    joined = joined.sort(ROW_NUMBER)
    for view in views:
        _require_very_instant(view, request, joined[view.instant_feature])
    features = [name for view in views for name in names[view.name] if name != view.instant_feature]
    return rows.hstack(joined.select(features))


def materialise(
    home: Home,
    settings: Settings,
    end: datetime,
    views: Sequence[str] = ONLINE_VIEWS,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Copy the values alive at an instant from Parquet into the online store, and count them there.

    Parameters
    ----------
    home, settings
        Where the files lie and which online store is filled.
    end
        Aware. Of each key the latest value with ``end - life < event_timestamp <= end`` is written, unless
        a newer one is already there.
    views
        Some of `ONLINE_VIEWS`.
    progress
        Told which view is being written.

    Returns
    -------
    Keys per view that are now online with a value at least as new as the file's.

    Raises
    ------
    FeatureStoreError
        If a view is unknown or not registered, its file is missing, or fewer keys are found than expected.
    """
    counts = {}
    targets = [view_named(name, ONLINE_VIEWS) for name in views]
    for view in targets:
        _require_snapshot(home, view, [PACKED])
    with _feast(home, settings) as store, _duckdb(home, settings.threads):
        for view in targets:
            _require_registered(store, home, view)
            if progress is not None:
                progress(f"materialising {view.name}")
            with _quietly():
                store.materialize(end - view.life + MICROSECOND, end, feature_views=[view.name])
            counts[view.name] = verify_online(home, settings, view.name, end)
    return counts


def verify_online(home: Home, settings: Settings, view: str, end: datetime) -> int:
    """Count the keys of a view's file that are online with a value at least as new as the file's.

    Parameters
    ----------
    home, settings, end
        As for `materialise`.
    view
        One of `ONLINE_VIEWS`.

    Raises
    ------
    FeatureStoreError
        If the view is unknown, its file is missing, or fewer keys are found than expected.
    """
    target = view_named(view, ONLINE_VIEWS)
    _require_snapshot(home, target, [PACKED])
    newest = (
        pl.scan_parquet(target.path(home))
        .filter(pl.col(EVENT_TIMESTAMP) > end - target.life, pl.col(EVENT_TIMESTAMP) <= end)
        .group_by(target.join_keys)
        .agg(pl.col(EVENT_TIMESTAMP).max().dt.epoch("us"))
        .collect()
    )
    expected: dict[str, int] = {
        packed_key({name: row[name] for name in target.join_keys}): row[EVENT_TIMESTAMP]
        for row in newest.iter_rows(named=True)
    }
    with contextlib.closing(open_packed_store(home, settings)) as online:
        ages = online.ages(view)
    found = sum(ages.get(key, event_us - 1) >= event_us for key, event_us in expected.items())
    if found < len(expected):
        raise FeatureStoreError(
            f"feature view {view!r}: expected {len(expected)} rows online, found {found}",
            "check the online store and materialise again",
        )
    return found


def online_values(
    home: Home,
    settings: Settings,
    view: str,
    join_keys: Sequence[Mapping[str, str]],
    *,
    now: datetime | None = None,
) -> list[bytes | None]:
    """Read packed values through Feast, for checks; the service reads the packed store itself.

    Parameters
    ----------
    home, settings
        Which online store is read.
    view
        One of `ONLINE_VIEWS`.
    join_keys
        Per row the value of each of the view's join keys.
    now
        The present that lives are measured against; the wall clock where it is not given.

    Returns
    -------
    Per row the value, or None where there is none or it has expired.

    Raises
    ------
    FeatureStoreError
        If the view is unknown or not registered.
    """
    target = view_named(view, ONLINE_VIEWS)
    if not join_keys:
        return []
    with _feast(home, settings, now=now) as store:
        _require_registered(store, home, target)
        answer = store.get_online_features(
            features=[f"{view}:{PACKED}"], entity_rows=[dict(row) for row in join_keys]
        )
        return list(answer.to_dict()[PACKED])


@contextlib.contextmanager
def _feast(home: Home, settings: Settings, *, now: datetime | None = None) -> Iterator[FeatureStore]:
    with warnings.catch_warnings():
        # Feast and Ibis call what their own dependencies have deprecated; nothing of it is ours to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        from feast import FeatureStore

        store = FeatureStore(config=repo_config(home, settings, now=now))
        try:
            yield store
        finally:
            _run_to_its_end(store.close())


def _run_to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine from code that is none; in a notebook, whose own loop is running, beside that loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1) as beside:
        beside.submit(asyncio.run, work).result()


def _quietly() -> contextlib.AbstractContextManager[object]:
    # Feast reports by printing, but standard output belongs to the command's own result.
    return contextlib.redirect_stdout(io.StringIO())


@contextlib.contextmanager
def _duckdb(home: Home, threads: int) -> Iterator[None]:
    # Feast computes on Ibis' default connection, which by itself takes every core and spills into the
    # working directory. Ibis ships no types, hence the import by name.
    import duckdb

    ibis: Any = importlib.import_module("ibis")
    connection = ibis.duckdb.connect(
        threads=threads,
        temp_directory=str(home.feature_store.absolute() / "spill"),
        preserve_insertion_order=False,
    )
    # DuckDB draws its progress on standard output, which belongs to the command's own result. In a notebook
    # without widgets it has none to draw, and refuses the setting.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.raw_sql("SET enable_progress_bar = false")
    before = ibis.options.default_backend
    ibis.set_backend(connection)
    try:
        yield
    finally:
        ibis.options.default_backend = before
        connection.disconnect()


def _service_features(store: FeatureStore, service: str) -> dict[str, list[str]]:
    from feast.errors import FeatureServiceNotFoundException

    try:
        registered = store.get_feature_service(service)
    except FeatureServiceNotFoundException:
        raise FeatureStoreError(f"feature service {service!r} is not registered", NOT_REGISTERED) from None
    return {
        view.name: [field.name for field in view.features] for view in registered.feature_view_projections
    }


def _require_registered(store: FeatureStore, home: Home, view: View) -> None:
    from feast.errors import FeatureViewNotFoundException

    try:
        source = store.get_feature_view(view.name).batch_source
    except FeatureViewNotFoundException:
        raise FeatureStoreError(f"feature view {view.name!r} is not registered", NOT_REGISTERED) from None
    path = str(view.path(home).absolute())
    if source is None or source.to_proto().file_options.uri != path:
        raise FeatureStoreError(
            f"feature view {view.name!r} is registered for another home than {home.root}", NOT_REGISTERED
        )


def _require_columns(given: Sequence[str], needed: Sequence[str], what: str) -> None:
    for name in needed:
        if name not in given:
            raise FeatureStoreError(f"{what}: column {name!r} is missing{did_you_mean(name, given)}")


def _require_snapshot(home: Home, view: View, features: Sequence[str]) -> None:
    path = view.path(home)
    if not path.is_file():
        raise FeatureStoreError(f"feature view {view.name!r} has no rows: {path} is missing", WRITE_FIRST)
    needed = [*view.join_keys, EVENT_TIMESTAMP, *features]
    _require_columns(list(pl.read_parquet_schema(path)), needed, str(path))


def _require_very_instant(view: View, request: pl.DataFrame, found: pl.Series) -> None:
    requested = request[EVENT_TIMESTAMP]
    missing = requested.filter(found.ne_missing(requested.dt.epoch("us")))
    if not missing.is_empty():
        raise FeatureStoreError(
            f"feature view {view.name!r}: {missing.len()} of {requested.len()} rows have no snapshot of "
            f"their instant, such as {missing[0].isoformat()}",
            "write the snapshots of these instants first",
        )


def _instant(frame: pl.DataFrame, what: str) -> pl.Series:
    instants = frame[EVENT_TIMESTAMP]
    if not isinstance(instants.dtype, pl.Datetime) or instants.dtype.time_zone is None:
        raise FeatureStoreError(
            f"{what}: column {EVENT_TIMESTAMP!r} is {instants.dtype}, expected instants with a time zone"
        )
    return instants.cast(INSTANT)


def _empty_frame(
    home: Home, rows: pl.DataFrame, views: Sequence[View], names: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    empty = [
        pl.read_parquet(view.path(home), n_rows=0, columns=list(names[view.name])).drop(view.instant_feature)
        for view in views
    ]
    return pl.concat([rows, *empty], how="horizontal")


def _write_parquet(rows: pl.DataFrame, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
        os.close(descriptor)
        unfinished = Path(name)
        try:
            rows.write_parquet(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise FeatureStoreError(f"cannot write {path}: {error.strerror}") from error
