"""The exception with a message for the user."""


class MasdError(Exception):
    """Work that cannot continue: the message is one line that says what was wrong, where, and what to do."""


def described(error: Exception, most: int | None = None) -> str:
    """An error of ours or of the system in its own words, which are enough; of any other its type as well."""
    text = one_line(error, most)
    return text if isinstance(error, MasdError | OSError) and text else f"{type(error).__name__}: {text}"


def one_line(text: object, most: int | None = None) -> str:
    """An error or a text without line breaks and control characters, cut after ``most`` characters, to be part of a
    message: no text from outside can look like a line of ours.
    """
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())[:most]
