"""Turn any torch.nn.Module into a proven ONNX file and publish it, without a recipe.

The proof runs ONNX Runtime against PyTorch on a grid of batches, sizes and inputs. Without a recipe there is no score,
and the manifest says so; so it does of the inputs, where they were random.

examples:
  python -m export module net.py:Net --input "image:float32[batch,3,224,224]" --weights net.safetensors --name net
  python -m export module mine.py:build --input "tokens:int64[batch,time]<0,102>" --sizes time=1,2,17,64 --name mine
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from conch.contracts.errors import ConchError
from serving.onnx_files.releases import OLDEST, find_release

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)


def main(words: list[str]) -> int:
    """Run `python -m export module` with `words` as its arguments; the exit code."""
    arguments = _parse(words)
    from serving.errors import ServingError

    try:
        return _export(arguments)
    except (ConchError, ServingError) as error:
        ERR.print(f"[red]error:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped; nothing half-written was left")
        return 130


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export module", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", metavar="FILE.py:NAME", help="a module, a class of modules or a function that returns one")
    add("--name", required=True, help="its name in the repository and for clients")
    add("--input", action="append", required=True, metavar="SPEC", dest="inputs",
        help="NAME:DTYPE[AXIS,...], in the order of forward's arguments, with an optional <LOWEST,HIGHEST>; the first "
        "axis is batch, other axes are sizes or names")  # fmt: skip
    add("--output", action="append", default=[], metavar="NAME", dest="outputs",
        help="names of the outputs, in order (default: output, or output_0, output_1, ...)")  # fmt: skip
    add("--sizes", action="append", default=[], metavar="AXIS=SIZE,...",
        help="sizes of a named axis that the proof runs (default: 1,2,17,64)")  # fmt: skip
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", type=Path, metavar="FILE", help="a safetensors file (default: as NAME built it)")
    weights.add_argument("--torch-weights", type=Path, metavar="FILE",
                         help="a state dict saved by torch.save, read with weights_only=True")  # fmt: skip
    add("--inputs-from", type=Path, metavar="FILE.npz",
        help="real inputs, an array for each input (default: random within their ranges)")  # fmt: skip
    add("--labels", metavar="[OUTPUT=]FILE", help="a text file of class labels, one a line")
    add("--max-batch", type=int, default=32, help="the most rows of a request and of a batch (default: 32)")
    add("--exporter", choices=("auto", "dynamo", "torchscript"), default="auto",
        help="auto: dynamo, and torchscript where dynamo's file fails the proof (default)")  # fmt: skip
    add("--triton", default=OLDEST, metavar="RELEASE",
        help=f"oldest Triton release that has to load it: decides opset and IR (default: {OLDEST})")  # fmt: skip
    return parser.parse_args(words)


def _export(arguments: argparse.Namespace) -> int:
    from export.commands.tables import print_exported, print_failure
    from export.modules.module_export import export_module
    from export.publication.pipeline import ProofFailed

    started = time.perf_counter()
    exporter = None if arguments.exporter == "auto" else arguments.exporter
    release = find_release(arguments.triton)
    try:
        with OUT.status(escape(f"{arguments.name}: loading {arguments.source}")) as status:
            served, source, hashes = _served(arguments)
            progress = lambda text: status.update(escape(text))  # noqa: E731
            exported = export_module(served, source, hashes, exporter, progress, release)
    except ProofFailed as failed:
        print_failure(OUT, failed)
        ERR.print(f"[red]error:[/] {escape(str(failed))}")
        return 1
    print_exported(OUT, exported, time.perf_counter() - started)
    OUT.print(f"  no score: there is no recipe; inputs {escape(source['inputs'])}", highlight=False, soft_wrap=True)
    return 0


def _served(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """What is exported, its source for the manifest and the hashes of its files."""
    from conch.contracts.fingerprint import sha256_of_file
    from export.modules.module_served import SEED, find_outputs, random_examples, real_examples
    from export.modules.module_source import load_module, load_torch_weights, load_weights
    from export.modules.module_spec import parse_inputs, parse_sizes
    from serving.repository.labels import read_labels
    from serving.repository.publish import check_name
    from training.served import Served

    check_name(arguments.name)
    if arguments.max_batch < 1:
        raise ConchError(f"--max-batch {arguments.max_batch}: it must be at least 1")
    inputs = parse_inputs(arguments.inputs)
    sizes = parse_sizes(arguments.sizes, inputs)
    module = load_module(arguments.source)
    hashes = {"source": sha256_of_file(Path(arguments.source.rpartition(":")[0]))}
    weights: Path | None = arguments.weights or arguments.torch_weights
    if weights is not None:
        (load_weights if arguments.weights else load_torch_weights)(module, weights)
        hashes["weights"] = sha256_of_file(weights)
    if arguments.inputs_from:
        examples = real_examples(arguments.inputs_from, inputs, sizes, arguments.max_batch)
        hashes["inputs"] = sha256_of_file(arguments.inputs_from)
    else:
        examples = random_examples(inputs, sizes, arguments.max_batch)
    outputs = find_outputs(module, inputs, examples, arguments.outputs, sizes)
    labels: Mapping[str, tuple[str, ...]] = {}
    if arguments.labels:
        labels = read_labels(arguments.labels, [tensor.name for tensor in outputs])
    source = {
        "module": f"{Path(arguments.source).name}",
        "weights": weights.name if weights else "as the module was built",
        "inputs": arguments.inputs_from.name if arguments.inputs_from else f"random within their ranges, seed {SEED}",
    }
    served = Served(
        name=arguments.name, module=module, inputs=inputs, outputs=outputs, examples=examples, labels=labels,
        largest_batch=arguments.max_batch, sizes=sizes,
    )  # fmt: skip
    return served, source, hashes
