"""Looks at a running server every few seconds, from outside: what it serves, what is to be live, and what it answers.

A server says that a model is ready as long as it has the model loaded, whatever became of its processes. So the golden
requests of each live version are sent the way that clients send theirs, one at a time, and the answers compared.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from conch.contracts.answers import WrongAnswer
from conch.contracts.errors import ConchError
from conch.contracts.live import live_version, read_history
from conch.contracts.promises import Promise
from conch.contracts.versions import versions
from serving.errors import ServingError
from serving.kserve.endpoint import model_states
from serving.monitoring.health import REFUSED_SECONDS, Health
from serving.monitoring.metrics import Outcome, SupervisorMetrics
from serving.monitoring.question import Door, NoAnswer, Question
from serving.server.events import Level, emit

LATE_SECONDS = 1.0
"""Of a model that promises nothing: an answer that takes longer is late."""
LONGEST_SECONDS = 5.0
"""What is not answered within these, or within the interval where that is shorter, has failed."""
UNWELL_ROUNDS = 3
"""So many golden requests running, wrong or not answered, and the model is to be loaded anew."""
MOST_LOADS = 3
"""So often without a right answer in between: what is wrong is then not its processes."""
GUARD = "guard"
"""Beside models among what is wrong: no model is to blame for what does not get to it."""
TOLD: dict[Outcome, tuple[str, Level, str]] = {
    "right": ("probe_recovered", "info", "is answered right again"),
    "late": ("probe_late", "warning", "is answered late"),
    "wrong": ("probe_wrong", "error", "is answered wrong"),
    "failed": ("probe_failed", "error", "is not answered"),
}


class Monitor:
    """Looks after the server at `control`; `look` is one round.

    Args:
        repository: Its model repository.
        control: Its own HTTP service, "host:port".
        door: Where clients reach it.
        metrics: What is set.
        promises: What models promise, by name.
        interval: Seconds from the beginning of a round to that of the next one.
        probing: Whether golden requests are sent.
        health: Told after each round.
        on_unwell: Called with a model that is to be loaded anew, and why; None where nobody can do that.
    """

    def __init__(
        self,
        repository: Path,
        control: str,
        door: Door,
        metrics: SupervisorMetrics,
        promises: Mapping[str, Promise],
        interval: float,
        probing: bool,
        health: Health | None = None,
        on_unwell: Callable[[str, str], None] | None = None,
    ) -> None:
        self._repository, self._control, self._door = repository, control, door
        self._metrics, self._promises = metrics, promises
        self._interval, self._probing = interval, probing
        self._questions: dict[str, tuple[int, Question | None]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._health = health or Health()
        self._on_unwell = on_unwell
        self._bad: Counter[str] = Counter()
        self._loads: Counter[str] = Counter()
        self._faults: dict[str, str] = {}
        self._refused_since: dict[str, float] = {}
        self._decisions: dict[str, int] = {}
        self._turn = 0
        self._ending = threading.Event()
        metrics.interval.set(interval)

    def end(self) -> None:
        """Have `watch` return after the request that is under way."""
        self._ending.set()

    def watch(self) -> None:
        """Round after round until `end`, no two at once."""
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self.look()
            except Exception as error:  # what serves must not stop being watched for one odd file
                emit("monitor_stumbled", f"what watches the server stumbled: {error!r}", level="error")
            self._ending.wait(max(0.0, self._interval - (time.monotonic() - began)))

    def look(self) -> None:
        """One round over all models of the repository."""
        began = time.monotonic()
        models = self._published()
        self._faults = {}
        self._metrics.know(models, self._promises)
        served = self._served()
        opened = self._door.is_open(self._patience)
        self._metrics.public_up.set(opened)
        if self._door.front and served is not None and not opened:
            self._faults[GUARD] = "it does not answer at the address that clients are given"
        for model in models:
            if self._ending.is_set():
                return
            self._look_at(model, served)
        for gone in self._questions.keys() - set(models):
            del self._questions[gone]
        self._turn += 1
        self._metrics.round_seconds.set(time.monotonic() - began)
        self._metrics.last_round.set(time.time())
        self._health.seen(len(models), self._faults, self._interval + self._patience * len(models))

    @property
    def _patience(self) -> float:
        return min(LONGEST_SECONDS, self._interval)

    def _published(self) -> list[str]:
        folders = sorted(entry for entry in self._repository.iterdir() if entry.is_dir())
        return [folder.name for folder in folders if versions(folder)]

    def _served(self) -> dict[str, int] | None:
        """Model -> the highest of its versions that is ready; None where the server does not answer."""
        try:
            states = model_states(self._control, timeout=self._patience)
        except ServingError:
            self._metrics.server_up.set(0)
            return None
        self._metrics.server_up.set(1)
        found: dict[str, int] = {}
        for state in states:
            if state.ready and state.version.isdecimal():
                found[state.name] = max(found.get(state.name, 0), int(state.version))
        return found

    def _look_at(self, model: str, served: Mapping[str, int] | None) -> None:
        version = None if served is None else served.get(model)
        self._metrics.ready.labels(model).set(version is not None)
        self._metrics.served.labels(model).set(version or 0)
        with contextlib.suppress(ConchError):  # a history that cannot be read is told by who needs it
            self._metrics.live.labels(model).set(live_version(self._repository / model) or 0)
            self._tell_decisions(model)
        if version is None:
            self._faults[model] = "the server does not answer" if served is None else "it is not ready"
        if not self._probing or (version is None and model not in self._outcomes):
            return  # one that never was ready has been told as not loaded
        question = self._question(model, version)
        if question is not None:
            self._probe(model, question)
            if version is not None and self._on_unwell and GUARD not in self._faults:
                self._ask_for_load(model, self._on_unwell)

    def _ask_for_load(self, model: str, on_unwell: Callable[[str, str], None]) -> None:
        """Where a model that is ready has not been answered right for some rounds; not without end."""
        if self._outcomes.get(model) in ("right", "late"):
            del self._bad[model], self._loads[model]
        if not (reason := self._faults.get(model)):
            return
        self._bad[model] += 1
        if self._bad[model] % UNWELL_ROUNDS or self._loads[model] > MOST_LOADS:
            return
        self._loads[model] += 1
        if self._loads[model] <= MOST_LOADS:
            on_unwell(model, f"{UNWELL_ROUNDS} times running {reason}")
            return
        emit(
            "model_stays_unwell", f"{model}: {reason}, though it was loaded anew {MOST_LOADS} times: "
            f"conch history {model}, conch rollback {model}", level="error", model=model, reason=reason,
        )  # fmt: skip

    def _tell_decisions(self, model: str) -> None:
        """Rollouts are done by other processes: what they write down is told here."""
        history = read_history(self._repository / model)
        for decision in history[self._decisions.get(model, len(history)) :]:
            self._metrics.rollouts.labels(model, decision.how).inc()
            tried = "" if decision.tried is None else f", {decision.tried} was tried"
            emit(
                "version_live", f"{model}: version {decision.version} is live ({decision.how}{tried})", model=model,
                version=decision.version, before=decision.before, how=decision.how, why=decision.why,
            )  # fmt: skip
        self._decisions[model] = len(history)

    def _question(self, model: str, version: int | None) -> Question | None:
        """What to ask of the version that clients get; the one before where none is served. None: nothing is known."""
        known = self._questions.get(model)
        if known and version in (None, known[0]):
            return known[1]
        if version is None:
            return None
        question = None
        try:
            question = Question.of(self._repository / model / str(version))
        except ConchError as error:
            emit(
                "probe_impossible", f"{model}: version {version} is not probed: {error}", level="warning", model=model,
                version=version, reason=str(error),
            )  # fmt: skip
        self._questions[model] = (version, question)
        return question

    def _probe(self, model: str, question: Question) -> None:
        began = time.perf_counter()
        reason = ""
        outcome: Outcome | None = None
        refused = False
        try:
            answered = question.ask(self._door, self._turn, self._patience)
            if answered != question.version:
                self._questions.pop(model)  # a version has gone live meanwhile: it is asked in the next round
                return
        except NoAnswer as error:
            outcome, reason, refused = "failed", str(error), error.no_room
        except WrongAnswer as error:
            outcome, reason = "wrong", str(error)
        seconds = time.perf_counter() - began
        if outcome is None:
            outcome = "right" if seconds <= self._late_after(model) else "late"
            reason = f"after {seconds * 1e3:.0f} ms"
        self._metrics.probed(model, outcome, seconds)
        if outcome != self._outcomes.get(model, "right"):
            event, level, words = TOLD[outcome]
            emit(
                event, f"{model}: a golden request {words}: {reason}", level=level, model=model,
                version=question.version, reason=reason, seconds=round(seconds, 4),
            )  # fmt: skip
        self._outcomes[model] = outcome
        self._judge(model, outcome, reason, refused)

    def _judge(self, model: str, outcome: Outcome, reason: str, refused: bool) -> None:
        """What the answer says of the model's health."""
        now = time.monotonic()
        since = self._refused_since.setdefault(model, now) if refused else self._refused_since.pop(model, now)
        if outcome in ("wrong", "failed") and not (refused and now - since < REFUSED_SECONDS):
            self._faults[model] = f"a golden request {TOLD[outcome][2]}: {reason}"

    def _late_after(self, model: str) -> float:
        promised = self._promises[model].in_time_ms if model in self._promises else None
        return promised / 1e3 if promised is not None else LATE_SECONDS
