"""A test of a client, once for the blocking one and once for that of asyncio."""

import asyncio
from collections.abc import Callable
from typing import Any

from clients import connect, connect_async

KINDS = ["blocking", "asyncio"]


def called(kind: str, url: Any, *works: Callable[[Any], Any], **options: Any) -> Any:
    """What each of `works` comes to, which are called in turn with one client."""
    if kind == "blocking":
        with connect(url, **options) as client:
            return [work(client) for work in works]

    async def main() -> Any:
        async with connect_async(url, **options) as made:
            return [await result if asyncio.iscoroutine(result := work(made)) else result for work in works]

    return asyncio.run(main())
