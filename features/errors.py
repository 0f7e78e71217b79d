"""Errors of the feature layer.

TagtideError
├── SourceError              a source's mapping, file or column
├── EventLogError            the durable log or the lake
├── WindowError              a window that is not one
├── TagCatalogueError        a tag family's declaration
├── LeaseLostError           what only the holder of a lease may write, written by another
├── IdentityError            links between ids, tombstones, and the key they are made with
├── ConsentError             what customers agreed to, and when they were contacted
└── FeatureStoreError        Feast, its stores, or a feature that is missing
"""

from __future__ import annotations

from configs.errors import TagtideError


class SourceError(TagtideError):
    """A source's mapping is wrong, or its data cannot be read."""


class EventLogError(TagtideError):
    """The durable log or the lake cannot be read or written."""


class WindowError(TagtideError):
    """A window is not one: its length is not positive, or its unit unknown."""


class TagCatalogueError(TagtideError):
    """A tag family is declared wrongly."""


class IdentityError(TagtideError):
    """Ids cannot be linked, unlinked or erased as asked, or their tables cannot be read."""


class ConsentError(TagtideError):
    """What customers agreed to, or when they were contacted, cannot be read or written."""


class LeaseLostError(TagtideError):
    """Another process holds the lease by now: what only its holder may write was not written."""


class FeatureStoreError(TagtideError):
    """Feast or one of its stores refused, or a feature is missing."""
