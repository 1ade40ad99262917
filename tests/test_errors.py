"""The one kind of error that a user's input can cause."""

import pickle

from src.core.errors import InputError, did_you_mean


def test_it_names_the_key_what_it_got_and_what_it_expects() -> None:
    error = InputError("size", "-5", "a whole number of pixels")
    assert str(error) == "size: got -5; expected a whole number of pixels"
    assert error.key == "size"


def test_it_travels_between_processes() -> None:
    error = InputError("size", "-5", "a whole number of pixels")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.key) == (InputError, str(error), "size")


def test_the_nearest_word_or_all_of_them() -> None:
    assert did_you_mean("sise", ["tile", "size"]) == "size, perhaps"
    assert did_you_mean("zzz", ["tile", "size"]) == "one of size, tile"
