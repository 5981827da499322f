"""What a caller sent, in any of the accepted shapes, and the shape the answer goes back in.

* plain: the audio bytes as the body, or a form (or gRPC's map of inputs) with a ``data`` file, or several;
* instances: ``{"instances": [{"b64": "..."}], "parameters": {"threshold": 0.4, "request_id": "..."}}``;
* v2: the Open Inference Protocol, one BYTES input with one base64 string per clip, or its binary extension.

``threshold``, ``request_id`` and ``top_segments`` come as fields of the form or, in JSON, under ``parameters``.
TorchServe drops the query string.
"""

import codecs
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from masd.errors import MasdError
from masd.files import json_text
from serving.worker import open_inference
from serving.worker.encodings import NotBase64Error, base64_bytes
from serving.worker.forms import FormError, form_fields

MAX_REQUEST_ID = 256
"""Longest ``request_id``, in characters: it is echoed and logged, so it is not a place for a payload."""

MAX_CLIPS = 64
"""Clips in one request."""

MAX_TOP_SEGMENTS = 10_000

MAX_JSON_BYTES = 32 << 20
"""Of a JSON body, which is in memory several times over while it is read: 64 clips of ten seconds at 16 kHz fit."""

MAX_JSON_VALUES = 10_000
"""Commas, braces and brackets of a JSON body: a megabyte of ``[],[],[]`` would be a hundred of Python's lists."""

PARAMETERS = ("threshold", "request_id", "top_segments")


class RequestError(MasdError):
    """A request that cannot be answered: HTTP ``status`` and ``kind``, the machine-readable reason."""

    def __init__(self, status: Literal[400, 413, 422], kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


Clips = tuple[bytes | bytearray | RequestError, ...]


@dataclass(frozen=True)
class Request:
    """One parsed request: encoded clips, still to be decoded, and what was asked about them.

    A clip of several that is not base64 stands as its own error: the others are answered.
    """

    clips: Clips
    threshold: float | None = None
    request_id: str | None = None
    shape: Literal["plain", "instances", "v2"] = "plain"
    top_segments: int | None = None

    def render(self, answers: list[dict[str, Any]], model: str, version: str) -> dict[str, Any]:
        """The response body for ``answers``, one per clip, in the shape of the request."""
        if self.request_id is not None:
            answers = [{**answer, "request_id": self.request_id} for answer in answers]
        if self.shape == "instances":
            return {"predictions": answers}
        if self.shape == "v2":
            output = {
                "name": "answers",
                "shape": [len(answers)],
                "datatype": "BYTES",
                "data": [json_text(answer) for answer in answers],
            }
            head = {} if self.request_id is None else {"id": self.request_id}
            return {**head, "model_name": model, "model_version": version, "outputs": [output]}
        return answers[0]


def parse(fields: Mapping[str, Any]) -> Request:
    """Read one item of TorchServe's batch: form fields by name, or the whole body under ``body``.

    TorchServe decodes JSON and text bodies by their content type unless told not to, so a body may come as an object,
    a string or bytes. No audio format starts with ``{``: that, and not the content type, tells JSON from audio.

    :raises RequestError: 400 for missing or unreadable data, 413 for JSON beyond its limits, 422 for parameters that
        are wrong.
    """
    source = "body" if "body" in fields else "data"
    if source not in fields:
        raise RequestError(
            400,
            "empty",
            "no audio: send it as the body with Content-Type audio/wav, or as a file named 'data'",
        )
    content = fields[source]
    beside = {name: _text(value, name) for name, value in fields.items() if name != source}
    if source == "body":
        if isinstance(content, dict):
            return _json(content, beside)
        content = _bytes(content)
        if _is_json(bytes(content[:64])):
            text, binary = open_inference.split_binary(content)
            return _json(_loads(text), beside, binary)
        if (form := _form(content)) is not None:
            return form
    return Request((_not_empty(_bytes(content)),), **_parameters(beside))


def _is_json(start: bytes) -> bool:
    """Whether a body with this start is an object: after a byte order mark too, which Windows likes to write."""
    if start.startswith((codecs.BOM_UTF16_LE + b"{\0", codecs.BOM_UTF16_BE + b"\0{")):
        return True
    return start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{"


def _form(body: bytes | bytearray) -> Request | None:
    """A form that TorchServe has handed on as it was; None where the body is none."""
    try:
        fields = form_fields(body, ("data", *PARAMETERS))
    except FormError as error:
        raise RequestError(400, "undecodable", str(error)) from error
    if fields is None:
        return None
    clips = [content for name, content in fields if name == "data"]
    beside = [(name, content) for name, content in fields if name != "data"]
    given = {name: _text(content, name) for name, content in beside}
    if not clips:
        raise RequestError(400, "empty", "the form has no file named 'data'")
    if len(given) < len(beside):
        raise _wrong("the form has a parameter twice")
    if len(clips) == 1:
        return Request((_not_empty(clips[0]),), **_parameters(given))
    checked: Clips = tuple(
        clip or RequestError(400, "empty", f"file {number} of the form contains no bytes")
        for number, clip in enumerate(_list(clips, "data"))
    )
    return Request(checked, **_parameters(given), shape="instances")


def _loads(raw: bytes | bytearray) -> dict[str, Any]:
    if len(raw) > MAX_JSON_BYTES:
        limit = MAX_JSON_BYTES >> 20
        raise RequestError(413, "too_large", f"JSON of more than {limit} MiB: send the audio itself as the body")
    if sum(raw.count(mark) for mark in (b",", b"{", b"[")) > MAX_JSON_VALUES:
        raise RequestError(
            413, "too_large", f"JSON of more than {MAX_JSON_VALUES} values: send the audio itself as the body"
        )
    try:
        body: dict[str, Any] = json.loads(raw)  # an object, as it starts with a brace
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "undecodable", "the body looks like JSON, but is not valid JSON") from error
    return body


def _json(body: dict[str, Any], beside: Mapping[str, str], binary: bytes = b"") -> Request:
    given = body.get("parameters") or {}
    if not isinstance(given, dict):
        raise _wrong("'parameters' must be an object")
    if "instances" in body:
        instances = _list(body["instances"], "instances")
        clips: Clips = tuple(
            _base64(item.get("b64") if isinstance(item, dict) else None, f"instances[{index}].b64")
            for index, item in enumerate(instances)
        )
        return Request(clips, **_parameters({**beside, **given}), shape="instances")
    if "inputs" in body:
        named = {"request_id": body.get("id"), **beside, **given}  # the protocol's own "id" is as good a name
        named.pop(open_inference.IGNORED, None)
        clips = _v2_clips(_list(body["inputs"], "inputs"), binary)
        return Request(clips, **_parameters(named), shape="v2")
    raise _wrong("a JSON body needs 'instances' or, for the Open Inference Protocol v2, 'inputs'")


def _v2_clips(inputs: list[Any], binary: bytes) -> Clips:
    if len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong("'inputs' must contain exactly one input, the clips")
    (tensor,) = inputs
    if tensor.get("datatype") != "BYTES":
        raise _wrong("inputs[0].datatype must be BYTES")
    found = open_inference.elements(tensor, binary)
    if found is None:
        raise RequestError(
            400,
            "undecodable",
            "the length of the binary tensor differs from binary_data_size, or from the lengths of its elements",
        )
    data = _list(found, "inputs[0].data")
    if not open_inference.fits(tensor.get("shape"), len(data)):
        raise _wrong(f"inputs[0].shape must be [{len(data)}], the number of clips in its data")
    return tuple(_clip(item, f"inputs[0].data[{index}]") for index, item in enumerate(data))


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(values) - set(PARAMETERS))
    if unknown:
        raise _wrong(f"unknown parameter '{unknown[0][:60]}': there are {', '.join(PARAMETERS)}")
    return {
        "threshold": _threshold(values.get("threshold")),
        "request_id": _request_id(values.get("request_id")),
        "top_segments": _top_segments(values.get("top_segments")),
    }


