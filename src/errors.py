"""The one kind of error that a user's input can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    Its text is one line that names the configuration key, what it got and what it expects.

    Args:
        key: the configuration key at fault, as typed on the command line (``depth.path``).
        got: what was found there, in words.
        expected: what would be accepted; a hint may follow.
    """

    def __init__(self, key: str, got: str, expected: str) -> None:
        super().__init__(f"{key}: got {got}; expected {expected}")
        self.key, self.got, self.expected = key, got, expected

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """How it travels between the processes of a sweep."""
        return type(self), (self.key, self.got, self.expected)
