"""The static token that callers present: read once from the environment or a mounted file, never from an option."""

import hmac
import os
from pathlib import Path
from typing import Literal

from masd.errors import MasdError

Auth = Literal["none", "static", "token"]

TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "MASD_TOKEN", "MASD_TOKEN_FILE"
SHORTEST_TOKEN = 16


class StaticToken:
    """One secret, which no ``repr`` and no message shows."""

    def __init__(self, secret: str) -> None:
        self._expected = f"Bearer {secret}".encode()

    def matches(self, authorization: bytes) -> bool:
        """Whether this is the right ``Authorization`` header, in a time that does not tell how much of it is right."""
        scheme, _, secret = authorization.partition(b" ")
        return hmac.compare_digest(scheme.capitalize() + b" " + secret.strip(), self._expected)

    @classmethod
    def from_environment(cls) -> "StaticToken":
        """The content of the file that ``MASD_TOKEN_FILE`` names, else ``MASD_TOKEN``.

        :raises MasdError: as :func:`read_secret`.
        """
        return cls(read_secret(TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, "--auth static"))


def read_secret(variable: str, file_variable: str, needed_by: str) -> str:
    """The content of the file that the environment's ``file_variable`` names, else the value of ``variable``.

    :param needed_by: the option that asks for it, for messages.
    :raises MasdError: neither is set, the file cannot be read, or the token is too short or not printable ASCII.
    """
    where = variable
    secret = os.environ.get(variable, "").strip()  # a secret made of a file ends with a newline
    if file := os.environ.get(file_variable):
        where = f"{file_variable} ({file})"
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MasdError(f"{where} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error
    if not secret:
        raise MasdError(f"{needed_by}: put the token into {variable}, or name its file in {file_variable}")
    if len(secret) < SHORTEST_TOKEN or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise MasdError(f"{where}: a token needs at least {SHORTEST_TOKEN} printable ASCII characters without spaces")
    return secret
