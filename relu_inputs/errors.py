"""Error of an invalid image or text."""


class InputError(Exception):
    """Invalid image or text, with a stable `code` for programs and a message for users.

    `too_large`: the input exceeds a size limit.
    """

    def __init__(self, code: str, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.too_large = too_large
