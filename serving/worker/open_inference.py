"""The Open Inference Protocol v2: one BYTES input with a clip per element, as base64 in JSON or behind it in binary."""

import json
from typing import Any

BINARY_SIZE = "binary_data_size"
HEAD_BYTES = 65_536
"""Of the JSON before binary tensors, which holds no clip."""

IGNORED = "binary_data_output"
"""A parameter of the binary extension. The answer is JSON in any case, which clients of the extension read as well."""


def split_binary(body: bytes | bytearray) -> tuple[bytes | bytearray, bytes]:
    """The JSON and the binary tensors behind it. The header that gives the length of the JSON is not needed."""
    head = bytes(body[:HEAD_BYTES])
    if BINARY_SIZE.encode() not in head:
        return body, b""
    try:
        _, end = json.JSONDecoder().raw_decode(head.decode("latin-1"))
    except (ValueError, RecursionError):
        return body, b""
    return head[:end], bytes(body[end:])


def elements(tensor: dict[str, Any], binary: bytes) -> list[Any] | None:
    """The elements of a BYTES tensor: texts from its ``data``, flat, or bytes from ``binary``.

    None where the tensor says that there are bytes, and they are not there or are of other lengths.
    """
    parameters = tensor.get("parameters")
    if not isinstance(parameters, dict) or BINARY_SIZE not in parameters:
        data = tensor.get("data")
        return _flat(data) if isinstance(data, list) else []
    found: list[Any] = []
    at = 0
    while at + 4 <= len(binary):
        size = int.from_bytes(binary[at : at + 4], "little")
        found.append(binary[at + 4 : at + 4 + size])
        at += 4 + size
    return found if at == len(binary) == parameters[BINARY_SIZE] else None


def fits(shape: object, count: int) -> bool:
    """Whether ``shape`` is that of ``count`` elements: ``[n]``, or with ones as in ``[n, 1]`` and ``[1, n]``."""
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        return False
    return [size for size in shape if size != 1] == [size for size in [count] if size != 1] and bool(shape)


def _flat(data: list[Any], depth: int = 4) -> list[Any]:
    if depth == 0:
        return data
    return [one for item in data for one in (_flat(item, depth - 1) if isinstance(item, list) else [item])]
