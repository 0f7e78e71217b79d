"""How long the texts of an event may be."""

from __future__ import annotations

ID_BYTES_MAX = 128
TEXT_BYTES_MAX = 256
