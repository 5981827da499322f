"""The gRPC listener for this computer: hands calls on to TorchServe with the key that it asks for."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from masd.errors import MasdError
from serving.front.traffic import LONGEST_SECONDS, MOST_IN_FLIGHT

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
STOP_SECONDS = 1.0
CALLS = tuple(SERVICE + name for name in ("Predictions", "Ping"))


class _HandOn(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Bytes in, bytes out: what they mean is for TorchServe."""

    def __init__(self, channel: grpc.Channel, key: Callable[[], str]) -> None:
        self._channel, self._key = channel, key

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method not in CALLS:
            return None
        call = self._channel.unary_unary(handler_call_details.method)

        def hand_on(request: bytes, context: grpc.ServicerContext) -> Any:
            left = context.time_remaining()
            seconds = LONGEST_SECONDS if left is None else min(left, LONGEST_SECONDS)
            try:
                return call(request, metadata=[("authorization", f"Bearer {self._key()}")], timeout=seconds)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            except MasdError as error:  # TorchServe has written no key yet
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

        return grpc.unary_unary_rpc_method_handler(hand_on)


@contextmanager
def relaying_grpc(address: str, listen_on: str, key: Callable[[], str], max_bytes: int) -> Iterator[None]:
    """Hand calls to ``listen_on`` on to the TorchServe at ``address`` inside the block.

    :param max_bytes: of a message; TorchServe itself refuses larger ones.
    :raises MasdError: the port cannot be used.
    """
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=sizes) as channel:
        options = [("grpc.max_receive_message_length", max_bytes), ("grpc.so_reuseport", 0)]
        server = grpc.server(ThreadPoolExecutor(MOST_IN_FLIGHT), [_HandOn(channel, key)], options=options)
        try:
            server.add_insecure_port(listen_on)
        except RuntimeError as error:
            raise MasdError(f"--grpc-port {listen_on} cannot be used: choose another port") from error
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait(STOP_SECONDS)
