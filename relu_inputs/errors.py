"""What is wrong with one image or text."""


class InputError(Exception):
    """An image or text that cannot be the input of a network: a stable `code` for programs, a message for people.

    `too_large`: it is over a limit, whatever it holds.
    """

    def __init__(self, code: str, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.too_large = too_large
