"""The one kind of error that a user's input can cause."""

import difflib
import re
from collections.abc import Iterable


def printable(text: str) -> str:
    """A text without what is no character (lone surrogates), or moves a terminal's cursor."""
    text = text.encode(errors="replace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text)


class InputError(ValueError):
    """Something the user gave cannot be used.

    Its text is one line that names the configuration key as typed on the command line
    (`depth.path`), what it got and what it expects, in words; a hint may follow.
    """

    def __init__(self, key: str, got: str, expected: str) -> None:
        super().__init__(printable(f"{key}: got {got}; expected {expected}"))
        self.key, self.got, self.expected = key, got, expected

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """How it travels between the processes of a sweep."""
        return type(self), (self.key, self.got, self.expected)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word nearest to one that is not, or all of them, as a phrase."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"{near[0]}, perhaps" if near else f"one of {', '.join(known)}"
