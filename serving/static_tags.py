"""Tags without a contract: life-cycle stage, segment and high value, made once and shared by all answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.schemas import StaticTag
from training.high_value import TAG_ID
from training.stages import MEANINGS


class StaticTags:
    """What a customer is, as tags. Safe to share between threads.

    Parameters
    ----------
    descriptions
        Per segment number the sentence about it.
    high_value_minor
        Expected net spend from which on a customer is of high value; None where no model says so.
    """

    def __init__(self, descriptions: Mapping[int, str], high_value_minor: int | None) -> None:
        self._stages = {stage: StaticTag(f"stage:{stage}", meaning) for stage, meaning in MEANINGS.items()}
        self._segments = {
            number: StaticTag(f"segment:{number}", sentence) for number, sentence in descriptions.items()
        }
        self._high_value = StaticTag(TAG_ID, "among the tenth of customers expected to spend most")
        self._high_value_minor = high_value_minor

    def of(self, stage: str, segment: int | None, value: Mapping[str, Any] | None) -> tuple[StaticTag, ...]:
        """Return a customer's static tags.

        Parameters
        ----------
        segment
            None where none is known.
        value
            The answer about lifetime value; None where there is none.
        """
        tags = [self._stages[stage]]
        if segment is not None:
            tags.append(self._segments[segment])
        cut_off = self._high_value_minor
        if value is not None and cut_off is not None and value["expected_minor"] >= cut_off:
            tags.append(self._high_value)
        return tuple(tags)