def _threshold(value: object) -> float | None:
    if value is None:
        return None
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise _wrong(f"threshold must be a finite number, not {str(value)[:60]!r}")
    return number


def _request_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_REQUEST_ID:
        raise _wrong(f"request_id must be a string of at most {MAX_REQUEST_ID} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can say half of a surrogate pair, and no log can hold it
        raise _wrong(
            f"request_id contains an unpaired surrogate at character {error.start}, which UTF-8 cannot encode"
        ) from error
    return value


def _top_segments(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOP_SEGMENTS:
        raise _wrong(f"top_segments must be a whole number from 0 to {MAX_TOP_SEGMENTS}, not {str(value)[:60]!r}")
    return value


def _base64(value: object, where: str) -> bytes | RequestError:
    if not isinstance(value, str):
        raise _wrong(f"{where} must be a base64 string")
    try:
        audio = base64_bytes(value)
    except NotBase64Error:
        return RequestError(400, "undecodable", f"{where} is not base64")
    return audio or RequestError(400, "empty", f"{where} contains no bytes")


def _clip(value: object, where: str) -> bytes | RequestError:
    """An element of a tensor, which is base64 in JSON and the audio itself in binary."""
    if isinstance(value, bytes):
        return value or RequestError(400, "empty", f"{where} contains no bytes")
    return _base64(value, where)


def _bytes(value: object) -> bytes | bytearray:
    if isinstance(value, bytes | bytearray):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    raise _wrong("the body must be audio bytes or a JSON object")


def _text(value: object, name: str) -> str:
    try:
        return bytes(_bytes(value)).decode()
    except UnicodeDecodeError as error:
        raise _wrong(f"{name[:60]} is not text") from error


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _wrong(f"'{where}' must be a list with at least one element")
    if len(value) > MAX_CLIPS:
        raise _wrong(f"'{where}' has {len(value)} elements: at most {MAX_CLIPS} clips in one request")
    return value


def _not_empty(audio: bytes | bytearray) -> bytes | bytearray:
    if not audio:
        raise RequestError(400, "empty", "the audio contains no bytes")
    return audio


def _wrong(detail: str) -> RequestError:
    return RequestError(422, "invalid_parameters", detail)
