"""Forms that reach the handler as they were sent, because TorchServe misreads them: ``content_type`` says which."""

from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from urllib.parse import parse_qsl

from serving.worker.encodings import NotBase64Error, base64_bytes

MAX_PARTS = 100
"""Fields of one form: 64 clips and the parameters fit."""

MAX_PART_HEAD = 4_096
"""Bytes of one part's headers."""

Field = tuple[str, bytes | bytearray]


class FormError(ValueError):
    """The body is not the form that it begins as."""


def form_fields(body: bytes | bytearray, names: tuple[str, ...]) -> list[Field] | None:
    """Names and contents in order; None where ``body`` does not begin like a form.

    ``multipart/form-data`` begins with the two dashes of its boundary, an encoded form with one of the ``names``. No
    audio format and no JSON does.

    :raises FormError: it breaks off, has too many parts, or a part in an encoding that is not known.
    """
    if body.startswith(b"--"):
        return list(_parts(body))
    if body.startswith(tuple(f"{name}=".encode() for name in names)):
        try:
            text = bytes(body).decode("latin-1").strip()  # a character for each byte, and back again
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARTS, encoding="latin-1")
        except ValueError as error:
            raise FormError(f"a form of more than {MAX_PARTS} fields") from error
        return [(name, value.encode("latin-1")) for name, value in pairs]
    return None


def _parts(body: bytes | bytearray) -> Iterator[Field]:
    at = body.find(b"\r\n", 0, MAX_PART_HEAD)
    first_line = bytes(body[:at]).rstrip()
    if at < 0:
        raise FormError("the form has no boundary")
    if first_line.endswith(b"--") and not body[at:].strip():
        return  # a form of nothing: its first boundary is its last
    boundary = b"\r\n" + first_line
    for _ in range(MAX_PARTS):
        start = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        end = body.find(boundary, start + 4)
        if start < 0 or end < 0:
            raise FormError("the form is incomplete, or a part has no headers")
        head = BytesHeaderParser().parsebytes(bytes(body[at + 2 : start + 4]))
        yield str(head.get_param("name", "", "content-disposition")), _decoded(head, body[start + 4 : end])
        at = end + len(boundary)
        if body[at : at + 2] == b"--":
            return
    raise FormError(f"a form of more than {MAX_PARTS} parts")


def _decoded(head: Message, content: bytes | bytearray) -> bytes | bytearray:
    encoding = str(head.get("content-transfer-encoding", "binary")).strip().lower()
    if encoding in ("binary", "8bit", "7bit"):
        return content
    if encoding != "base64":
        raise FormError(f"a part in the transfer encoding {encoding[:40]!r}: send it as binary")
    try:
        return base64_bytes(content)
    except NotBase64Error as error:
        raise FormError("a part is declared as base64 but is not base64") from error
