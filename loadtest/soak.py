"""conch load soak: does the server's memory grow while it works?"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from rich.console import Console

from conch.contracts.promises import Promise
from loadtest.errors import CannotRun
from loadtest.memory import Slope, slope_of
from loadtest.numbers import above_zero, from_zero
from loadtest.outcome import machine
from loadtest.search_commands import result_folder, write_result
from loadtest.server_probe import Probe
from loadtest.stopping import exit_code, told_to_stop
from loadtest.target import LONGEST_S, Target, run_with_progress, timespan
from loadtest.verdict import EXIT_CODES, Check, Outcome, Verdict, checks, judge, stopped_check

# A late or a busy generator moves latencies; whether memory grows it does not decide.
NEEDED = ("sent", "complete", "rate", "stopped")


@dataclass(frozen=True, kw_only=True)
class Soak(Target):
    """One rate for long, and what the server's memory does meanwhile: that of its processes on this machine, or of its
    whole machine, as its metrics tell, where it is elsewhere.

    Exit code 1: it grows, or an answer was wrong or missing.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A served model."""

    rate: float = 60.0
    """Requests a second."""

    duration: str = "10m"
    """How long; the shorter, the wider is the slope's interval."""

    most_mib_per_hour: float = 30.0
    """A leak is a slope whose whole interval is above this."""

    def check_numbers(self) -> None:
        super().check_numbers()
        above_zero("--rate", self.rate)
        above_zero("--duration", timespan("--duration", self.duration), LONGEST_S)
        from_zero("--most-mib-per-hour", self.most_mib_per_hour, 1e9)

    def run(self, console: Console) -> int:
        self.check_numbers()
        self.check_served([self.model])
        if not Probe(self.http, self.metrics, {}, self.access).sees_memory():
            raise CannotRun(
                f"no memory to be seen: no tritonserver of this machine listens at {self.http}, and the "
                f"metrics at {self.metrics} tell none (--metrics http://host:port)"
            )
        folder = result_folder(self, "load-soak")
        with told_to_stop() as stop:
            finished = run_with_progress(self.plan(self.model, self.rate, self.duration), stop)
            assert finished.server is not None
            whose, samples = finished.server.memory()
            slope = slope_of(samples)
            answers = judge(Promise(self.rate, error_rate=0.0), finished.recorder.total())
            found = checks(finished.recorder, [], self.rate, finished.seconds, finished.plan.pattern)
            found += stopped_check(finished.stopped, finished.seconds, finished.plan.duration_s)
            outcome = _outcome(slope, self.most_mib_per_hour, answers, found)
            result = {
                "model": self.model, "verdict": outcome, "rate": self.rate, "duration_s": finished.seconds,
                "most_mib_per_hour": self.most_mib_per_hour, "mib_per_hour": asdict(slope) if slope else None,
                "memory_of": whose, "samples": samples, **finished.recorder.total().summary(finished.seconds),
                "machine": machine(),
            }  # fmt: skip
            write_result(folder / f"{self.model}.json", json.dumps(result, indent=1) + "\n")
            self.print_if_json(result)
        says = f"{slope}, at most {self.most_mib_per_hour:g} allowed" if slope else "too few samples of the memory"
        lines = [f"{outcome} {self.model}: {whose}: {says}"]
        lines += [f"BROKEN {self.model}: {verdict}" for verdict in answers if not verdict.kept]
        lines += [f"INVALID {self.model}: {check.says}" for check in _failed(found)]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return exit_code(stop.signal) if stop.signal else EXIT_CODES[outcome]


def _failed(found: list[Check]) -> list[Check]:
    return [check for check in found if check.name in NEEDED and not check.ok]


def _outcome(slope: Slope | None, most: float, answers: list[Verdict], found: list[Check]) -> Outcome:
    if (slope is not None and slope.low > most) or any(verdict.verdict == "BROKEN" for verdict in answers):
        return "BROKEN"
    return "KEPT" if slope is not None and slope.high <= most and not _failed(found) else "INVALID"
