"""What ends the trial of a version, on made-up reports of clients; the server does nothing but load and unload."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conch.contracts.answers import WrongAnswer
from serving.rollout import trial as module
from serving.rollout.trial import Asked, TakenBack, Trial
from serving.server.running import Running

CANARY = Asked("canary", 0.5, seconds=60)
HASTY = Asked("canary", 0.5, seconds=0)
SHADOW = Asked("shadow", 0.5, seconds=60)
LIVE, CANDIDATE = 0, 1


@dataclass
class Report:
    """What clients say each time they are asked: rows of the live version and of the candidate."""

    requests: int = 100
    failed: int = 0
    slower: float = 1.0
    differing: int = 0

    def rows(self) -> np.ndarray:
        draw = np.random.default_rng(0)
        live = [(LIVE, 0, draw.lognormal(), 0) for _ in range(self.requests)]
        ours = [
            (CANDIDATE, int(number < self.failed), draw.lognormal() * self.slower, int(number < self.differing))
            for number in range(self.requests)
        ]
        return np.array([*live, *ours], float).reshape(-1, 4)


class Server:
    """Stands in for the control, the notice's desk and the golden questions."""

    def __init__(self, report: Report, wrong: bool = False) -> None:
        self.report, self.wrong = report, wrong
        self.did: list[str] = []
        self.golden: Any = type("Golden", (), {"__len__": lambda _: 4})()

    def load(self, name: str) -> None:
        self.did.append(f"load {name}")

    def unload(self, name: str) -> None:
        self.did.append(f"unload {name}")

    def take(self) -> np.ndarray:
        return self.report.rows()

    def ask(self, *_: object) -> None:
        if self.wrong:
            raise WrongAnswer("y: largest difference 1e+00")

    def close(self) -> None:
        pass


def tried(server: Server, asked: Asked, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "models" / "scale" / "2").mkdir(parents=True)
    (folder / "views").mkdir()
    for name in ("POLL_SECONDS", "FORGOTTEN_SECONDS"):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(module, "Desk", lambda *_: server)
    monkeypatch.setattr(module, "Door", lambda *_: server)
    question: Any = type("Question", (), {"of": staticmethod(lambda _: server), "__new__": lambda *_: server})
    monkeypatch.setattr(module, "Question", question)
    monkeypatch.setattr(module, "replace", lambda golden, **_: golden)
    running = Running(0, 0, "", "", "", str(folder / "models"), models=str(folder / "views"))
    control: Any = server
    try:
        return Trial(running, control, folder / "models" / "scale", 2, "scale-candidate").run(asked, lambda _: None)
    finally:
        assert server.did == ["load scale-rollout", "unload scale-rollout"]
        assert not list((folder / "views").iterdir()), "the notice is gone"


@pytest.mark.parametrize(
    ("report", "wrong", "asked", "reason"),
    [
        (Report(), True, CANARY, "canary: golden item 0: y: largest difference 1e+00; canary 50%: 0 requests"),
        (Report(failed=60), False, CANARY, "canary: more requests fail (p = "),
        (Report(slower=4), False, CANARY, "canary: it is more than 1.2 times as slow (p = "),
        (Report(differing=1), False, SHADOW, "shadow: too many answers differ (p = 0)"),
        (
            Report(requests=1),
            False,
            HASTY,
            "1 of 650 requests that are needed were seen in 0 s",
        ),
        (
            Report(requests=0),
            False,
            HASTY,
            "no client takes part (connect(..., rollouts=True)",
        ),
    ],
)
def test_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, wrong: bool, asked: Asked, reason: str
) -> None:
    with pytest.raises(TakenBack) as told:
        tried(Server(report, wrong), asked, tmp_path, monkeypatch)
    assert reason in str(told.value)
    assert told.value.figures["reason"]


@pytest.mark.parametrize("asked", [CANARY, SHADOW, Asked("shadow", 0.5, seconds=60, may_differ=0.05)])
def test_shown_to_be_no_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    figures = tried(Server(Report(failed=0, differing=2 if asked.may_differ else 0)), asked, tmp_path, monkeypatch)
    assert figures["candidate"]["requests"] >= asked.requests
    assert figures["candidate"]["failed"] == 0
    assert figures["golden"] > 0
    assert ("differing" in figures) == (asked.kind == "shadow")
