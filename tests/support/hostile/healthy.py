"""Honest requests beside hostile ones, from a process of their own: what they got, and when."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from clients import ClientError, connect_async

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@dataclass
class Told:
    """What the honest callers say of a span of time."""

    seconds: list[float] = field(default_factory=list)
    """From when a request was to be sent to its answer."""
    failures: list[str] = field(default_factory=list)
    wrong: int = 0


class Honest:
    """Calls `affine` over both protocols, in a process that runs within a `with` block; `told` stops it."""

    def __init__(self, urls: list[str], rate: float) -> None:
        self._command = [sys.executable, "-m", __name__, str(rate), *urls]

    def __enter__(self) -> "Honest":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "calling\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def told(self) -> Told:
        """What came until now; nothing is sent any more."""
        out, _ = self._process.communicate("\n", timeout=60)
        return Told(**json.loads(out))


async def _call(urls: list[str], rate: float) -> Told:
    told, ending = Told(), asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    clients = [connect_async(url, timeout=20.0) for url in urls]
    for client in clients:
        await client.infer("affine", {"x": X})
    sys.stdout.write("calling\n")
    sys.stdout.flush()

    async def one(number: int, planned: float) -> None:
        try:
            answer = await clients[number % len(clients)].infer("affine", {"x": X})
            told.wrong += not np.array_equal(answer["doubled"], 2 * X)
        except ClientError as error:
            told.failures.append(str(error))
        told.seconds.append(time.monotonic() - planned)

    began, number, calls = time.monotonic(), 0, set()
    while not ending.done():
        planned = began + number / rate
        await asyncio.sleep(max(0.0, planned - time.monotonic()))
        calls.add(task := asyncio.ensure_future(one(number, planned)))
        task.add_done_callback(calls.discard)
        number += 1
    await asyncio.gather(*calls)
    for client in clients:
        await client.close()
    return told


if __name__ == "__main__":
    found = asyncio.run(_call(sys.argv[2:], float(sys.argv[1])))
    sys.stdout.write(json.dumps(found.__dict__))
