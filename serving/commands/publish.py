"""`conch publish`: an existing ONNX file into the model repository."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from clients.preparation import Fit, UnknownPreparation, chosen_preparation
from clients.repeated import repeated
from conch.command_line import OUT
from conch.contracts.artifacts import models_folder
from serving.commands.run import run
from serving.errors import ServingError
from serving.onnx_files.asked import asked
from serving.onnx_files.trial import Trial
from serving.repository.foreign import publish_file
from serving.repository.proofs import Prove, Proven, ReferenceChoices
from serving.repository.scheduling_choices import SchedulingChoices
from serving.rollout.going_live import how_to_go_live

Pairs = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")]
"""A flag that may be given several times."""


def publish(
    onnx_file: tyro.conf.Positional[Path],
    name: str,
    max_batch: int | None = None,
    labels: str | None = None,
    class_labels: str | None = None,
    inputs_from: Path | None = None,
    tensorrt: str | None = None,
    picture_fit: Fit | None = None,
    picture_white_level: float | None = None,
    replace_contract: bool = False,
    state: Pairs = (),
    initial_state: Path | None = None,
    control: Pairs = (),
    batch_axis: Pairs = (),
    fix: Pairs = (),
    repository: Path | None = None,
    proof: tyro.conf.OmitArgPrefixes[ReferenceChoices] = ReferenceChoices(),  # noqa: B008  # frozen
    waiting: tyro.conf.OmitArgPrefixes[SchedulingChoices] = SchedulingChoices(),  # noqa: B008  # frozen
    *,
    prove: tyro.conf.Suppress[Prove | None] = None,
) -> int:
    """Publish an existing ONNX file: inspected, shown to load and run, its inputs and outputs named as they are.

    With a reference it is proven first, as `conch check` does, and published only if it is.

    examples:
      conch publish model.onnx --name mine
      conch publish model.onnx --name mine --reference net.py:Net --weights net.safetensors
      conch publish silero_vad.onnx --name vad --state state=stateN --fix sr=16000
      conch publish model.onnx --name mine --priorities 2 --resource memory=1
      conch publish timefirst.onnx --name timefirst --batch-axis tokens=1 --batch-axis scores=1

    Args:
        onnx_file: The model. External data files beside it are published along.
        name: Its name in the repository and for clients.
        max_batch: The most rows that requests may share a run with; 0 runs each request alone. Default: 32 where the
            first axis of every input and output is open and a row's answer is shown not to depend on its neighbours,
            else 0.
        labels: A text file of class labels, one a line; OUTPUT=FILE where the model has several outputs.
        class_labels: The same, of an output whose values are the numbers of classes, as of boxes or pixels: clients get
            the names with the configuration.
        inputs_from: An .npz file with an array for each input, as the file takes them, to show the model on real
            inputs. States and controls may be left out. Default: generated.
        tensorrt: Run on TensorRT in fp16 where the server has a GPU, and keep its engines in this folder: an absolute
            path as the server sees it, which has to be there. What is shown here is shown on the CPU, in fp32.
        picture_fit: How clients bring a picture of another shape to the model's: crop its middle out, or stretch it.
            Default: not said, clients crop and tell so.
        picture_white_level: The value that is white in grey pictures of more than 8 bits. Default: 65535; floats are
            refused.
        replace_contract: Publish it also where clients of the name find other tensors, types, shapes, batches or labels
            than in the version before.
        state: INPUT=OUTPUT: what the output gives, the input gets at the next request of the same sequence, and no
            client sees. Once for each state.
        initial_state: An .npz file with the first values of states, by the name of their input. Default: zeros.
        control: INPUT=start, end or ready: an input that the server fills, with 1 where the request begins its
            sequence, ends it, is one. Once for each.
        batch_axis: NAME=AXIS: the axis, counted from 0, of an input or output that is the batch, where it is not the
            first. It is transposed to the front. Once for each.
        fix: INPUT=VALUE: an input that always has this value, a number, text or the path of an .npy file. Once for
            each.
        repository: The model repository. Default: artifacts/models.
        proof: What it is proven against.
        waiting: How requests wait for their turn.
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
        onnx_file,
        name,
        repository or models_folder(),
        max_batch,
        labels,
        class_labels,
        inputs_from,
        tensorrt,
        preparation,
        replace_contract,
        proven if proof.asked else None,
        asked(state, initial_state, control, batch_axis, fix),
        waiting.scheduling,
    )
    for change in trial.changes:
        OUT.print(f"{escape(name)}: {escape(change)}", highlight=False, soft_wrap=True)
    for warning in _warnings(trial):
        OUT.print(f"[yellow]{escape(name)}: {escape(warning)}[/]", highlight=False, soft_wrap=True)
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


def _warnings(trial: Trial) -> Iterator[str]:
    """What is less than it could be, a line each."""
    if trial.note:
        yield f"served without batches, {trial.note}"
    for doubt in trial.doubts:
        yield f"THIS SHOWS NEXT TO NOTHING: {doubt}; give real inputs: --inputs-from data.npz, an array for each input"
    if not trial.repeatable:
        yield "the same inputs gave other outputs the second time, a load test will call its answers wrong"


def main(words: Sequence[str], prove: Prove | None = None) -> int:
    """Run `conch publish` with these words, and what proves a file against its reference; the exit code."""
    return run(
        lambda: tyro.cli(partial(publish, prove=prove), prog="conch publish", args=repeated(words, ReferenceChoices, 1))
    )
