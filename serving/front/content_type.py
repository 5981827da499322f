"""The one header that the listeners before TorchServe rewrite: what kind of body a request has.

TorchServe reads forms itself, before any handler sees them. Of a clip with curl's default type it makes 500
``ErrorDataDecoderException``, the same of parts in base64, and of several files with one name it hands on the last. No
setting changes that. A body whose type is :data:`PLAIN` reaches the handler as it is: the handler looks at its bytes.
"""

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data"
PLAIN = b"application/octet-stream"

LOOKED_AT = 8 << 20
"""Bytes of a form that is looked into; larger ones are TorchServe's to read."""

_ENCODED = (b"transfer-encoding: base64", b"transfer-encoding: quoted-printable")
_FILE = (b'name="data"', b"name=data")


def is_multipart(content_type: bytes) -> bool:
    """Whether TorchServe would read the body as a form of several parts."""
    return content_type.strip().lower().startswith(MULTIPART)


def known_type(content_type: bytes, form: bytes = b"") -> bytes:
    """:data:`PLAIN` for a body that TorchServe would misread, else the type as it is.

    ``form`` is the body where it :func:`is_multipart`. A form needlessly taken for unusual is read all the same.
    """
    if content_type.strip().lower().startswith(FORM):
        return PLAIN
    if is_multipart(content_type):
        lowered = form.lower()
        if sum(lowered.count(mark) for mark in _FILE) > 1 or any(mark in lowered for mark in _ENCODED):
            return PLAIN
    return content_type
