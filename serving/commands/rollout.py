"""`conch rollout`: a published version goes live on the running server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tyro
from rich.markup import escape

from conch.command_line import OUT, out, print_json
from serving.commands.run import run
from serving.errors import ServingError
from serving.rollout.rollout import Result, Rollout, rollout_on
from serving.rollout.trial import Asked, checked_share, in_words
from serving.server.interruption import interruptible
from serving.server.running import Running, running, server_file

SHARE = "10%"
"""Of --shadow and --canary, unless told."""


def rollout(
    model: tyro.conf.Positional[str],
    version: int | None = None,
    why: str = "",
    shadow: str | None = None,
    may_differ: str = "0%",
    canary: str | None = None,
    within: float = 600.0,
    json: bool = False,
) -> int:
    """Make a published version live on the running server, without a gap.

    It is loaded beside the live one under a name of its own and has to show there what was proven of it: its golden
    answers, its promise under a short load, its score where it has one. Then clients that name no version get it. The
    version before stays loaded for those that name it, and for sequences that began with it.

    With --shadow and --canary it also has to show itself before real requests, of clients that take part
    (connect(..., rollouts=True), or CONCH_ROLLOUTS=1). It is taken back by itself where it is shown to be worse.

    examples:
      conch rollout cnn --why "trained on the new data"
      conch rollout cnn --canary 10%
      conch rollout cnn --shadow 25% --may-differ 1% --canary 10%

    Args:
        model: A published model.
        version: The version. Default: the newest.
        why: What the history keeps as the reason.
        shadow: Such a share of the requests (10%, unless told) is sent to it as copies, whose answers are compared and
            thrown away.
        may_differ: The share of the copies whose answer may differ from the live version's by more than the tolerance.
        canary: Such a share of the requests (10%, unless told; at most 50%) is answered by it.
        within: Seconds in which enough requests have to be seen, of each of the two.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    differing = 0.0 if may_differ == "0%" else checked_share(may_differ, most=1)
    if not 0 < within < float("inf"):
        raise ServingError(f"--within is a number of seconds above 0, got {within:g}")
    trials = [
        *([Asked("shadow", checked_share(shadow, most=1), within, differing)] if shadow else []),
        *([Asked("canary", checked_share(canary, most=0.5), within)] if canary else []),
    ]
    return change(model, json, lambda rollout: rollout.roll_out(version, why, trials))


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
    for figures in proof.get("trials", ()):
        parts += [*([figures["reason"]] if "reason" in figures else []), in_words(figures)]
    return "; ".join(parts)


def _with_shares(words: Sequence[str]) -> Iterator[str]:
    """`words`, and a share behind each flag that takes one and was given none."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        yield word
        if word in ("--shadow", "--canary") and not following.endswith("%"):
            yield SHARE


def main(words: Sequence[str]) -> int:
    """Run `conch rollout` with these words; the exit code."""
    return run(
        lambda: tyro.cli(rollout, prog="conch rollout", args=list(_with_shares(words))),
        stopped="stopped; nothing was changed",
    )
