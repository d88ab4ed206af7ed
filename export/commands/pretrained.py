"""Turn a downloaded transformers folder into a proven ONNX file and publish it.

The folder has config.json, weights in safetensors and, for text, the tokenizer's files. Nothing is downloaded, no code
of the folder is run, and pickles are refused. The task is found from the architecture. The proof runs ONNX Runtime
against PyTorch on a grid, and every text alone and in a padded batch against transformers' own answer to it.

examples:
  conch export pretrained ./distilbert-sst2 --name sentiment
  conch export pretrained ./distilbert-sst2 --name sentiment --labelled reviews.tsv
  conch export pretrained ./roberta-sentiment --with-tokenizer --name text_sentiment   (text in, label out)
  conch export pretrained ./resnet-50 --with-image-processor --name photos             (PNG in, label out)
  conch export pretrained ./t5-small --name t5                          (two models: t5_encoder and t5_step)
  conch export pretrained ./cross-encoder --task reranking --texts pairs.tsv --name reranker
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.markup import escape

from conch import command_line
from conch.command_line import out, print_json
from conch.contracts.errors import ConchError
from serving.onnx_files.releases import OLDEST, find_release

if TYPE_CHECKING:
    from export.pretrained.subject import Subject


TaskName = Literal[
    "text-classification", "reranking", "token-classification", "question-answering", "fill-mask", "text-generation",
    "text2text-generation", "embeddings", "image-classification", "image-features", "segmentation", "depth",
    "zero-shot-image", "audio-classification", "speech-features",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is exported, and how."""

    folder: tyro.conf.Positional[Path]
    """A downloaded repository: config.json, model.safetensors or its shards, the tokenizer's files."""
    name: str
    """Its name in the repository and for clients."""
    task: TaskName | None = None
    """What it is served for. Default: what the architecture in config.json is for."""
    texts: Path | None = None
    """Texts to prove it on, one a line, UTF-8; a pair has a tab between the two. Default: some of many lengths, moods
    and scripts that the kit brings along."""
    labelled: Path | None = None
    """The same with a label and a tab before each text: the accuracy is measured as well."""
    tokenizer: Path | None = None
    """A folder with the tokenizer's files. Default: beside the weights."""
    pictures: Path | None = None
    """A folder of pictures to prove it on. Default: parts of two photographs that scikit-learn brings along."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How the vectors of tokens become one embedding. Default: as 1_Pooling/config.json says, else mean."""
    normalize: bool = True
    """Whether embeddings have length 1."""
    with_tokenizer: bool = False
    """Put the tokenizer in front, so that clients send text, for tasks with one answer a text. Byte-level BPE (GPT-2,
    RoBERTa, BART) goes into the graph; any other becomes the model NAME_tokenizer, with NAME_model behind it and NAME
    as the ensemble of both. Proven against the Python tokenizer on 10,000 texts."""
    with_image_processor: bool = False
    """Put the image processor into the graph, so that clients send PNG files: decoded, resized, cropped and normalised
    there. Proven against the Python processor; one with steps that the graph does not have is refused."""
    torch_weights: bool = False
    """Read pytorch_model.bin, a pickle, with weights_only=True. Default: refused."""
    max_batch: int = 32
    """The most rows of a request and of a batch; 1 or more."""
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    """auto: dynamo, and torchscript where dynamo's file fails the proof."""
    triton: str = OLDEST
    """Oldest Triton release that has to load it: decides opset and IR."""
    time: str | None = None
    """The most time that the proof may take, as 90s, 5m or 1h: the grid is cut to it, and what was left out is said.
    Default: all of it, however long."""
    replace_contract: bool = False
    """Publish it also where clients of the name find other tensors, types, shapes, batches or labels than in the
    version before."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch export pretrained` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch export pretrained", description=__doc__, args=list(words))
    return command_line.run(lambda: _export(choices), stopped="stopped; nothing half-written was left")


def _export(choices: Choices) -> int:
    from export.commands.documents import exported_document, failure_document
    from export.commands.progress import paced
    from export.commands.tables import print_exported, print_failure
    from export.pretrained.pretrained_export import How, export_pretrained
    from export.publication.pipeline import ProofFailed

    screen, started = out(choices.json), time.perf_counter()
    release = find_release(choices.triton)
    exporter = None if choices.exporter == "auto" else choices.exporter
    documents: list[dict[str, Any]] = []
    try:
        with paced(screen, f"{choices.name}: loading {choices.folder}", choices.time) as pace:
            subjects, source, hashes, told = _prepared(choices)
            for line in told:
                screen.print(escape(line), highlight=False, soft_wrap=True)
            how = How(
                exporter, pace, release, choices.replace_contract, choices.with_tokenizer, choices.with_image_processor
            )
            done = export_pretrained(subjects, source, hashes, how)
        documents += [
            exported_document(exported) | {"told": [*told, *said], "own_answers": own.as_json()}
            for exported, own, said in done
        ]
    except ProofFailed as failed:
        print_failure(screen, failed)
        documents.append(failure_document(choices.name, failed))
        command_line.fail(str(failed))
        return 1
    finally:
        if choices.json and documents:
            print_json(documents)
    for exported, own, said in done:
        print_exported(screen, exported, time.perf_counter() - started)
        worst = max((*own.alone.values(), *own.in_batch.values()))
        shown = f"{own.items} items alone and in batches: largest difference to transformers' own answers {worst:.2g}"
        for line in (shown, *said):
            screen.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    return 0


def _prepared(choices: Choices) -> tuple[tuple[Subject, ...], dict[str, Any], dict[str, str], tuple[str, ...]]:
    from conch.contracts.fingerprint import package_versions, sha256_of_file
    from export.pretrained.folder import read_folder
    from export.pretrained.tasks import prepare_subjects
    from export.pretrained.wanted import Wanted
    from serving.repository.names import check_name

    check_name(choices.name)
    if choices.max_batch < 1:
        raise ConchError(f"--max-batch {choices.max_batch}: it must be at least 1")
    if choices.texts and choices.labelled:
        raise ConchError("--texts and --labelled: one of the two; --labelled has texts of its own")
    folder = read_folder(choices.folder, choices.torch_weights)
    wanted = Wanted(
        choices.name, choices.max_batch, choices.texts, choices.labelled, choices.tokenizer, choices.pictures,
        choices.pooling, choices.normalize,
    )  # fmt: skip
    task, architecture, subjects, told = prepare_subjects(folder, choices.task, wanted)
    source = {
        "kind": "pretrained", "folder": folder.path.resolve().name, "architecture": architecture, "task": task.name,
        "score": "agreement with transformers", "packages": package_versions("transformers", "tokenizers"),
    }  # fmt: skip
    given = {"texts": choices.labelled or choices.texts}
    files = folder.files | {name: file for name, file in given.items() if file}
    hashes = {name: sha256_of_file(file) for name, file in files.items()}
    said = (f"{architecture}: {task.name}", *told, *(line for subject in subjects for line in subject.told))
    return subjects, source, hashes, said
