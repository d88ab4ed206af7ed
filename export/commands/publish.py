"""`conch publish` with what proves a file against its reference: the proof runs PyTorch, and serving does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from conch.command_line import OUT
from conch.contracts.errors import ConchError
from serving.commands.publish import main as publish
from serving.repository.proofs import Proven, ReferenceChoices


def main(words: Sequence[str]) -> int:
    """Run `conch publish` with these words; the exit code."""
    return publish(words, prove)


def prove(onnx_file: Path, choices: ReferenceChoices, inputs_from: Path | None, max_batch: int) -> Proven:
    """Prove the file against its reference, as `conch check` does.

    Raises:
        ConchError: it is wrong or cannot be verified, with the reason; the grid is shown.
    """
    from export.commands.progress import paced
    from export.commands.tables import print_grid, print_remarks
    from export.proof.budget import tolerances
    from export.proof.verdict import PROVEN, verdict_on
    from export.references.file_subject import Asked
    from export.references.proving import Against, prove_file

    asked = Asked(choices.inputs, choices.sizes, inputs_from, max_batch)
    against = Against(choices.reference, choices.outputs_from, choices.weights, choices.torch_weights)
    with paced(OUT, f"proving {onnx_file}", choices.time) as pace:
        proof = prove_file(onnx_file, asked, against, pace, batched=max_batch > 0)
    for line in proof.told:
        OUT.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    print_grid(OUT, proof.grid)
    print_remarks(OUT, proof.grid, ())
    if proof.culprit:
        OUT.print(f"[bold]{escape(str(proof.culprit))}[/]", highlight=False, soft_wrap=True)
    verdict = verdict_on(proof.grid)
    if verdict.code != PROVEN:
        raise ConchError(f"{onnx_file}: nothing was published, it is {verdict.word}: {verdict.reason}")
    said = f"proven by {proof.reference['file']} ({len(proof.grid.cells)} cells, difference {proof.grid.worst():.2g})"
    tolerance = tolerances(proof.subject, proof.grid.alone())
    return Proven(proof.grid.as_json(), proof.reference | {"uncovered": list(proof.grid.uncovered)}, tolerance, said)
