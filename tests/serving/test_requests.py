"""What is taken for a request, and what is refused with which status."""

import base64
import json
from typing import Any

import pytest

from serving.worker.requests import MAX_CLIPS, MAX_JSON_BYTES, MAX_REQUEST_ID, RequestError, parse

AUDIO = b"RIFF anything but a brace"
B64 = base64.b64encode(AUDIO).decode()
V2 = {"inputs": [{"name": "audio", "shape": [1], "datatype": "BYTES", "data": [B64]}]}


def _v2(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**V2["inputs"][0], **changes}]}


@pytest.mark.parametrize("body", [AUDIO, bytearray(AUDIO)])
def test_plain_body(body: bytes) -> None:
    request = parse({"body": body})
    assert (request.clips, request.threshold, request.request_id) == ((AUDIO,), None, None)


def test_multipart_takes_parameters_as_text() -> None:
    request = parse({"data": bytearray(AUDIO), "threshold": b"-1.5e-3", "request_id": "käfer".encode()})
    assert (request.clips, request.threshold, request.request_id) == ((AUDIO,), -0.0015, "käfer")


@pytest.mark.parametrize("encode", [json.dumps, lambda body: json.dumps(body).encode(), lambda body: body])
def test_json_however_torchserve_hands_it_over(encode: Any) -> None:
    body = {"instances": [{"b64": B64}, {"b64": B64}], "parameters": {"threshold": 2, "request_id": "r"}}
    request = parse({"body": encode(body)})
    assert (request.clips, request.threshold, request.request_id) == ((AUDIO, AUDIO), 2.0, "r")


def test_v2_id_is_the_request_id_unless_a_parameter_says_otherwise() -> None:
    assert parse({"body": {**V2, "id": "a"}}).request_id == "a"
    assert parse({"body": {**V2, "id": "a", "parameters": {"request_id": "b"}}}).request_id == "b"
    assert parse({"body": _v2(shape=[2, 1], data=[B64, B64])}).clips == (AUDIO, AUDIO)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"body": b""}, 400, "empty"),
        ({"data": b""}, 400, "empty"),
        ({}, 400, "empty"),
        ({"RIFF": b"as a form"}, 400, "empty"),
        ({"body": b' {"instances": '}, 400, "undecodable"),
        ({"body": b'{"a":' * 9_999}, 400, "undecodable"),
        ({"body": b'{"a":' * 100_000}, 413, "too_large"),
        ({"body": b'{"instances": [' + b"{}," * 10_000 + b"{}]}"}, 413, "too_large"),
        ({"body": b'{"instances": "' + b"A" * MAX_JSON_BYTES}, 413, "too_large"),
        ({"body": b'{"threshold": ' + b"9" * 100_000 + b"}"}, 400, "undecodable"),
        ({"body": {"instances": [{"b64": B64}] * (MAX_CLIPS + 1)}}, 422, "invalid_parameters"),
        ({"body": _v2(data=[B64] * (MAX_CLIPS + 1), shape=[MAX_CLIPS + 1])}, 422, "invalid_parameters"),
        ({"body": [1]}, 422, "invalid_parameters"),
        ({"body": {"clips": []}}, 422, "invalid_parameters"),
        ({"body": {"instances": []}}, 422, "invalid_parameters"),
        ({"body": {"instances": [AUDIO.decode()]}}, 422, "invalid_parameters"),
        ({"body": {"instances": [{"b64": 5}]}}, 422, "invalid_parameters"),
        ({"body": {"instances": [{"b64": B64}], "parameters": [1]}}, 422, "invalid_parameters"),
        ({"body": {"inputs": [*V2["inputs"], *V2["inputs"]]}}, 422, "invalid_parameters"),
        ({"body": _v2(datatype="FP32")}, 422, "invalid_parameters"),
        ({"body": _v2(shape=[2])}, 422, "invalid_parameters"),
        ({"body": _v2(shape="1")}, 422, "invalid_parameters"),
        ({"body": _v2(data=B64)}, 422, "invalid_parameters"),
        ({"body": {**V2, "id": 5}}, 422, "invalid_parameters"),
        ({"data": AUDIO, "threshold": b"high"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "threshold": b"nan"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "threshold": b"\xff"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "treshold": b"1"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "request_id": b"x" * (MAX_REQUEST_ID + 1)}, 422, "invalid_parameters"),
        ({"data": AUDIO, "top_segments": b"-1"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "top_segments": b"1.5"}, 422, "invalid_parameters"),
        ({"data": AUDIO, "top_segments": b"9" * 5_000}, 422, "invalid_parameters"),
        ({"body": {"instances": [{"b64": B64}], "parameters": {"top_segments": True}}}, 422, "invalid_parameters"),
        ({"body": {"instances": [{"b64": B64}], "parameters": {"top_segments": 10**9}}}, 422, "invalid_parameters"),
        (
            {"body": {"instances": [{"b64": B64}], "parameters": {"threshold": True}}},
            422,
            "invalid_parameters",
        ),
        (
            {"body": {"instances": [{"b64": B64}], "parameters": {"threshold": 10**400}}},
            422,
            "invalid_parameters",
        ),
    ],
)
def test_refused(fields: dict[str, Any], status: int, kind: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(fields)
    assert (refusal.value.status, refusal.value.kind) == (status, kind)
    assert len(str(refusal.value)) < 200
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "kind"), [("no base64!", "undecodable"), ("", "empty")])
def test_a_clip_that_is_not_base64_stands_for_itself(text: str, kind: str) -> None:
    for body in ({"instances": [{"b64": B64}, {"b64": text}]}, _v2(data=[B64, text], shape=[2])):
        good, bad = parse({"body": body}).clips
        assert good == AUDIO
        assert isinstance(bad, RequestError)
        assert (bad.status, bad.kind) == (400, kind)


def test_a_long_body_is_not_copied() -> None:
    body = bytearray(AUDIO)
    assert parse({"body": body}).clips[0] is body
    assert parse({"data": body}).clips[0] is body


def test_top_segments() -> None:
    assert parse({"data": AUDIO, "top_segments": b"3"}).top_segments == 3
    assert parse({"body": {**V2, "parameters": {"top_segments": 0}}}).top_segments == 0


def test_answers_go_back_in_the_shape_of_the_request() -> None:
    answer = {"score": 0.5}
    assert parse({"body": AUDIO}).render([answer], "fan", "3") == answer
    assert parse({"data": AUDIO, "request_id": b"r"}).render([answer], "fan", "3") == {
        **answer,
        "request_id": "r",
    }
    two = {"instances": [{"b64": B64}, {"b64": B64}]}
    assert parse({"body": two}).render([answer, answer], "fan", "3") == {"predictions": [answer, answer]}
    v2 = parse({"body": {**V2, "id": "a"}}).render([answer], "fan", "3")
    assert (v2["id"], v2["model_name"], v2["model_version"]) == ("a", "fan", "3")
    (output,) = v2["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1])
    assert json.loads(output["data"][0]) == {**answer, "request_id": "a"}
