from configs.errors import ConfigError, HomeError, TagtideError, did_you_mean


def test_an_error_keeps_its_message_and_its_next_step():
    error = ConfigError("setting 'threads' is 0", "set it to 1 or more")
    assert (str(error), error.next_step) == ("setting 'threads' is 0", "set it to 1 or more")


def test_every_error_of_this_package_is_one_a_user_can_mend():
    assert issubclass(ConfigError, TagtideError)
    assert issubclass(HomeError, TagtideError)


def test_the_nearest_of_several_choices_is_suggested():
    assert did_you_mean("purchas", ["view", "purchase", "refund"]) == " (did you mean 'purchase'?)"


def test_nothing_is_suggested_when_nothing_is_near():
    assert did_you_mean("purchase", ["view"]) == ""
    assert did_you_mean("purchase", []) == ""
