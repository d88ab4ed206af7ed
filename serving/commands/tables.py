"""What `conch serve` and `conch status` show of a server."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from serving.kserve.endpoint import ModelState
from serving.kserve.placement import placements, shown

NOTHING: Mapping[str, str] = {}
RIGHT = ("right", "late")


def models_table(states: list[ModelState], metrics: str | None, probed: Mapping[str, str] = NOTHING) -> Table:
    """What is served, what it runs on where the server's metrics are known and tell, and how it last answered a probe.

    `probed` is by model, of the version that clients get.
    """
    found = placements(metrics) if metrics else None
    table = Table("model", "version", "state", *(["probe"] if probed else []), *(["runs on"] if found else []))
    probes = _of_newest(states, probed)
    for state in states:
        ready = "[green]ready" if state.ready else f"[red]{escape(state.state.lower())}: {escape(state.reason)}"
        answer = probes.get((state.name, state.version), "-")
        answer = answer if answer in (*RIGHT, "-") else f"[red]{answer}[/]"
        placed = [shown(state, found)] if found else []
        table.add_row(escape(state.name), state.version, ready, *([answer] if probed else []), *placed)
    return table


def _of_newest(states: list[ModelState], probed: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """`probed` by model and version: the highest that is ready, which clients get."""
    newest: dict[str, int] = {}
    for state in states:
        if state.ready and state.version.isdecimal():
            newest[state.name] = max(newest.get(state.name, 0), int(state.version))
    return {(model, str(newest[model])): answer for model, answer in probed.items() if model in newest}


def server_document(
    states: list[ModelState],
    http: str,
    grpc: str | None,
    metrics: str | None,
    supervisor: str | None = None,
    guard: Mapping[str, str] | None = None,
    probed: Mapping[str, str] = NOTHING,
) -> dict[str, Any]:
    """The same for programs: the address of each endpoint, where it is known, and what is served."""
    found, probes = placements(metrics) if metrics else None, _of_newest(states, probed)
    models = [
        asdict(state)
        | {"runs_on": Text.from_markup(shown(state, found)).plain if found else None}
        | {"probe": probes.get((state.name, state.version))}
        for state in states
    ]
    places = {"http": f"http://{http}", "grpc": grpc and f"grpc://{grpc}", "metrics": metrics and _metrics(metrics)}
    known = {"supervisor_metrics": supervisor and _metrics(supervisor), "guard": dict(guard) if guard else None}
    return places | known | {"models": models}


def endpoints_table(
    http: str, grpc: str, metrics: str, supervisor: str = "", guard: Mapping[str, str] | None = None
) -> Table:
    """Where a server is reached, as `clients.connect` and every --url take it; a guard first, which others reach."""
    table = Table.grid(padding=(0, 2))
    own = {"http": f"http://{http}", "grpc": f"grpc://{grpc}", "metrics": _metrics(metrics)}
    for name, title in {"http": "HTTP", "grpc": "gRPC", "metrics": "metrics"}.items():
        table.add_row(title, *([guard[name], f"[dim]this machine, unguarded: {own[name]}"] if guard else [own[name]]))
    if supervisor:
        table.add_row("supervisor", _metrics(supervisor))
    return table


def _metrics(place: str) -> str:
    """Where Prometheus reads."""
    return f"http://{place}/metrics"
