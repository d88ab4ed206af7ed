"""Where an asyncio client is at home: one event loop of one process."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from clients.calls import Outcome
from clients.errors import ClientError
from clients.transports.transport import WINDOW


class Home:
    """The loop and process of the first call. Connections belong to them; elsewhere they would hang or be shared."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raises ClientError anywhere else."""
        loop = asyncio.get_running_loop()
        if os.getpid() != self._process:
            raise ClientError(
                "an asyncio client belongs to the process that made it: connect_async() again after a fork"
            )
        if self._loop is None:
            self._loop = loop
        if loop is not self._loop:
            raise ClientError("an asyncio client belongs to its event loop: connect_async() once in each loop")


async def all_of(coroutines: list[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """All outcomes in order, at most `WINDOW` under way at once; where one raises, the others are cancelled."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    room = asyncio.Semaphore(WINDOW)

    async def one(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
        async with room:
            return await coroutine

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(coroutine)) for coroutine in coroutines]
    return [task.result() for task in tasks]
