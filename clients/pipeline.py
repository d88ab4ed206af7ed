"""Operations one after another whose requests are under way together: in order, and never more than a few ahead."""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic

from clients.calls import Operation, Pause, Send, T
from clients.errors import ClientError
from clients.transports.transport import Transport, UnderWay

CONCURRENCY = 16
"""So many requests of a `map` are under way at once, unless told."""


def checked_concurrency(concurrency: int) -> int:
    """Raises ClientError for a number of requests that cannot be under way."""
    if isinstance(concurrency, int) and not isinstance(concurrency, bool) and concurrency >= 1:
        return concurrency
    raise ClientError(f"concurrency={concurrency!r}: so many requests are under way at once, allowed are 1, 2, ...")


def bar(description: str, items: object, shown: bool) -> AbstractContextManager[Callable[[], None]]:
    """What tells a bar that one more of `items` is done, and nothing where none is `shown`."""
    if not shown:
        return nullcontext(lambda: None)
    from clients.progress import advancing  # rich, which only a bar needs

    return advancing(description, items)


def finished(transport: Transport, operation: Operation[T], begin: Callable[[], Send | Pause]) -> T:
    """Do what an operation wishes, which is first what `begin` gives, until it has its result."""
    try:
        wish = begin()
        while True:
            try:
                given = _granted(transport, wish)
            except BaseException as error:
                wish = operation.throw(error)
            else:
                wish = operation.send(given)
    except StopIteration as end:
        result: T = end.value
        return result


def _granted(transport: Transport, wish: Send | Pause) -> Any:
    if isinstance(wish, Send):
        return transport.send(wish.sendings)
    time.sleep(wish.seconds)
    return None


class _Ahead(Generic[T]):
    """An operation that has sent its first request, where that is one, while another is waited for."""

    def __init__(self, transport: Transport, operation: Operation[T]) -> None:
        self._transport, self._operation = transport, operation
        self._under_way: UnderWay | None = None
        self._end: Exception | None = None
        try:
            self._wish = next(operation)
        except (StopIteration, ClientError) as end:  # for its place among the others
            self._end = end
            return
        if isinstance(self._wish, Send) and len(self._wish.sendings) == 1:
            self._under_way = transport.begin(self._wish.sendings[0])

    @property
    def ready(self) -> bool:
        """Whether its result is there, or as good as."""
        return self._end is not None or (self._under_way is not None and self._under_way.ready())

    def pause(self, seconds: float) -> None:
        """Give it so much more time, which was not its own."""
        if self._end is None and isinstance(self._wish, Send):
            self._wish.sendings[0].deadline.pause(seconds)

    def result(self) -> T:
        """Wait for it. Raises what the operation raises."""
        return finished(self._transport, self._operation, self._go_on)

    def drop(self) -> None:
        """Break it off."""
        if self._under_way is not None:
            self._under_way.drop()
        self._operation.close()

    def _go_on(self) -> Send | Pause:
        if self._end is not None:
            raise self._end
        if self._under_way is None:
            return self._wish
        try:
            given = [self._under_way.finish()]
        except BaseException as error:
            return self._operation.throw(error)
        return self._operation.send(given)


def pipelined(transport: Transport, operations: Iterable[Operation[T]], concurrency: int) -> Generator[T, None, None]:
    """The results of `operations`, which are begun while those before them are waited for, at most `concurrency`.

    What the consumer of the results and the source of the operations take is no part of a call's time. An error of an
    operation, or of their source, is raised after the results before it. What is under way then is broken off.
    """
    process, source, failure = os.getpid(), iter(operations), None
    under_way: deque[_Ahead[T]] = deque()
    more = True
    try:
        while more or under_way:
            if under_way and (not more or len(under_way) == concurrency or under_way[0].ready):
                result = under_way.popleft().result()
                since = time.monotonic()
                yield result
            else:
                since = time.monotonic()
                try:
                    operation = next(source)
                except StopIteration:
                    more = False
                except Exception as error:
                    more, failure = False, error
                else:
                    _paused(under_way, since)
                    under_way.append(_Ahead(transport, operation))
                    continue
            if os.getpid() != process:
                raise ClientError("a map belongs to the process that began it: begin another after a fork")
            _paused(under_way, since)
    finally:
        for ahead in under_way:
            ahead.drop()
    if failure is not None:
        raise failure


def _paused(under_way: Iterable[_Ahead[T]], since: float) -> None:
    seconds = time.monotonic() - since
    for ahead in under_way:
        ahead.pause(seconds)


async def pipelined_async(
    call: Callable[[Any], Coroutine[Any, Any, T]], items: Iterable[Any] | AsyncIterable[Any], concurrency: int
) -> AsyncGenerator[T, None]:
    """As `pipelined`, of what `call` makes of each item; those come while results do."""
    source, failure = _iterated(items), None
    coming: asyncio.Future[Any] | None = None
    under_way: deque[asyncio.Task[T]] = deque()
    more = True
    try:
        while more or under_way:
            if more and coming is None and len(under_way) < concurrency:
                coming = asyncio.ensure_future(anext(source))
            waited: list[asyncio.Future[Any]] = [*([coming] if coming else []), *list(under_way)[:1]]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if under_way and under_way[0].done():
                yield under_way.popleft().result()
            elif coming is not None and coming.done():
                try:
                    under_way.append(asyncio.ensure_future(call(coming.result())))
                except StopAsyncIteration:
                    more = False
                except Exception as error:
                    more, failure = False, error
                coming = None
    finally:
        left = [*([coming] if coming else []), *under_way]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if failure is not None:
        raise failure


async def _iterated(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
