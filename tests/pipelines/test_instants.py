from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pipelines.errors import CommandError
from pipelines.instants import instant_option

SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_an_offset_is_kept_and_its_absence_means_the_business_zone() -> None:
    expected = datetime(2026, 3, 1, 16, tzinfo=UTC)
    for text in ("2026-03-02", " 2026-03-02T00:00 ", "2026-03-01T16:00Z", "2026-03-01T18:00+02:00"):
        assert instant_option(text, "--since", SHANGHAI) == expected


def test_what_is_no_instant_is_shown_with_its_option() -> None:
    with pytest.raises(CommandError, match="--since is 'yesterday'; expected an ISO 8601") as caught:
        instant_option("yesterday", "--since", SHANGHAI)
    assert "--since 2017-10-31" in caught.value.next_step
