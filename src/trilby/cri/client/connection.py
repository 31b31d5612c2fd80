"""gRPC to a daemon, without generated stubs: the type of a request says which RPC is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from trilby.cri.client import address
from trilby.cri.client.errors import error_of
from trilby.cri.proto import runtime_pb2

M = TypeVar("M", bound=Message)

#: Seconds for a call that only looks, or whose work is short. None waits as long as it takes.
QUICK: Final = 30.0
#: Output of a command may be 16 MiB twice, and lists are long.
LARGEST: Final = 64 << 20


def _methods() -> dict[str, str]:
    """The RPC's path by the name of its request's type: no two RPCs share one."""
    return {
        method.input_type.full_name: f"/{service.full_name}/{method.name}"
        for service in runtime_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


class Connection:
    """One channel to the daemon at ``path``. Use with ``async with``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._methods = _methods()
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Connection:
        """Raises NoDaemon."""
        address.check(self.path)
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self.path}",
            options=(
                ("grpc.max_receive_message_length", LARGEST),
                ("grpc.max_send_message_length", LARGEST),
                # Otherwise what failed for another channel of this process fails here at once.
                ("grpc.use_local_subchannel_pool", 1),
                # Go's servers look at the name, which would be the path.
                ("grpc.default_authority", "localhost"),
                # A daemon is started again within a second.
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def call(self, request: Message, answer: type[M], timeout: float | None = QUICK) -> M:
        """The answer to a request. Raises the CriError that its status stands for."""
        path = self._methods[request.DESCRIPTOR.full_name]
        unary = self._open().unary_unary(
            path, request_serializer=_serialize, response_deserializer=answer.FromString
        )
        try:
            found = await unary(request, timeout=timeout)
        except grpc.aio.AioRpcError as failed:
            raise error_of(failed, path.rpartition("/")[2]) from failed
        assert isinstance(found, answer), "the deserializer made it"
        return found

    async def stream(self, request: Message, answer: type[M]) -> AsyncIterator[M]:
        """The answers to a request, until the daemon ends them. Raises as :meth:`call` does."""
        path = self._methods[request.DESCRIPTOR.full_name]
        stream = self._open().unary_stream(
            path, request_serializer=_serialize, response_deserializer=answer.FromString
        )(request)
        try:
            async for found in stream:
                assert isinstance(found, answer), "the deserializer made it"
                yield found
        except grpc.aio.AioRpcError as failed:
            raise error_of(failed, path.rpartition("/")[2]) from failed
        finally:
            stream.cancel()

    def _open(self) -> grpc.aio.Channel:
        assert self._channel is not None, "use it with async with"
        return self._channel


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
