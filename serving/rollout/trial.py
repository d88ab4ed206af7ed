"""A candidate before real requests: clients send it a share of theirs, or copies of them, and say what they saw."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from conch.contracts.answers import WrongAnswer
from conch.contracts.golden import read_tolerances
from conch.contracts.live import config_file
from conch.contracts.requests import read_requests
from serving.errors import ServingError
from serving.monitoring.question import Door, NoAnswer, Question
from serving.rollout.control import Control
from serving.rollout.judgement import Judgement, judge, looks, needed
from serving.rollout.notice import Desk, Seen, write_notice
from serving.rollout.proof import NotShown
from serving.server.model_views import remove_view
from serving.server.running import Running

POLL_SECONDS = 0.5
GOLDEN_SECONDS = 5.0
FORGOTTEN_SECONDS = 3.0
"""Within which clients leave a candidate alone whose notice is gone: they ask for it every two seconds."""
QUIET_SECONDS, DRAIN_SECONDS = 5.0, 30.0
"""Sequences of a candidate are waited for until it has had no request for so long, and no longer than that."""

Kind = Literal["canary", "shadow"]


@dataclass(frozen=True)
class Asked:
    """What a person asked for."""

    kind: Kind
    share: float
    """Of the requests, from 0 to 1."""
    seconds: float
    """Within which enough has to be seen."""
    may_differ: float = 0.0
    """The share of the copies whose answer may be another than that of the live version."""

    @property
    def requests(self) -> int:
        """So many of the candidate are needed."""
        return needed((1 - self.share) / self.share if self.kind == "canary" else 1 / self.share)


class TakenBack(NotShown):
    """Clients saw that the candidate is worse, or too little to tell; `figures` say what."""

    def __init__(self, reason: str, figures: dict[str, Any]) -> None:
        super().__init__(f"{figures['kind']}: {reason}; {in_words(figures)}")
        self.figures = figures | {"reason": reason}


class Trial:
    """Of `version` of the model in the folder `model`, which `server` has as `candidate`."""

    def __init__(self, server: Running, control: Control, model: Path, version: int, candidate: str) -> None:
        self._server, self._control = server, control
        self._model, self._version, self._candidate = model, version, candidate
        requests = read_requests(config_file(model, version))
        self._stateful = requests is not None and requests.in_sequences

    def run(self, asked: Asked, say: Callable[[str], None]) -> dict[str, Any]:
        """The figures, for the history, of a candidate that was shown to be no worse.

        Raises:
            TakenBack: It was not.
            ServingError: The server does not do its part.
        """
        models = Path(self._server.models)
        tolerances = read_tolerances(self._model / str(self._version))
        name = write_notice(models, self._model.name, self._candidate, {asked.kind: asked.share}, tolerances)
        try:
            self._control.load(name)
            return self._watch(asked, name, say)
        finally:
            with contextlib.suppress(ServingError):  # what is to be told is why it failed
                self._control.unload(name)
            remove_view(models / name)
            self._wait_for_clients(say)

    def _watch(self, asked: Asked, name: str, say: Callable[[str], None]) -> dict[str, Any]:
        seen, due, began, judgement = Seen(), list(looks(asked.requests)), time.monotonic(), Judgement(1.0, 1.0, 1.0)
        desk = Desk(self._server.grpc, name)
        question = Question.of(self._model / str(self._version))
        question = Question(replace(question.golden, model=self._candidate))
        door, asked_golden = Door(f"http://{self._server.http}"), 0

        def figures() -> dict[str, Any]:
            return _figures(asked, seen, judgement, time.monotonic() - began, asked_golden)

        try:
            while due:
                try:
                    question.ask(door, asked_golden, GOLDEN_SECONDS)
                except (NoAnswer, WrongAnswer) as error:
                    raise TakenBack(f"golden item {asked_golden % len(question.golden)}: {error}", figures()) from error
                asked_golden += 1
                seen.add(desk.take())
                if seen.candidate.requests >= due[0]:
                    due = [look for look in due if look > seen.candidate.requests]
                    judgement = judge(seen.live, seen.candidate, seen.differing, asked.may_differ)
                    if judgement.worse:
                        raise TakenBack(judgement.worse, figures())
                elif time.monotonic() - began > asked.seconds:
                    raise TakenBack(_too_few(asked, seen), figures())
                say(f"{asked.kind}, {seen.candidate.requests} of {asked.requests} requests of {self._candidate}")
                time.sleep(POLL_SECONDS)
            return figures()
        finally:
            desk.close()
            door.close()

    def _wait_for_clients(self, say: Callable[[str], None]) -> None:
        """Until they know that the notice is gone; and, of a model with states, until sequences have ended."""
        time.sleep(FORGOTTEN_SECONDS)
        if not self._stateful:
            return
        say("waiting for the candidate's sequences")
        end, quiet, before = time.monotonic() + DRAIN_SECONDS, time.monotonic(), -1
        while time.monotonic() < min(end, quiet + QUIET_SECONDS):
            if (now := self._control.requests(self._candidate)) != before:
                before, quiet = now, time.monotonic()
            time.sleep(POLL_SECONDS)


def _too_few(asked: Asked, seen: Seen) -> str:
    said = f"{seen.candidate.requests} of {asked.requests} requests that are needed were seen in {asked.seconds:g} s"
    if seen.live.requests or seen.candidate.requests:
        return said
    return f"{said}: no client takes part (connect(..., rollouts=True), or CONCH_ROLLOUTS=1)"


def _figures(asked: Asked, seen: Seen, judgement: Judgement, seconds: float, probes: int) -> dict[str, Any]:
    copies = {"differing": seen.differing, "dropped": seen.dropped} if asked.kind == "shadow" else {}
    return {
        "kind": asked.kind,
        "share": asked.share,
        "seconds": round(seconds, 1),
        "live": seen.live.figures(),
        "candidate": seen.candidate.figures(),
        "golden": probes,
        **copies,
        **asdict(judgement),
    }


def in_words(figures: dict[str, Any]) -> str:
    """The figures in a line."""
    candidate, live = (
        f"{side['requests']} requests, {side['failed']} failed"
        + (f", median {side['p50_ms']:.1f} ms" if "p50_ms" in side else "")
        for side in (figures["candidate"], figures["live"])
    )
    copies = f", {figures['differing']} differ, {figures['dropped']} dropped" if "differing" in figures else ""
    return f"{figures['kind']} {figures['share']:.0%}: {candidate}{copies} (live: {live})"


def checked_share(text: str, most: float) -> float:
    """The share that "10%" is. Raises ServingError for what is none, or above `most`."""
    number = text.removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= most:
        raise ServingError(f"a share is a number with %, above 0% and at most {most:.0%}, got {text!r}")
    return share
