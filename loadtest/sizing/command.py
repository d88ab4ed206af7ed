"""`conch size`: how many servers, of which kind, at what cost."""

from __future__ import annotations

import json as documents
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.markup import escape
from rich.table import Table

from conch import command_line
from conch.command_line import ERR, OUT, print_json
from conch.contracts.artifacts import artifacts_folder
from loadtest.errors import CannotRun
from loadtest.numbers import above_zero, from_zero
from loadtest.one_promise import promise_from
from loadtest.sizing.answer import Demand, answer_for, cheapest
from loadtest.sizing.fleet import Question, Survive
from loadtest.sizing.kinds import Kind, Kinds, read_kinds
from loadtest.sizing.simulation import Balancer

MOST_ZONES, MOST_MONTHS = 100, 60
LOST = {"nothing": "all of them there", "replica": "one lost", "zone": "a zone lost"}


def size(
    model: tyro.conf.Positional[str] = "",
    *,
    promise: str,
    rate: float,
    kinds: Path | None = None,
    balancer: Balancer = "least_outstanding",
    zones: int = 3,
    survive: Survive = "zone",
    noticed: float = 3.0,
    growth: float = 20.0,
    months: int = 12,
    json: bool = False,
) -> int:
    """How many servers keep a promise at a rate, from the measured curve of one: `conch load profile MODEL`.

    Poisson arrivals, dynamic batching, instances and a balancer are simulated. The loss of a server and of a zone is
    part of the answer, and so is how well the simulation repeats the curve. docs/scale.md says where it is not to be
    believed.

    For example: conch size cnn --promise p99=20ms --rate 5000

    conch size cnn --promise p99=20ms --rate 5000 --kinds kinds.yaml --survive replica

    Args:
        model: Whose profile in artifacts/report/load-profile. Default: the only one there.
        promise: What is to be kept: p50, p95 or p99 and its limit.
        rate: Requests a second, of all callers together.
        kinds: A YAML file with the kinds of servers: for each the profile of one, and its price. Default: the one
            server that was measured, without a price.
        balancer: Who gets the next request: the servers in turn, or the one that owes the fewest answers.
        zones: Where the servers stand, evenly.
        survive: What may be lost while the promise is kept.
        noticed: Seconds until the balancer leaves out a server that is gone (its interval times its failures).
        growth: Of the rate, in % a month.
        months: How far ahead.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    wanted = promise_from(promise)
    above_zero("--rate", rate)
    from_zero("--noticed", noticed, 600)
    from_zero("--growth", growth, 1000)
    from_zero("--months", months, MOST_MONTHS)
    if not 1 <= zones <= MOST_ZONES or (survive == "zone" and zones == 1):
        raise CannotRun(
            f"--zones {zones}: expected 1 to {MOST_ZONES}, at least 2 to survive the loss of one (--survive)"
        )
    percent, limit = next(
        (percent, limit) for percent in (50, 95, 99) if (limit := getattr(wanted, f"p{percent}_ms")) is not None
    )
    artifacts = artifacts_folder()
    known = read_kinds(kinds) if kinds else Kinds((_measured(artifacts / "report" / "load-profile", model),))
    question = Question(percent, limit, balancer, zones, noticed)
    demand = Demand(model, rate, growth / 100, months)
    answers, refused = [], []
    with ERR.status("") as status:
        for kind in known.kinds:
            try:
                answers.append(answer_for(kind, question, survive, demand, status.update))
            except CannotRun as error:
                refused.append({"kind": kind.name, "reason": str(error)})
    for entry in refused:
        command_line.fail(f"{entry['kind']}: {entry['reason']}")
    if not answers:
        return 1
    found = {
        "promise": promise, "percent": percent, "limit_ms": limit, "rate": rate, "balancer": balancer, "zones": zones,
        "survive": survive, "noticed_s": noticed, "growth": growth / 100, "currency": known.currency,
        "cheapest": cheapest(answers)["kind"], "kinds": answers, "refused": refused,
    }  # fmt: skip
    picture = _write(artifacts / "report" / "size", model or cheapest(answers)["kind"], found)
    if json:
        print_json(found)
    else:
        show(found, picture)
    return 0


def _measured(folder: Path, model: str) -> Kind:
    """The one kind that is known without a file: what was measured here."""
    there = sorted(path.stem for path in folder.glob("*.json"))
    if not model and len(there) == 1:
        model = there[0]
    if model not in there:
        which = f"no profile of {model!r}" if model else "whose profile? name a model"
        raise CannotRun(
            f"{which}; {folder} has: {', '.join(there) or 'none'}. Measure one server: conch load profile "
            f"{model or 'MODEL'} --duration 20s"
        )
    return Kind(model, folder / f"{model}.json", None)


def _write(folder: Path, name: str, found: dict[str, Any]) -> Path:
    """The document and the picture of the cheapest kind; the path of the picture."""
    from loadtest.sizing.drawing import draw  # matplotlib takes longer than a refusal

    picture = folder / f"{name}.svg"
    best = next(answer for answer in found["kinds"] if answer["kind"] == found["cheapest"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(documents.dumps(found, indent=1) + "\n", encoding="utf-8")
        picture.write_text(draw(found, best), encoding="utf-8")
    except OSError as error:
        raise CannotRun(f"cannot write {folder}: {error.strerror or error}") from error
    return picture


def show(found: dict[str, Any], picture: Path) -> None:
    """What a person reads: the kinds, what the cheapest does in each state, its growth, and doubts."""
    best = next(answer for answer in found["kinds"] if answer["kind"] == found["cheapest"])
    OUT.print(_kinds_table(found))
    OUT.print(_states_table(found, best))
    if failure := best["failure"]:
        again = f"kept again after {failure['broken_s']} s" if failure["broken_s"] else "kept all the while"
        OUT.print(
            f"{failure['lost']} lost at once: {failure['sent_again']} requests are sent again, the slowest answer "
            f"takes {failure['slowest_ms'] / 1000:.1f} s, the promise is {again}",
            highlight=False,
        )
    OUT.print(_months_table(found, best))
    OUT.print(_model_table(found, best))
    for answer in found["kinds"]:
        for doubt in answer["doubts"]:
            OUT.print(f"{answer['kind']}: {doubt}", markup=False, highlight=False)
    OUT.print(f"curves: {picture}", markup=False, highlight=False, soft_wrap=True)


def _money(found: dict[str, Any], price: float | None) -> str:
    return "-" if price is None else f"{price:,.0f} {found['currency']}".strip()


def _kinds_table(found: dict[str, Any]) -> Table:
    words = {"nothing": "servers", "replica": "to lose one", "zone": "to lose a zone"}
    table = Table(
        "kind", f"idle p{found['percent']:g} ms", "most/s of one", *words.values(), "a month",
        title=f"{found['promise']} at {found['rate']:g}/s",
    )  # fmt: skip
    for answer in found["kinds"]:
        needed = (str(answer["needed"].get(survive, "-")) for survive in words)
        name = escape(answer["kind"])
        table.add_row(
            name, f"{answer['idle_ms']:.2f}", f"{answer['most_per_s']:.0f}", *needed, _money(found, answer["price"])
        )
    return table


def _states_table(found: dict[str, Any], best: dict[str, Any]) -> Table:
    table = Table(
        "state", "left", "load", "p50 ms", "p95 ms", "p99 ms", title=f"{best['servers']} x {escape(best['kind'])}"
    )
    for survive, words in LOST.items():
        state = best["states"][survive]
        if state is None:
            table.add_row(words, "-", "too much", "-", "-", "-")
            continue
        percentiles = (f"{state[f'p{percent}_ms']:.2f}" for percent in (50, 95, 99))
        table.add_row(words, str(state["left"]), f"{state['load']:.0%}", *percentiles)
    return table


def _months_table(found: dict[str, Any], best: dict[str, Any]) -> Table:
    table = Table("month", "requests/s", "servers", "a month", title=f"{found['growth']:.0%} more a month")
    for month in best["months"]:
        table.add_row(str(month["month"]), f"{month['rate']:.0f}", str(month["servers"]), _money(found, month["price"]))
    return table


def _model_table(found: dict[str, Any], best: dict[str, Any]) -> Table:
    percent = f"p{found['percent']:g} ms"
    table = Table("requests/s", "load", f"{percent}, measured", "simulated", "error", title="the curve of one server")
    for point in best["model"]:
        error = point["simulated_ms"] / point["measured_ms"] - 1
        table.add_row(
            f"{point['rate']:.0f}", f"{point['load']:.0%}", f"{point['measured_ms']:.2f}",
            f"{point['simulated_ms']:.2f}", f"{error:+.0%}",
        )  # fmt: skip
    return table


def main(words: Sequence[str]) -> int:
    """Run `conch size` with these words; the exit code."""
    return command_line.run(lambda: tyro.cli(size, prog="conch size", args=words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
