"""A program whose forked children call a server, too: `python -m tests.support.forked_calls URL MODEL`.

Writes a line of JSON: for each way of forking what a child said, which is "ok" after right answers, the error that it
got, or "silent" when it said nothing within `LIMIT_S`.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import numpy as np

from clients import Client, connect

TIMEOUT_S, LIMIT_S = 3.0, 20.0


def call(client: Client, model: str) -> None:
    """Numbers of this process, so that another's answers are not its own."""
    for number in range(3):
        x = np.full((1, 4), os.getpid() + number, np.float32)
        np.testing.assert_array_equal(client.infer(model, {"x": x})["doubled"], 2 * x)


def forked(work: Callable[[], object]) -> str:
    """What a child says that does `work`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "ok"
        try:
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    heard, _, _ = select.select([reader], [], [], LIMIT_S)
    if not heard:
        os.kill(child, signal.SIGKILL)
    said = os.read(reader, 10_000).decode() if heard else "silent"
    _, status = os.waitpid(child, 0)
    os.close(reader)
    return said or f"died: {os.waitstatus_to_exitcode(status)}"


def main(url: str, model: str) -> None:
    """Fork in every way, from a parent that has called the server."""

    def own(address: str = url) -> None:
        with connect(address, timeout=TIMEOUT_S) as made:
            call(made, model)

    def of_a_thread() -> str:
        with connect(url, timeout=TIMEOUT_S) as made:
            call(made, model)
            return forked(partial(call, made, model))

    def busily() -> str:
        """Forked again and again while other threads call; the worst that a child said."""
        ended = Event()

        def go_on() -> None:
            with connect(url, timeout=TIMEOUT_S) as made:
                while not ended.is_set():
                    call(made, model)

        with ThreadPoolExecutor(3) as pool:
            threads = [pool.submit(go_on) for _ in range(3)]
            said = [forked(work) for _ in range(20) for work in (own, reused)]
            ended.set()
            for thread in threads:
                thread.result()
        return next((words for words in said if words != "ok"), "ok")

    def in_thread(work: Callable[[], Any]) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    def after_closing() -> None:
        client.close()
        own()

    client = connect(url, timeout=TIMEOUT_S)
    call(client, model)
    reused = partial(call, client, model)
    nobody = url.partition("://")[0] + "://127.0.0.1:1"
    said = {
        "a client of its own": forked(own),
        "the parent's client": forked(reused),
        "the parent's, closed, then its own": forked(after_closing),
        "a child's child": forked(lambda: sys.exit(forked(own))),
        "a child's child with the first one's client": forked(lambda: (reused(), sys.exit(forked(reused)))),
        "forked by another thread": in_thread(lambda: forked(reused)),
        "forked by the thread of the client": in_thread(of_a_thread),
        "threads in the child": forked(lambda: in_thread(own)),
        "while other threads call": busily(),
        "nobody listens": forked(lambda: own(nobody)),
    }
    call(client, model)  # the parent's is as it was
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
