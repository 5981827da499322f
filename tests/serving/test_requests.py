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
        ({"body": {**V2, "id": "a\ud800"}}, 422, "invalid_parameters"),
        ({"body": json.dumps({**V2, "parameters": {"request_id": "\udc00"}}).encode()}, 422, "invalid_parameters"),
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


@pytest.mark.parametrize(
    "text",
    [
        B64[:8] + "\n" + B64[8:] + "\r\n",
        base64.urlsafe_b64encode(b"\xfb\xff" * 9).decode(),
        base64.b64encode(b"\xfb\xff" * 8).decode().rstrip("="),
        f"data:audio/wav;base64,{B64}",
    ],
)
def test_base64_as_people_send_it(text: str) -> None:
    (clip,) = parse({"body": {"instances": [{"b64": text}]}}).clips
    assert clip in (AUDIO, b"\xfb\xff" * 9, b"\xfb\xff" * 8)


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_json_after_a_byte_order_mark(encode: str) -> None:
    text = json.dumps({"instances": [{"b64": B64}]})
    body = b"\xff\xfe" * (encode == "utf-16-le") + text.encode(encode)
    assert parse({"body": body}).clips == (AUDIO,)


def _binary(clips: list[bytes], **changes: Any) -> bytes:
    tail = b"".join(len(clip).to_bytes(4, "little") + clip for clip in clips)
    tensor = {"name": "a", "shape": [len(clips)], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    return json.dumps({"inputs": [{**tensor, **changes}]}).encode() + tail


def test_binary_v2() -> None:
    big = b"\x7b,[" * 20_000  # not counted as values of the JSON
    request = parse({"body": _binary([AUDIO, big, b""])})
    assert request.clips[:2] == (AUDIO, big)
    assert isinstance(request.clips[2], RequestError)
    for body in (_binary([AUDIO])[:-1], _binary([AUDIO]) + b"x", _binary([AUDIO], parameters={"binary_data_size": 3})):
        with pytest.raises(RequestError) as refusal:
            parse({"body": body})
        assert refusal.value.kind == "undecodable"


def _form(*parts: tuple[str, bytes], end: bytes = b"--\r\n") -> bytes:
    head = '--x\r\nContent-Disposition: form-data; name="{}"; filename="c.wav"\r\n\r\n'
    return b"".join(head.format(name).encode() + content + b"\r\n" for name, content in parts) + b"--x" + end


def test_a_form_as_it_was_sent() -> None:
    request = parse({"body": _form(("threshold", b"2"), ("data", AUDIO))})
    assert (request.clips, request.threshold, request.shape) == ((AUDIO,), 2.0, "plain")
    request = parse({"body": _form(("data", AUDIO), ("data", b""), ("request_id", b"r"))})
    assert (request.clips[0], request.request_id, request.shape) == (AUDIO, "r", "instances")
    assert isinstance(request.clips[1], RequestError)
    request = parse({"body": b"request_id=k%C3%A4fer&data=%52IFF+%FFx"})
    assert (request.clips, request.request_id) == ((b"RIFF \xffx",), "käfer")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"--", 400, "undecodable"),
        (b"--x--\r\n", 400, "empty"),
        (_form(("file", AUDIO)), 400, "empty"),
        (_form(("data", b"")), 400, "empty"),
        (_form(("data", AUDIO), end=b"")[:-20], 400, "undecodable"),
        (_form(*[("data", AUDIO)] * 65), 422, "invalid_parameters"),
        (_form(*[("data", AUDIO)] * 101), 400, "undecodable"),
        (_form(("data", AUDIO), ("threshold", b"1"), ("threshold", b"2")), 422, "invalid_parameters"),
        (_form(("data", AUDIO), ("treshold", b"1")), 422, "invalid_parameters"),
        (b"--x\r\n" + b"a" * 10_000 + b"\r\n\r\n", 400, "undecodable"),
        (b"threshold=1", 400, "empty"),
        (b"data=", 400, "empty"),
        (b"data=" + b"x&data=" * 1_000, 400, "undecodable"),
    ],
)
def test_forms_that_are_refused(body: bytes, status: int, kind: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse({"body": body})
    assert (refusal.value.status, refusal.value.kind) == (status, kind)


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
