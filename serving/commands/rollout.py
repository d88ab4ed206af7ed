"""`conch rollout`: a published version goes live on the running server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tyro
from rich.markup import escape

from conch.command_line import OUT, out, print_json
from serving.commands.run import run
from serving.errors import ServingError
from serving.rollout.rollout import Result, Rollout, rollout_on
from serving.server.interruption import interruptible
from serving.server.running import Running, running, server_file


def rollout(model: tyro.conf.Positional[str], version: int | None = None, why: str = "", json: bool = False) -> int:
    """Make a published version live on the running server, without a gap.

    It is loaded beside the live one under a name of its own and has to show there what was proven of it: its golden
    answers, its promise under a short load, its score where it has one. Then clients that name no version get it. The
    version before stays loaded for those that name it, and for sequences that began with it.

    For example: conch rollout cnn --why "trained on the new data"

    Args:
        model: A published model.
        version: The version. Default: the newest.
        why: What the history keeps as the reason.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    return change(model, json, lambda rollout: rollout.roll_out(version, why))


def change(model: str, json: bool, what: Callable[[Rollout], Result]) -> int:
    """Do it on the running server, and say what came of it."""
    server = _server()
    screen = out(json)
    with (
        interruptible(),
        screen.status(escape(model)) as status,
        rollout_on(server, model, lambda step: status.update(escape(f"{model}: {step}"))) as began,
    ):
        result = what(began)
    if json:
        print_json({"model": model, **asdict(result)})
    elif not result.changed:
        OUT.print(f"{escape(model)}: version {result.version} is live already", highlight=False)
    else:
        before = f" instead of {result.before}" if result.before else ""
        proof = f" ({said})" if (said := shown(result.proof)) else ""
        OUT.print(
            f"[green]{escape(model)}[/]: version {result.version} is live{before}{escape(proof)}", highlight=False
        )
        for unshown, reason in result.proof.get("not_shown", {}).items():
            OUT.print(f"  [yellow]{unshown} not shown[/]: {escape(reason)}", highlight=False)
    return 0


def _server() -> Running:
    file = server_file()
    found = running(file)
    if found is None:
        raise ServingError(f"no server started by `conch serve` is running (by {file})")
    return found


def shown(proof: Mapping[str, Any]) -> str:
    """What was shown, in a few words."""
    load, parts = proof.get("load"), []
    if load:
        promised = "promise kept" if load.get("promise") else "no promise to keep"
        p99 = (load.get("latency_ms") or {}).get("p99")
        parts.append(f"{load['requests']} golden answers right, {promised}" + (f", p99 {p99:.1f} ms" if p99 else ""))
    elif proof.get("golden"):
        parts.append("golden answers right")
    if proof.get("score"):
        parts.append(str(proof["score"]))
    return "; ".join(parts)


def main(words: Sequence[str]) -> int:
    """Run `conch rollout` with these words; the exit code."""
    return run(lambda: tyro.cli(rollout, prog="conch rollout", args=words), stopped="stopped; nothing was changed")
