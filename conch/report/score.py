"""Score the served models with the recipes' own functions, through the running server.

examples:
  conch report score all                  # the five of the demo, and all else that is published
  conch report score networks             # every other recipe that is shipped
  conch report score cnn --url grpc://127.0.0.1:8001
  conch report score resnet_int8
  conch report score mine                 # trained from mine.py
  conch report score all --if-changed     # leaves out what was scored by the same server already, and agreed

What a recipe serves with states is run over the recipe's sequences, a step a request, and scored on those; what it
serves besides is scored where it has a score of its own.

Each model's figures go to artifacts/report/live/<model>.json. Exit code 1 where the server's score is not the ONNX
file's (to 4 decimals): then what is served is not what was proven.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import tyro
from rich.markup import escape

from clients import Client, ClientError, connect
from conch import command_line
from conch.command_line import ERR, OUT
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.golden import read_version_manifest
from conch.contracts.published import manifest_of, recipe_of
from conch.contracts.versions import latest_version
from conch.report.scored import is_scored, judged_by
from training.catalogue import DEMO, GROUPS, named
from training.checkpoints.checkpoint import load_checkpoint
from training.predict import in_batches
from training.score import Metric
from training.served import Served
from training.states import Chain

SCORE_DECIMALS = 4


def main(words: Sequence[str]) -> int:
    """Run `conch report score` with these words; the exit code."""
    return command_line.run(lambda: tyro.cli(score, prog="conch report score", description=__doc__, args=words))


def score(
    model: tyro.conf.Positional[str],
    protocol: Literal["http", "grpc"] | None = None,
    url: str | None = None,
    served_as: str | None = None,
    version: int | None = None,
    if_changed: bool = False,
) -> int:
    """Score served models through the live server.

    Args:
        model: A published model by its name, a variant (resnet_int8) among them, a recipe as training takes it, all, or
            networks.
        protocol: The protocol to speak; default: the one of the address, else http.
        url: http://host:port, grpc://host:port or host:port; default: CONCH_HTTP or CONCH_GRPC, else localhost.
        served_as: The name under which the server has the one model that is scored, where it is another; as a rollout
            shows a version before it is live. Nothing is kept then.
        version: With --served-as, the published version whose score it has to have. Default: the newest.
        if_changed: Leave out what this server was scored on before, in the version that it has, without a difference.
    """
    if (served_as or version) and (model in GROUPS or not served_as):
        raise ConchError("--version is for --served-as, and that for one model")
    differing = []
    try:
        with connect(url, protocol) as client:
            for name in (*DEMO, *other_recipes(), *variants()) if model == "all" else named(model):
                if if_changed and not served_as and is_scored(client, name):
                    OUT.print(f"{name}: up to date, its live score was that of its file", highlight=False)
                    continue
                with OUT.status(f"{name}: scoring through the server"):
                    if served_as:
                        results = [score_as(client, name, served_as, version)]
                    else:
                        results = [score_one(client, name), *score_others(client, name)]
                for result in results:
                    shown = ", ".join(f"{m['name']} {m['value']:.4f} {m['unit']}".rstrip() for m in result["score"])
                    OUT.print(f"{result['model']}: live {shown}", highlight=False)
                    differing += result["differences"]
    except (ClientError, OSError) as error:
        raise ConchError(str(error)) from error
    for sentence in differing:
        ERR.print(f"[red]error:[/] {escape(sentence)}")
    return 1 if differing else 0


def variants() -> dict[str, str]:
    """Published int8 and fp16 variants, to the recipe of each."""
    found = {}
    for folder in sorted((artifacts_folder() / "models").glob("*_*")):
        manifest = manifest_of(folder.parent, folder.name)
        recipe = manifest.get("recipe")
        if recipe and manifest.get("precision") != "fp32" and folder.name.startswith(f"{recipe}_"):
            found[folder.name] = recipe
    return found


def other_recipes() -> list[str]:
    """Recipes beyond the five of the demo, of published models."""
    folders = (folder for folder in (artifacts_folder() / "models").glob("*") if folder.is_dir())
    found = {recipe for folder in folders if (recipe := recipe_of(folder.parent, folder.name))}
    return sorted(found - set(DEMO))


def recipe_named(name: str) -> str:
    """The recipe that judges `name`.

    Raises:
        ConchError: it was published without one.
    """
    published = manifest_of(artifacts_folder() / "models", name)
    if "source" in published:
        kind = {"module": "a module", "onnx file": "an ONNX file", "pretrained": "a transformers folder"}.get(
            published["source"].get("kind"), "something"
        )
        raise ConchError(
            f"{name} was published from {kind} without a recipe, so that nothing scores it; "
            f"its answers are compared by: conch load run {name}"
        )
    return str(published.get("recipe", name))


def score_one(client: Client, name: str) -> dict[str, Any]:
    """Score a recipe's first served model or a variant, compare with the published score, and keep the result.

    A first one with states is judged by its chain, as those behind it.
    """
    recipe = variants().get(name)
    checkpoint = load_checkpoint(recipe or recipe_named(name))
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    model = name if recipe else served.name
    if served.chain is not None:
        return keep(client, model, own_score(client, served, model))

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return client.infer(model, inputs)

    metrics = checkpoint.recipe.score(in_batches(predict, served.largest_batch), checkpoint.data)
    return keep(client, model, metrics)


def score_others(client: Client, name: str) -> list[dict[str, Any]]:
    """The same for what a recipe serves behind the first: sequences, all under way at once, and what has a score."""
    if name in variants():
        return []
    checkpoint = load_checkpoint(recipe_named(name))
    _, *others = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)
    return [keep(client, one.name, metrics) for one in others if (metrics := own_score(client, one, one.name))]


def own_score(client: Client, served: Served, served_as: str) -> list[Metric]:
    """What a model's own score says of what the server has as `served_as`; nothing where it has no score of its own."""
    if served.chain is not None:
        return served.chain.score(run_chain(client, served_as, served.chain))
    if served.score is None:
        return []
    return served.score(in_batches(lambda inputs: client.infer(served_as, inputs), served.largest_batch))


