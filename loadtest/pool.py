"""The users of one protocol that wait for something to send, and the arrivals that wait for a user."""

from collections import deque

from gevent.event import AsyncResult

from loadtest.streams import Arrival


class Pool:
    """The user that was busy last is taken first, so that no more of them connect than are needed."""

    def __init__(self) -> None:
        self._idle: list[AsyncResult] = []
        self._waiting: deque[Arrival] = deque()
        self.users = self.most_users = 0
        self.most_used = 0
        self.exhausted = 0

    def join(self) -> None:
        """A user more."""
        self.users += 1
        self.most_users = max(self.most_users, self.users)

    def give(self, arrival: Arrival) -> None:
        """To an idle user, or to the first that becomes idle; that no user was left is counted."""
        if self._idle:
            self.most_used = max(self.most_used, self.users - len(self._idle) + 1)
            self._idle.pop().set(arrival)
        else:
            self.exhausted += arrival.counted
            self._waiting.append(arrival)

    def take(self) -> Arrival:
        """The next arrival of a user; waits for it."""
        if self._waiting:
            return self._waiting.popleft()
        mine = AsyncResult()
        self._idle.append(mine)
        try:
            arrival: Arrival = mine.get()
        except BaseException:  # Locust stops this user
            if mine in self._idle:
                self._idle.remove(mine)
            raise
        return arrival

    @property
    def busy(self) -> int:
        """Users on their way, and arrivals that wait for one."""
        return self.users - len(self._idle) + len(self._waiting)

    def drop(self) -> list[Arrival]:
        """Give up on the arrivals that still wait."""
        dropped = list(self._waiting)
        self._waiting.clear()
        return dropped
