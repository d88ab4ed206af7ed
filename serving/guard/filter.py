"""The filter's process: both of its sides, at Unix sockets that nginx is told of."""

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from serving.guard import http_check, routes
from serving.guard.grpc_hop import GrpcHop
from serving.guard.limits import Limits
from serving.guard.text_outputs import TextOutputs

SOCKET_MODE = 0o666
"""nginx's workers may be another user's; who may come near the socket is the folder's to say."""
COLLECT_SECONDS = 1.0
MOST_WAITING = 2**20
UPSTREAM_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A server that was started again is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True)
class FilterPlaces:
    """Where the filter listens, and where it finds Triton."""

    http: Path
    """The Unix socket at which nginx asks about requests over HTTP."""
    grpc: Path
    """The Unix socket that takes gRPC."""
    triton: str
    """Triton's gRPC, host:port."""


async def filtering(places: FilterPlaces, limits: Limits, opened: Sequence[str] = ()) -> None:
    """Serve both sides until SIGTERM or SIGINT.

    Args:
        places: Where.
        limits: Their `body`, `json` and `requests` count here; the rest is nginx's.
        opened: Names of `routes.CONTROL`.
    """
    channel = grpc.aio.insecure_channel(places.triton, options=UPSTREAM_OPTIONS)
    texts, shared_memory = TextOutputs(channel), "shared-memory" in opened
    methods = {*routes.HEALTH.grpc, *routes.USE.grpc, *(path for name in opened for path in routes.CONTROL[name].grpc)}
    hop = GrpcHop(limits, texts, channel, frozenset(methods), shared_memory)
    options = [
        ("grpc.max_receive_message_length", limits.body),
        ("grpc.max_send_message_length", -1),
        # How many may come is nginx's to say. gRPC calls off, at random, some of a thousand that wait.
        ("grpc.server.max_pending_requests", MOST_WAITING),
        ("grpc.server.max_pending_requests_hard_limit", MOST_WAITING),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=2 * limits.requests)
    server.add_generic_rpc_handlers((hop,))
    server.add_insecure_port(f"unix:{places.grpc}")
    await server.start()
    checking = await http_check.serving(limits, texts, shared_memory, str(places.http))
    for socket in (places.grpc, places.http):
        socket.chmod(SOCKET_MODE)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    collecting = asyncio.ensure_future(_collect())
    await ending.wait()
    collecting.cancel()
    checking.close()
    await server.stop(grace=5.0)
    await channel.close()


async def _collect() -> None:
    """Free what calls have left: in grpc.aio each leaves a cycle, in which its message may be."""
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()


def run(places: FilterPlaces, limits: Limits, opened: Sequence[str] = ()) -> None:
    """`filtering` in a process of its own."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s filter: %(message)s")
    # Documents of millions of lists have no cycles, and looking for some while they are read would take longer than
    # reading them: it is done in between, and not in what is loaded by now.
    gc.disable()
    gc.freeze()
    asyncio.run(filtering(places, limits, opened))
