import logging
import sys

from configs.errors import TagtideError
from serving.log_format import WithoutValues

ID = "c-Zq7x-1401"


def formatted(act):
    try:
        act()
    except Exception:  # noqa: BLE001 - whatever it is, it is formatted
        record = logging.LogRecord("serving.x", logging.ERROR, "x.py", 1, "it failed", None, sys.exc_info())
        return WithoutValues().format(record)
    raise AssertionError("nothing was raised")


def look_up():
    return {}[ID]


def test_a_trace_shows_where_and_what_kind_but_no_value():
    text = formatted(look_up)
    assert "ERROR serving.x: it failed" in text
    assert "in look_up" in text
    assert text.endswith("builtins.KeyError")
    assert ID not in text


def test_what_led_to_it_is_shown_likewise_unless_it_was_meant_not_to_be():
    def led(cause):
        try:
            look_up()
        except KeyError as error:
            raise ValueError(ID) from (error if cause else None)

    told = formatted(lambda: led(cause=True))
    assert told.index("builtins.KeyError") < told.index("which led to:") < told.index("builtins.ValueError")
    assert ID not in told
    alone = formatted(lambda: led(cause=False))
    assert "builtins.KeyError" not in alone


def test_words_of_our_own_errors_and_of_the_operating_system_stay():
    def ours():
        raise TagtideError("the disk is full")

    def systems():
        raise OSError(28, "No space left on device", f"home/{ID}")

    assert formatted(ours).endswith("configs.errors.TagtideError: the disk is full")
    assert formatted(systems).endswith("builtins.OSError: No space left on device")
    assert ID not in formatted(systems)


def test_a_record_without_a_failure_is_a_line():
    record = logging.LogRecord("serving.x", logging.INFO, "x.py", 1, "ready", None, None)
    assert WithoutValues().format(record).endswith("INFO serving.x: ready")
