"""conch load mix FILE: all models of a scenario at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from conch.command_line import ERR
from conch.contracts.promises import Promise
from loadtest.golden import keeps_state
from loadtest.outcome import write_outcome
from loadtest.planning import golden_of
from loadtest.run import Plan, Protocols
from loadtest.scenario import Part, Scenario, ScenarioError, read_scenario
from loadtest.stopping import exit_code, told_to_stop
from loadtest.tables import show_reasons, show_runs
from loadtest.target import Served, Target, run_with_progress
from loadtest.up_to_date import fingerprint, kept_run, up_to_date
from loadtest.verdict import EXIT_CODES, Verdict, judge, mix_checks, stopped_check


@dataclass(frozen=True, kw_only=True)
class Mix(Served):
    """All models of a scenario file at once, each judged by its promises.

    Everything in the file is checked before anything is sent; docs/load.md has its fields.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The scenario, as tests/load/scenarios/mix.yaml."""

    if_changed: bool = False
    """Keep a run that kept its promises, where scenario, promises, golden answers, what is served and the machine are
    those of then."""

    def run(self, console: Console) -> int:
        scenario = read_scenario(self.file)
        promises = self._promises(scenario)
        self._check_with_server(scenario)
        folder = self._target("http").results().parent / "load-mix" / self.file.stem
        plan = self._plan(scenario, promises)
        own = fingerprint(plan, promises)
        if self.if_changed and (earlier := kept_run(folder, own)):
            ERR.print(up_to_date(self.file.stem, earlier), markup=False, highlight=False)
            self._show(console, earlier, folder)
            return 0
        with told_to_stop() as stop:
            finished = run_with_progress(plan, stop, self.file.stem)
            judged = {
                part.model: judge(promises[part.model], finished.recorder.total(part.model)) for part in scenario.parts
            }
            found = mix_checks(finished.recorder, judged, scenario)
            found += stopped_check(finished.stopped, finished.seconds, scenario.duration_s)
            run = write_outcome(finished, judged, found, folder, own)
        self._show(console, run, folder, _broken(judged))
        return exit_code(stop.signal) if stop.signal else EXIT_CODES[run["verdict"]]

    def _show(self, console: Console, run: dict[str, Any], folder: Path, broken: Sequence[str] = ()) -> None:
        show_runs(console, _by_model(run))
        self.print_if_json(run)
        show_reasons(console, run | {"model": self.file.stem}, list(broken))
        console.print(f"{run['verdict']}: {folder / 'index.html'}", highlight=False, soft_wrap=True)

    def _promises(self, scenario: Scenario) -> dict[str, Promise]:
        known = self.promised()
        return {part.model: known.of(part.model) for part in scenario.parts}

    def _target(self, protocol: Protocols) -> Target:
        return Target(
            protocol=protocol, http=self.http, grpc=self.grpc, metrics=self.metrics, access=self.access,
            artifacts=self.artifacts,
        )  # fmt: skip

    def _check_with_server(self, scenario: Scenario) -> None:
        """Raises CannotRun or ScenarioError for a model that is not served, or not so."""
        for part in scenario.parts:
            for protocol in part.protocols:
                place = f"{self.file}: models: {part.model}"
                served = self._target(protocol).served()
                if part.model not in served:
                    names = ", ".join(sorted(served)) or "none"
                    raise ScenarioError(f"{place}: the server has no such model, it has: {names}")
                self._target(protocol).check_served([part.model], in_sequences=True)
                _check_config(place, part, self._target(protocol).config(part.model))
            if keeps_state(self.artifacts, part.model) and part.stream is None:
                raise ScenarioError(f"{place}: stream is missing, the model keeps a state between requests")
            golden = golden_of(part, self.artifacts)
            if part.stream and part.stream.length > (longest := next(iter(golden.inputs.values())).shape[1]):
                raise ScenarioError(
                    f"{place}: stream: length must be at most {longest}, which is how long the golden answers of "
                    f"{part.stream.answers_of} are, got {part.stream.length}"
                )

    def _plan(self, scenario: Scenario, promises: dict[str, Promise]) -> Plan:
        protocols = scenario.protocols
        protocol: Protocols = "both" if len(protocols) > 1 else "http" if protocols == ["http"] else "grpc"
        return Plan(
            model=", ".join(part.model for part in scenario.parts),
            rate=scenario.rate,
            duration_s=scenario.duration_s,
            protocol=protocol,
            users=max(scenario.users, len(protocols)),
            http=self.http,
            grpc=self.grpc,
            metrics=self.metrics,
            access=self.access,
            artifacts=self.artifacts,
            warmup=scenario.warmup_s,
            check=scenario.check,
            in_time_ms={model: promise.in_time_ms for model, promise in promises.items()},
            seed=scenario.seed,
            scenario=str(self.file),
        )


def _check_config(place: str, part: Part, config: dict[str, Any]) -> None:
    most = int(config.get("max_batch_size", 0))
    if (largest := max(part.batches)) > max(most, 1):
        raise ScenarioError(f"{place}: batch must be at most {max(most, 1)} as the model is served, got {largest}")
    if ("sequence_batching" in config) != (part.stream is not None):
        says = "needs a stream, for the model keeps" if part.stream is None else "has a stream, but the model keeps no"
        raise ScenarioError(f"{place}: {says} {'a ' if part.stream is None else ''}state (sequence_batching)")


def _by_model(run: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the table for each model, with its own verdict."""
    rows: dict[str, dict[str, Any]] = {}
    for part in run["parts"]:
        verdicts = {entry["verdict"] for entry in run["promises"] if entry["model"] == part["model"]}
        worst = next((verdict for verdict in ("BROKEN", "INVALID") if verdict in verdicts), "KEPT")
        row = rows.setdefault(part["model"], {"model": part["model"], "verdict": worst, "by_protocol": {}})
        row["by_protocol"][part["protocol"]] = part
    return list(rows.values())


def _broken(judged: dict[str, list[Verdict]]) -> list[str]:
    return [
        f"{model}: {verdict}"
        for model, verdicts in judged.items()
        for verdict in verdicts
        if verdict.verdict == "BROKEN"
    ]
