"""conch tune: what it is told, what it checks before it measures, and what it says at the end."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from conch.command_line import ERR, OUT, print_json
from conch.contracts.artifacts import artifacts_folder, models_folder
from conch.contracts.ensembles import parts_of
from conch.contracts.versions import latest_version
from serving.commands.durations import seconds_of
from serving.commands.run import run
from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.repository.folder import check_repository
from serving.repository.queueing import promised_s
from serving.server.interruption import Interrupted, interruptible
from serving.tune.candidates import Candidate, largest_proven_batch
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import check_installed
from serving.tune.picture import draw
from serving.tune.progress import Progress, key_of, load_progress
from serving.tune.report import result_document, show, show_rounds
from serving.tune.search import Decision
from serving.tune.tuner import Order, Tuner
from serving.tune.write import write_winner

PRECISIONS = ("int8", "int4", "fp16")


def tune(
    model: tyro.conf.Positional[str],
    promise: str | None = None,
    time: str = "5m",
    write: bool = False,
    fresh: bool = False,
    users: tuple[int, ...] = (4, 16, 64),
    seconds: int = 2,
    repository: Path | None = None,
    json: bool = False,
) -> int:
    """Search instances, threads, batch size, queue delay and precision for what serves the most on this machine.

    A server of its own, over a copy of the model, is loaded with one configuration after the other; the best are then
    compared with the current one in alternating rounds. The same command goes on where it was interrupted.

    For example: conch tune resnet --promise p99=20ms

    Args:
        model: A published model; its variants in other precisions (resnet_int8 of resnet) are tried along.
        promise: The latency to be kept: p50 or p99 and its limit, as p99=5ms. Default: the most requests, however slow.
        time: How long all may take, about: 90s, 5m, 1h.
        write: Write the winner into its config.pbtxt, where it is better than the current one beyond the noise.
        fresh: Forget what an earlier run measured.
        users: Requests under way at once that each configuration is tried with, until the promise breaks.
        seconds: How long each load lasts.
        repository: The model repository. Default: artifacts/models.
        json: Print one JSON document, for programs; docs/json.md has its keys. All else goes to standard error.
    """
    if seconds < 1:
        raise ServingError(f"--seconds {seconds}: expected whole seconds, from 1 on")
    order = Order(
        model=model,
        repository=repository or models_folder(),
        folder=artifacts_folder() / "tune" / model,
        promise=LatencyLimit.parse(promise),
        time_s=seconds_of("--time", time),
        users=users_of(users),
        seconds=seconds,
        cores=len(os.sched_getaffinity(0)),
    )
    with interruptible():
        tuner = prepare(order, ERR if json else OUT, fresh)
        try:
            decision = tuner.run()
        except Interrupted:
            ERR.print("Interrupted: what was measured is kept, the same command goes on.", highlight=False)
            raise
        written = finish(tuner, decision, write)
    if json:
        print_json(result_document(tuner, decision, written))
    return 0


def prepare(order: Order, console: Console, fresh: bool) -> Tuner:
    """Everything that can be wrong is found here, before anything is measured.

    Raises:
        ServingError: No such model, a configuration that cannot be searched, or no load test.
    """
    there = check_repository(order.repository)
    version = latest_version(order.repository, order.model)
    if version is None:
        raise ServingError(
            f"there is no model {order.model!r} in {order.repository}, it has {', '.join(there)}: publish it first"
        )
    if steps := parts_of(order.repository / order.model / "config.pbtxt"):
        raise ServingError(f"{order.model} is an ensemble and has no instances of its own: tune {' or '.join(steps)}")
    check_installed()
    models = [order.model, *_variants(order)]
    configs, files = {}, []
    for model in models:
        config_file = order.repository / model / "config.pbtxt"
        newest = latest_version(order.repository, model)
        assert newest is not None, "variants are published"
        if not (newest / "golden.npz").is_file():
            raise ServingError(f"{newest} has no golden.npz, the inputs of the load: publish {model} again")
        configs[model] = _read(config_file)
        files += [config_file, *sorted(newest.glob("*.onnx"))]
    current = Candidate.of(parse(configs[order.model]))
    largest = largest_proven_batch(version, current.max_batch)
    progress_file = order.folder / "state.json"
    key = key_of(files, str(order.promise), order.users, order.seconds, models)
    progress = Progress(key) if fresh else load_progress(progress_file, key)
    tuner = Tuner(order, console, progress, progress_file, current, models, largest, configs)
    if progress.searched:
        done = "complete" if tuner.complete else f"{len(progress.searched)} configurations are measured"
        console.print(f"Going on with {progress_file} ({done}); --fresh begins anew.", style="dim", highlight=False)
    return tuner


def finish(tuner: Tuner, decision: Decision, write: bool) -> Path | None:
    """Show what was found, and write the winner where there is one and it is asked for; the file written."""
    console, order = tuner.console, tuner.order
    show(console, tuner.progress, tuner.current, order.promise)
    show_rounds(console, tuner.progress.rounds, tuner.current)
    picture = order.folder / "front.png"
    draw(picture, tuner.progress, tuner.current, order.promise)
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True)
    winner = decision.winner
    if winner is None:
        console.print(f"Keep what you have: {decision.reason}.", highlight=False, markup=False, soft_wrap=True)
        return None
    console.print(f"Best: {winner}, {decision.reason}.", highlight=False, markup=False, soft_wrap=True)
    own = Candidate.of(parse(tuner.configs[winner.model]))
    if winner.max_batch < own.max_batch:
        console.print(
            f"It refuses requests of more than {winner.max_batch} items, where {own.max_batch} are taken now.",
            style="yellow", highlight=False,
        )  # fmt: skip
    if winner.model != order.model:
        console.print(f"Clients have to ask for {winner.model}: {order.model} itself stays as it is.", style="yellow")
    if winner == own:
        console.print(f"{winner.model} is configured so already, there is nothing to write.", highlight=False)
    elif write:
        version = latest_version(order.repository, winner.model)
        assert version is not None, "it was served"
        measured = tuner.configs[winner.model]
        rates = [point.requests_per_s for point in tuner.progress.rounds.get(winner, [])]
        file = write_winner(
            order.repository, winner, measured, version, decision.reason,
            order.promise.p99_s or promised_s(winner.model), statistics.median(rates) if rates else None,
        )  # fmt: skip
        console.print(f"written -> {file}; a running server takes it when it is started again", soft_wrap=True)
        return file
    else:
        console.print(
            "Nothing is written: the same command with --write does, without measuring again.", soft_wrap=True
        )
    return None


def _variants(order: Order) -> list[str]:
    """Published variants in another precision, under the same name with an ending, that take and give the same."""
    own = parse(_read(order.repository / order.model / "config.pbtxt"))
    found = []
    for precision in PRECISIONS:
        name = f"{order.model}_{precision}"
        if latest_version(order.repository, name) is None:
            continue
        config = parse(_read(order.repository / name / "config.pbtxt"))
        if _tensors(own.input) == _tensors(config.input) and _tensors(own.output) == _tensors(config.output):
            found.append(name)
    return found


def _tensors(entries: Sequence[object]) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(entry.name, entry.data_type, tuple(entry.dims)) for entry in entries]  # type: ignore[attr-defined]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"cannot read {file}: {error}") from error


def users_of(given: Sequence[int]) -> tuple[int, ...]:
    """The numbers of users, ascending.

    Raises:
        ServingError: There is none, or one is no number of users.
    """
    if not given or min(given) < 1:
        raise ServingError(f"--users {' '.join(map(str, given))}: expected numbers of requests under way, from 1 on")
    return tuple(sorted(set(given)))


def main(words: Sequence[str]) -> int:
    """Run `conch tune` with these words; the exit code."""
    return run(lambda: tyro.cli(tune, prog="conch tune", args=words))
