"""Score a clip over TorchServe's gRPC. The messages are those of ``examples/inference.proto``, built here by hand.

Generated stubs would tie the client to the protobuf that generated them.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from masd.errors import MasdError
from serving.client import ScoringError, encoded

PACKAGE = "org.pytorch.serve.grpc.inference"
METHOD = f"/{PACKAGE}.InferenceAPIsService/Predictions"


class GrpcScoringClient:
    """Blocking client of one server's gRPC address; may be shared between threads. Use it in a ``with`` block."""

    def __init__(self, address: str, timeout: float = 30.0, *, token: str | None = None) -> None:
        """``address`` is ``host:port``, as the ready line of ``masd serve`` names it under ``grpc``.

        :param timeout: seconds for one call.
        :param token: a key of TorchServe's token mode.
        :raises MasdError: grpcio is not installed.
        """
        try:
            import grpc
        except ImportError as error:
            raise MasdError("grpcio is not installed: pip install 'masd[serving]'") from error
        self._error = grpc.RpcError
        self._timeout = timeout
        self._metadata = None if token is None else [("authorization", f"Bearer {token}")]
        self._request, response = messages()
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)])
        self._call = self._channel.unary_unary(
            METHOD, request_serializer=self._request.SerializeToString, response_deserializer=response.FromString
        )

    def score(
        self,
        machine: str,
        clip: Path | bytes,
        threshold: float | None = None,
        request_id: str | None = None,
        top_segments: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """The server's answer for one clip, as :meth:`serving.client.ScoringClient.score`.

        :raises ScoringError: the server cannot be reached, or its own words on what was wrong.
        :raises MasdError: the clip cannot be read.
        """
        fields = {"data": encoded(clip)}
        given = {"threshold": threshold, "request_id": request_id, "top_segments": top_segments}
        fields |= {name: str(value).encode() for name, value in given.items() if value is not None}
        request = self._request(model_name=machine, model_version=version or "", input=fields)
        try:
            reply = self._call(request, timeout=self._timeout, metadata=self._metadata)
        except self._error as error:  # the second line of TorchServe's words is the name of a Java class
            details = (getattr(error, "details", lambda: "")() or type(error).__name__).splitlines()[0]
            raise ScoringError(f"gRPC: {details}") from error
        answer: dict[str, Any] = json.loads(reply.prediction)
        if "code" in answer:  # TorchServe drops the status that a handler sets
            raise ScoringError(f"gRPC: {answer['code']}: {answer['detail']}", answer["code"], answer["error"])
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def messages() -> tuple[Any, Any]:
    """The classes ``PredictionsRequest`` and ``PredictionResponse``."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    text, raw, message = (getattr(FieldDescriptorProto, f"TYPE_{name}") for name in ("STRING", "BYTES", "MESSAGE"))
    file = FileDescriptorProto(name="inference.proto", package=PACKAGE, syntax="proto3")
    request = file.message_type.add(name="PredictionsRequest")
    request.field.add(name="model_name", number=1, type=text)
    request.field.add(name="model_version", number=2, type=text)
    request.field.add(
        name="input",
        number=3,
        type=message,
        label=FieldDescriptorProto.LABEL_REPEATED,
        type_name=f".{PACKAGE}.PredictionsRequest.InputEntry",
    )
    entry = request.nested_type.add(name="InputEntry")  # what protoc makes of a map
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=text)
    entry.field.add(name="value", number=2, type=raw)
    response = file.message_type.add(name="PredictionResponse")
    response.field.add(name="prediction", number=1, type=raw)
    pool = DescriptorPool()
    pool.Add(file)
    request_class, response_class = (
        GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in ("PredictionsRequest", "PredictionResponse")
    )
    return request_class, response_class
