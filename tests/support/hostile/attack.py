"""One hostile request: what is sent, and how it is sent over a raw socket."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DATA, HEADERS, RST, GOAWAY = 0, 1, 3, 7
END_STREAM = 1
SOURCES = [f"127.0.{n // 200 + 1}.{n % 200 + 1}" for n in range(40)]
"""Linux answers on all of 127.0.0.0/8: to a server these are callers of different addresses."""


@dataclass(frozen=True)
class Attack:
    """What goes over one connection."""

    kind: str
    protocol: str
    """http or grpc: which port it is for."""
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    """Seconds between the pieces."""
    patience: float = 1.0
    """Seconds for which an answer is waited for, before the connection is broken off."""


Maker = Callable[[random.Random], Attack]


async def send(attack: Attack, port: int, source: str) -> bytes:
    """The first of what comes back, as far as it comes within the attack's patience."""
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)), timeout=2.0
        )
    except (OSError, TimeoutError):
        return b""
    answer = bytearray()
    writing = asyncio.ensure_future(_write(writer, attack))
    ended = _ended_frames if attack.protocol == "grpc" else bool
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(attack.patience + attack.pause * len(attack.pieces)):
            while (more := await reader.read(65536)) and len(answer) < 2**17:
                answer += more
                if ended(answer):
                    break
    writing.cancel()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writing
    writer.transport.abort()
    return bytes(answer)


async def _write(writer: asyncio.StreamWriter, attack: Attack) -> None:
    for piece in attack.pieces:
        writer.write(piece)
        await writer.drain()
        if attack.pause:
            await asyncio.sleep(attack.pause)


def frames(answer: bytes | bytearray) -> list[tuple[int, int, bytes]]:
    """The whole frames of HTTP/2 in what came back: kind, flags, payload."""
    found, at = [], 0
    while at + 9 <= len(answer) and (end := at + 9 + int.from_bytes(answer[at : at + 3])) <= len(answer):
        found.append((answer[at + 3], answer[at + 4], bytes(answer[at + 9 : end])))
        at = end
    return found


def _ended_frames(answer: bytearray) -> bool:
    """Whether a stream has ended, or the connection."""
    return any(
        (kind in (DATA, HEADERS) and flags & END_STREAM) or kind in (RST, GOAWAY) for kind, flags, _ in frames(answer)
    )


async def send_all(
    attacks: Sequence[Attack], ports: dict[str, int], *, rate: float, at_once: int = 16
) -> list[tuple[Attack, bytes]]:
    """Send them in turn, `rate` a second and at most `at_once` under way; each with what came back."""
    places = asyncio.Semaphore(at_once)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int, attack: Attack) -> tuple[Attack, bytes]:
        async with places:
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            return attack, await send(attack, ports[attack.protocol], SOURCES[number % len(SOURCES)])

    return list(await asyncio.gather(*(one(number, attack) for number, attack in enumerate(attacks))))
