"""Keeps a server serving: starts it again when it ends, and loads a model anew that has lost a process or is unwell.

A model is loaded over itself: what is left of it answers until the new processes do, and then Triton lets it go. Until
then a request that falls to a dead instance fails, after a second. Sequences of that model begin anew. A load that
fails is tried again for as long as the server runs, less and less often; a server that keeps ending is given up, for
whoever runs it to decide.
"""

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from serving.errors import ServingError
from serving.kserve.endpoint import ControlClient
from serving.rollout.control import Control
from serving.server.backoff import Backoff
from serving.server.events import Level, emit
from serving.server.liveness import Liveness
from serving.server.model_views import CANDIDATE, NOTICE, mark_changed
from serving.server.not_loaded import failure
from serving.server.server import Server
from serving.server.stubs import Death

RESTARTS = 5
"""So many within RESTARTS_WITHIN seconds are the last ones."""
RESTARTS_WITHIN = 300.0
LONGEST_WAIT = 30.0


@dataclass
class _Ailing:
    """A model that has lost processes, or whose processes are unwell."""

    reason: str
    due: float = 0.0
    again: bool = False
    """Whether it is to be loaded, at `due`."""
    replaced: set[int] = field(default_factory=set)
    """The processes that the load under way replaces."""
    load: threading.Thread | None = None