def score_as(client: Client, model: str, served_as: str, version: int | None) -> dict[str, Any]:
    """Score what the server has as `served_as`, and compare with the score of a published version of `model`.

    Raises:
        ConchError: that version has no score, or the recipe does not serve the model.
    """
    published = latest_version(artifacts_folder() / "models", model)
    if version is not None and published is not None:
        published = published.with_name(str(version))
    manifest = read_version_manifest(published) if published else {}
    if not manifest.get("score"):
        raise ConchError(f"{published or model} has no score to compare with")
    checkpoint = load_checkpoint(manifest["recipe"])
    all_served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)
    first = all_served[0]
    if not first.states and (model == first.name or model in variants()):
        predict = in_batches(lambda inputs: client.infer(served_as, inputs), first.largest_batch)
        metrics = checkpoint.recipe.score(predict, checkpoint.data)
    else:
        metrics = [metric for one in all_served if one.name == model for metric in own_score(client, one, served_as)]
        if not metrics:
            raise ConchError(f"recipe {manifest['recipe']} has no score for {model}")
    wrong = differences(model, metrics, manifest["score"]["onnx"])
    return {"model": model, "score": [asdict(metric) for metric in metrics], "differences": wrong}


def run_chain(client: Client, model: str, chain: Chain) -> dict[str, np.ndarray]:
    """The server's answers [sequences, steps, ...] by output name, a request for each step of each sequence."""
    with contextlib.ExitStack() as stack:
        rows = len(next(iter(chain.steps.values())))
        sequences = [stack.enter_context(client.sequence(model)) for _ in range(rows)]

        def step(number: int, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            last = number == chain.length - 1
            answers = [
                sequence.infer({name: array[row : row + 1] for name, array in inputs.items()}, last=last)
                for row, sequence in enumerate(sequences)
            ]
            return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

        return chain.run(step)


def keep(client: Client, model: str, metrics: list[Metric]) -> dict[str, Any]:
    """Compare with the published score and write the result into the report's folder."""
    version = client.metadata(model).versions[-1]
    published = artifacts_folder() / "models" / model / version
    manifest = read_version_manifest(published)
    result = {
        "model": model,
        "version": int(version),
        "server": " ".join(client.server()),
        **judged_by(published),
        "score": [asdict(metric) for metric in metrics],
        "differences": differences(model, metrics, manifest["score"]["onnx"]),
    }
    path = artifacts_folder() / "report" / "live" / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return result


def differences(name: str, live: list[Metric], published: list[dict[str, Any]]) -> list[str]:
    """Where the server's score is not the published one, a sentence each."""
    if len(live) != len(published):
        return [f"{name}: the live score has {len(live)} metrics, the published one {len(published)}"]
    return [
        f"{name}: {one.name} is {one} through the server and {other['value']:.4f} of the ONNX file"
        for one, other in zip(live, published, strict=True)
        if not abs(one.value - other["value"]) < 0.5 * 10**-SCORE_DECIMALS
    ]
