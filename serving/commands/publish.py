"""`conch publish`: an existing ONNX file into the model repository."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import tyro
from rich.markup import escape

from clients.preparation import Fit, UnknownPreparation, chosen_preparation
from clients.repeated import repeated
from conch.command_line import OUT
from conch.contracts.artifacts import models_folder
from serving.commands.run import run
from serving.errors import ServingError
from serving.repository.foreign import publish_file
from serving.repository.proofs import Prove, Proven, ReferenceChoices
from serving.rollout.going_live import how_to_go_live


def publish(
    onnx_file: tyro.conf.Positional[Path],
    name: str,
    max_batch: int | None = None,
    labels: str | None = None,
    inputs_from: Path | None = None,
    tensorrt: str | None = None,
    picture_fit: Fit | None = None,
    picture_white_level: float | None = None,
    replace_contract: bool = False,
    repository: Path | None = None,
    proof: tyro.conf.OmitArgPrefixes[ReferenceChoices] = ReferenceChoices(),  # noqa: B008  # frozen
    *,
    prove: tyro.conf.Suppress[Prove | None] = None,
) -> int:
    """Publish an existing ONNX file: inspected, shown to load and run, its inputs and outputs named as they are.

    With a reference it is proven first, as `conch check` does, and published only if it is.

    For example: conch publish model.onnx --name mine
                 conch publish model.onnx --name mine --reference net.py:Net --weights net.safetensors

    Args:
        onnx_file: The model. External data files beside it are published along.
        name: Its name in the repository and for clients.
        max_batch: The most rows that requests may share a run with; 0 runs each request alone. Default: 32 where the
            first axis of every input and output is open and a row's answer is shown not to depend on its neighbours,
            else 0.
        labels: A text file of class labels, one a line; OUTPUT=FILE where the model has several outputs.
        inputs_from: An .npz file with an array for each input, to show the model on real inputs. Default: generated.
        tensorrt: Run on TensorRT in fp16 where the server has a GPU, and keep its engines in this folder: an absolute
            path as the server sees it, which has to be there. What is shown here is shown on the CPU, in fp32.
        picture_fit: How clients bring a picture of another shape to the model's: crop its middle out, or stretch it.
            Default: not said, clients crop and tell so.
        picture_white_level: The value that is white in grey pictures of more than 8 bits. Default: 65535; floats are
            refused.
        replace_contract: Publish it also where clients of the name find other tensors, types, shapes, batches or labels
            than in the version before.
        repository: The model repository. Default: artifacts/models.
        proof: What it is proven against.
        prove: Runs the proof; the command has it, and no option.
    """
    try:
        preparation = chosen_preparation(picture_fit, picture_white_level)
    except UnknownPreparation as error:
        raise ServingError(f"{error}") from error
    said = "no PyTorch reference"

    def proven(rows: int) -> Proven:
        nonlocal said
        assert prove is not None
        found = prove(onnx_file, proof, inputs_from, rows)
        said = found.said
        return found

    if proof.asked and prove is None:
        raise ServingError("a file is proven against a reference by: conch publish")
    version, trial = publish_file(
        onnx_file, name, repository or models_folder(), max_batch, labels, inputs_from, tensorrt, preparation,
        replace_contract,
        proven if proof.asked else None,
    )  # fmt: skip
    if trial.note:
        OUT.print(f"[yellow]{escape(name)}: served without batches, {escape(trial.note)}[/]", highlight=False)
    if not trial.repeatable:
        OUT.print(
            f"[yellow]{escape(name)}: the same inputs gave other outputs the second time, "
            "a load test will call its answers wrong[/]",
            highlight=False,
        )
    batches = ", ".join(str(run["batch"]) for run in trial.runs)
    unbatched = "no batches, as --max-batch 0 asks" if max_batch == 0 else "no batches"
    ran = f"batches of {batches}" if trial.max_batch_size else unbatched
    OUT.print(
        f"[green]{escape(name)}[/]: runs ({ran}; inputs {trial.inputs}), {escape(said)} -> {version}",
        highlight=False,
    )
    if step := how_to_go_live(version):
        OUT.print(f"  {step}", highlight=False)
    return 0


def main(words: Sequence[str], prove: Prove | None = None) -> int:
    """Run `conch publish` with these words, and what proves a file against its reference; the exit code."""
    return run(
        lambda: tyro.cli(partial(publish, prove=prove), prog="conch publish", args=repeated(words, ReferenceChoices, 1))
    )