class Supervisor:
    """Looks after `server`, which has started; `look` has to be called some times a second by the thread that did that.

    Args:
        server: What is supervised.
        loads: Whether the server takes orders to load models. Else a dead process is only told.
    """

    def __init__(self, server: Server, *, loads: bool) -> None:
        self.restarts: list[str] = []
        """The reason of each, the first one first."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when `restarts` or `troubles` have changed, in any thread."""
        self._server, self._loads = server, loads
        self._ailing: dict[str, _Ailing] = {}
        self._lock = threading.Lock()
        self._unwell: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._waits = Backoff(first=0.5, longest=LONGEST_WAIT, forget=RESTARTS_WITHIN)
        self._waits_of: dict[str, Backoff] = defaultdict(
            lambda: Backoff(first=1.0, longest=LONGEST_WAIT, forget=RESTARTS_WITHIN)
        )
        self._liveness = Liveness(server.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._liveness.close()

    @property
    def troubles(self) -> dict[str, str]:
        """Model -> why not all of it serves now."""
        with self._lock:
            return {model: ailing.reason for model, ailing in self._ailing.items()}

    def unwell(self, model: str, reason: str) -> None:
        """Have a model loaded anew, though all of its processes live; in any thread."""
        self._unwell.put((model, reason))

    def look(self) -> None:
        """See what has ended since the last call, and do what is due.

        Raises:
            ServingError: The server keeps ending, or cannot be started again.
        """
        try:
            self._liveness.check()
            self._server.check_process()
        except ServingError as error:
            self._start_again(str(error))
            return
        for death in self._server.watch.deaths():
            self._lost(death)
        while not self._unwell.empty():
            self._renew(*self._unwell.get())
        self._load_what_is_due()

    def _start_again(self, reason: str) -> None:
        began = time.monotonic()
        self._server.kill()
        with self._lock:
            self._ailing.clear()
        while True:
            if self._waits.tries >= RESTARTS:
                raise ServingError(f"{reason}; it was started again {RESTARTS} times in {RESTARTS_WITHIN:g} s before")
            wait = self._waits.next()
            self.restarts.append(reason)
            emit("server_died", f"{reason}; it is started again", level="warning", reason=reason, wait_s=wait)
            self.on_change()
            time.sleep(wait)
            try:
                self._server.restart()
                break
            except ServingError as error:
                reason = str(error)
        self._liveness.answered()
        seconds = time.monotonic() - began
        emit(
            "server_restarted", f"the server serves again after {seconds:.1f} s", level="warning", reason=reason,
            seconds=round(seconds, 3), restarts=len(self.restarts),
        )  # fmt: skip
        for state in self._server.not_loaded:
            emit("model_not_loaded", failure(state), level="error", model=state.name, version=state.version,
                 reason=state.reason)  # fmt: skip
        self.on_change()

    def _lost(self, death: Death) -> None:
        model, reason = death.model, str(death)
        of_a_trial = model.endswith((CANDIDATE, NOTICE)) and not (self._server.repository / model).exists()
        mends = self._loads and not of_a_trial  # a rollout looks after its candidate itself
        end = "the model is loaded anew" if mends else "its share of requests fails until the server is started again"
        level: Level = "warning" if mends else "error"
        emit("backend_process_died", f"{reason}: {end}", level=level, model=model, reason=reason)
        if of_a_trial:
            return
        with self._lock:
            ailing = self._ailing.setdefault(model, _Ailing(reason))
            if death.pid not in ailing.replaced:
                self._ask_for_load(model, ailing, reason)
        self.on_change()

    def _renew(self, model: str, reason: str) -> None:
        with self._lock:
            if not self._loads or model in self._ailing:  # it is being looked after
                return
            self._ask_for_load(model, self._ailing.setdefault(model, _Ailing(reason)), reason)
        emit("model_unwell", f"{model}: {reason}: it is loaded anew", level="warning", model=model, reason=reason)
        self.on_change()

    def _ask_for_load(self, model: str, ailing: _Ailing, reason: str) -> None:
        """With the lock held; processes that die together are replaced together."""
        if not ailing.again:
            ailing.due = time.monotonic() + self._waits_of[model].next()
        ailing.reason, ailing.again = reason, True

    def _load_what_is_due(self) -> None:
        if not self._loads:
            return
        with self._lock:
            for model, ailing in self._ailing.items():
                idle = ailing.load is None or not ailing.load.is_alive()
                if idle and ailing.again and time.monotonic() >= ailing.due:
                    ailing.again = False
                    ailing.replaced = {pid for pid, names in self._server.watch.living().items() if names[0] == model}
                    ailing.load = threading.Thread(target=self._load, args=(model, ailing), daemon=True)
                    ailing.load.start()

    def _load(self, model: str, ailing: _Ailing) -> None:
        """Load the model over itself; in a thread, for that takes seconds."""
        began = time.monotonic()
        try:
            mark_changed(self._server.models, self._server.repository.resolve() / model)
            with contextlib.closing(Control(self._server.grpc)) as control:
                control.load(model)
        except (ServingError, OSError) as error:
            self._not_loaded(model, ailing, str(error))
            return
        self._server.watch.retire(ailing.replaced)
        seconds = time.monotonic() - began
        emit(
            "model_reloaded", f"model '{model}' is whole again, after {seconds:.1f} s", level="warning", model=model,
            reason=ailing.reason, seconds=round(seconds, 3),
        )  # fmt: skip
        with self._lock:
            if not ailing.again and self._ailing.get(model) is ailing:
                del self._ailing[model]
        self.on_change()

    def _not_loaded(self, model: str, ailing: _Ailing, reason: str) -> None:
        """What is left of the model goes on; where nothing is, the server is to say so."""
        with self._lock:
            if self._ailing.get(model) is not ailing:  # the server itself has ended
                return
            reason = reason.replace(str(self._server.models), str(self._server.repository.resolve()))
            self._ask_for_load(model, ailing, reason)
            wait = max(0.0, ailing.due - time.monotonic())
        living = [names for names in self._server.watch.living().values() if names[0] == model]
        if not living:
            with contextlib.suppress(ServingError), ControlClient(self._server.http) as client:
                client.unload(model)
        emit(
            "model_reload_failed", f"model '{model}' cannot be loaded anew: {reason}; the next try is in {wait:.0f} s",
            level="error", model=model, reason=reason, wait_s=wait, instances_left=len(living),
        )  # fmt: skip
        self.on_change()
