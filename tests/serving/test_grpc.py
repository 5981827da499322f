"""TorchServe's gRPC with messages of our own: the same answers, and errors that are told apart."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_http import machine_of, post, workers

from masd.errors import MasdError
from serving.client import ScoringError
from serving.client.grpc import METHOD, PACKAGE, GrpcScoringClient, messages
from serving.server import MAX_REQUEST_BYTES, RunningServer

PROTO = Path(__file__).parents[2] / "examples" / "inference.proto"


@pytest.fixture
def client(server: RunningServer) -> Iterator[GrpcScoringClient]:
    with GrpcScoringClient(server.grpc_address) as opened:
        yield opened


def test_the_messages_are_those_of_the_proto() -> None:
    text = PROTO.read_text(encoding="utf-8")
    (package,) = re.findall(r"^package ([\w.]+);", text, re.MULTILINE)
    (service,) = re.findall(r"^service (\w+)", text, re.MULTILINE)
    (method, takes, gives) = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\);", text)[0]
    assert f"/{package}.{service}/{method}" == METHOD
    assert package == PACKAGE
    for cls in messages():
        (body,) = re.findall(rf"^message {cls.DESCRIPTOR.name} \{{(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
        declared = {name: int(number) for name, number in re.findall(r"(\w+) = (\d+);", body)}
        assert {field.name: field.number for field in cls.DESCRIPTOR.fields} == declared
    assert [cls.DESCRIPTOR.name for cls in messages()] == [takes, gives]
    request, _ = messages()
    message = request(model_name="fan", input={"data": b"\0\xff"})
    assert message.SerializeToString() == b"\n\x03fan\x1a\x0a\x0a\x04data\x12\x02\x00\xff"  # the wire format by hand


@pytest.mark.slow
def test_the_answer_is_that_of_http(client: GrpcScoringClient, server: RunningServer, wav: Any, tmp_path: Path) -> None:
    machine, clip = machine_of(server), wav(seconds=8.0)
    (tmp_path / "clip.wav").write_bytes(clip)
    expected = post(server, clip).json
    assert client.score(machine, tmp_path / "clip.wav") == expected
    assert client.score(machine, clip, version=server.models[machine])["score"] == expected["score"]
    answer = client.score(machine, clip, threshold=-1.0, request_id="käfer", top_segments=1)
    assert (answer["threshold"], answer["anomalous"], answer["request_id"]) == (-1.0, True, "käfer")
    assert answer["segments"] == [max(expected["segments"], key=lambda part: part["score"])]


@pytest.mark.slow
def test_errors(client: GrpcScoringClient, server: RunningServer, wav: Any, tmp_path: Path) -> None:
    before, machine = workers(server), machine_of(server)
    with pytest.raises(ScoringError, match=r"^gRPC: 400: the audio: cannot be decoded") as refusal:
        client.score(machine, b"no audio")
    assert (refusal.value.status, refusal.value.error) == (400, "undecodable")
    with pytest.raises(ScoringError, match=r"^gRPC: 422: threshold must be a finite number"):
        client.score(machine, wav(), threshold=float("nan"))
    with pytest.raises(ScoringError, match=r"^gRPC: Model not found: nobody$"):
        client.score("nobody", wav())
    with pytest.raises(ScoringError, match="Model version: 99 does not exist"):
        client.score(machine, wav(), version="99")
    with pytest.raises(ScoringError, match="gRPC: "):
        client.score(machine, bytes(MAX_REQUEST_BYTES + 1))
    with pytest.raises(MasdError, match=r"cannot read .*missing"):
        client.score(machine, tmp_path / "missing.wav")
    with pytest.raises(ScoringError, match="gRPC: "), GrpcScoringClient("127.0.0.1:9", timeout=2.0) as nobody:
        nobody.score(machine, wav())
    assert client.score(machine, wav())["machine_type"] == machine
    assert workers(server) == before
