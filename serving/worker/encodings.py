"""Base64 as people send it: with line ends, in the alphabet for URLs, without padding, or as a ``data:`` URL."""

import base64
import binascii
import re

_DATA_URL = re.compile(rb"data:[^,]{0,200};base64,", re.IGNORECASE)
_FROM_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")


class NotBase64Error(ValueError):
    """It has other characters, or stops within a byte."""


def base64_bytes(text: bytes | bytearray | str) -> bytes:
    """:raises NotBase64Error: it is none."""
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:  # seldom, so only then is it copied
            if prefix := _DATA_URL.match(encoded):
                encoded = encoded[prefix.end() :]
            encoded = b"".join(encoded.split()).rstrip(b"=").translate(_FROM_URL_ALPHABET)
            return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except ValueError as error:
        raise NotBase64Error(str(error)) from error
