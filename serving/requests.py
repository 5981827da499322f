"""What a caller sent, in any of the accepted shapes, and the shape the answer goes back in.

* plain: the audio bytes as the body, or multipart with a ``data`` file and optional ``threshold`` and ``request_id``;
* instances: ``{"instances": [{"b64": "..."}], "parameters": {"threshold": 0.4, "request_id": "..."}}``;
* v2: the Open Inference Protocol, one BYTES input with one base64 string per clip.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from masd.errors import MasdError

MAX_REQUEST_ID = 256
"""Longest ``request_id``, in characters: it is echoed and logged, so it is not a place for a payload."""


class RequestError(MasdError):
    """A request that cannot be answered: HTTP ``status`` and ``kind``, the machine-readable reason."""

    def __init__(self, status: Literal[400, 422], kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


@dataclass(frozen=True)
class Request:
    """One parsed request: encoded clips, still to be decoded, and what was asked about them."""

    clips: tuple[bytes, ...]
    threshold: float | None = None
    request_id: str | None = None
    shape: Literal["plain", "instances", "v2"] = "plain"

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
                "data": [json.dumps(answer) for answer in answers],
            }
            head = {} if self.request_id is None else {"id": self.request_id}
            return {**head, "model_name": model, "model_version": version, "outputs": [output]}
        return answers[0]


def parse(fields: Mapping[str, Any]) -> Request:
    """Read one item of TorchServe's batch: form fields by name, or the whole body under ``body``.

    TorchServe decodes JSON and text bodies by their content type unless told not to, so a body may come as an object,
    a string or bytes. No audio format starts with ``{``: that, and not the content type, tells JSON from audio.

    :raises RequestError: 400 for missing or unreadable data, 422 for parameters that are wrong.
    """
    if "body" not in fields:
        return _form(fields)
    body = fields["body"]
    if isinstance(body, dict):
        return _json(body)
    raw = _bytes(body)
    if raw.lstrip()[:1] != b"{":
        return Request((_not_empty(raw),))
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "undecodable", "the body starts like JSON but is not JSON") from error
    return _json(parsed)


def _form(fields: Mapping[str, Any]) -> Request:
    if "data" not in fields:
        raise RequestError(
            400,
            "empty",
            "no audio: send it as the body with Content-Type audio/wav, or as a file named 'data'",
        )
    values = {name: _text(value, name) for name, value in fields.items() if name != "data"}
    return Request((_not_empty(_bytes(fields["data"])),), *_parameters(values))


def _json(body: dict[str, Any]) -> Request:
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _wrong("'parameters' must be an object")
    if "instances" in body:
        instances = _list(body["instances"], "instances")
        clips = tuple(
            _base64(item.get("b64") if isinstance(item, dict) else None, f"instances[{index}].b64")
            for index, item in enumerate(instances)
        )
        return Request(clips, *_parameters(parameters), "instances")
    if "inputs" in body:
        named = {"request_id": body.get("id"), **parameters}  # the protocol's own "id" is as good a name
        return Request(_v2_clips(_list(body["inputs"], "inputs")), *_parameters(named), "v2")
    raise _wrong("a JSON body needs 'instances' or, for the Open Inference Protocol v2, 'inputs'")


def _v2_clips(inputs: list[Any]) -> tuple[bytes, ...]:
    if len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong("'inputs' must hold exactly one input, the clips")
    (tensor,) = inputs
    if tensor.get("datatype") != "BYTES":
        raise _wrong("inputs[0].datatype must be BYTES")
    data = _list(tensor.get("data"), "inputs[0].data")
    if tensor.get("shape") not in ([len(data)], [len(data), 1]):
        raise _wrong(f"inputs[0].shape must be [{len(data)}], the number of clips in its data")
    return tuple(_base64(item, f"inputs[0].data[{index}]") for index, item in enumerate(data))


def _parameters(values: Mapping[str, Any]) -> tuple[float | None, str | None]:
    unknown = sorted(set(values) - {"threshold", "request_id"})
    if unknown:
        raise _wrong(f"unknown parameter '{unknown[0][:60]}': there are threshold and request_id")
    return _threshold(values.get("threshold")), _request_id(values.get("request_id"))


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
    return value


def _base64(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(f"{where} must be a base64 string")
    try:
        return _not_empty(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "undecodable", f"{where} is not base64") from error


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    raise _wrong("the body must be audio bytes or a JSON object")


def _text(value: object, name: str) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _wrong(f"{name[:60]} is not text") from error


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _wrong(f"'{where}' must be a list with at least one element")
    return value


def _not_empty(audio: bytes) -> bytes:
    if not audio:
        raise RequestError(400, "empty", "the audio holds no bytes")
    return audio


def _wrong(detail: str) -> RequestError:
    return RequestError(422, "invalid_parameters", detail)
