"""Turn a checkpoint into a proven ONNX file and publish it in artifacts/models.

The proof runs ONNX Runtime against PyTorch on a grid of batches, lengths and inputs, and compares the recipe's score
of both. Exit code 0 only when all of it passed; otherwise nothing is published.

examples:
  python -m export cnn
  python -m export resnet --exporter torchscript
  python -m export path/to/mine.py
  python -m export all --if-changed
  python -m export resnet --precision int8
  python -m export resnet --triton 24.04
  python -m export explain resnet   (how exact it is, and which node is wrong if one is)
  python -m export module --help    (any torch.nn.Module, without a recipe)
"""

import argparse
import sys
import time

from rich.console import Console
from rich.markup import escape

from conch.contracts.errors import ConchError
from serving.onnx_files.releases import OLDEST
from training.catalogue import SHIPPED

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)


def main() -> int:
    """Run the command line; the exit code."""
    if sys.argv[1:2] == ["module"]:
        from export.commands.module import main as export_module

        return export_module(sys.argv[2:])
    if sys.argv[1:2] == ["explain"]:
        from export.diagnosis.explain import main as explain

        return explain(sys.argv[2:])
    arguments = _parse()
    names = SHIPPED if arguments.recipe == "all" else (arguments.recipe,)
    from serving.errors import ServingError

    try:
        for name in names:
            export_one = _export_one if arguments.precision == "fp32" else _export_variant
            if not export_one(name, arguments):
                return 1
    except (ConchError, ServingError) as error:
        ERR.print(f"[red]error:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped; nothing half-written was left")
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help=f"one of {', '.join(SHIPPED)}, all, or the path of a .py file with a Recipe")
    parser.add_argument(
        "--exporter", choices=("auto", "dynamo", "torchscript"), default="auto",
        help="auto: dynamo, and torchscript where dynamo's file fails the proof (default)",
    )  # fmt: skip
    parser.add_argument(
        "--if-changed", action="store_true",
        help="do nothing where the newest version was made from the same weights, code and versions",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32",
        help="int8 and fp16 are published as MODEL_int8 and MODEL_fp16, where the recipe's score allows it",
    )  # fmt: skip
    parser.add_argument(
        "--next-version", action="store_true",
        help="publish int8 or fp16 as the next version of MODEL instead",
    )  # fmt: skip
    parser.add_argument(
        "--target", choices=("x86-vnni", "x86", "arm", "gpu"),
        help="processor that will serve int8 (default: this machine's)",
    )  # fmt: skip
    parser.add_argument(
        "--triton", default=OLDEST, metavar="RELEASE",
        help=f"oldest Triton release that has to load the file; it decides opset and IR version (default: {OLDEST})",
    )  # fmt: skip
    return parser.parse_args()


def _export_one(name: str, arguments: argparse.Namespace) -> bool:
    from export.commands.tables import print_exported, print_failure
    from export.publication.pipeline import ProofFailed, export_checkpoint, repository_folder
    from export.publication.up_to_date import is_up_to_date
    from serving.onnx_files.releases import find_release
    from training.checkpoints.checkpoint import load_checkpoint

    exporter = None if arguments.exporter == "auto" else arguments.exporter
    release = find_release(arguments.triton)
    checkpoint = load_checkpoint(name)
    if arguments.if_changed and is_up_to_date(checkpoint, repository_folder(), exporter, release):
        OUT.print(f"{checkpoint.recipe.name()}: up to date")
        return True
    started = time.perf_counter()
    try:
        with OUT.status(checkpoint.recipe.name()) as status:
            results = export_checkpoint(checkpoint, exporter, status.update, release)
    except ProofFailed as failed:
        print_failure(OUT, failed)
        ERR.print(f"[red]error:[/] {escape(str(failed))}")
        return False
    for exported in results:
        print_exported(OUT, exported, time.perf_counter() - started)
    return True


def _export_variant(name: str, arguments: argparse.Namespace) -> bool:
    from export.commands.tables import print_failure
    from export.precision.gate import PrecisionRefused
    from export.precision.table import print_tries, print_variant
    from export.precision.target import this_machine
    from export.precision.variant import export_variant, is_variant_up_to_date
    from export.publication.pipeline import ProofFailed, repository_folder
    from serving.onnx_files.releases import find_release
    from training.checkpoints.checkpoint import load_checkpoint

    exporter = None if arguments.exporter == "auto" else arguments.exporter
    target = arguments.target or this_machine()
    checkpoint = load_checkpoint(name)
    release = find_release(arguments.triton)
    wanted = (checkpoint, arguments.precision, target, arguments.next_version, exporter)
    if arguments.if_changed and is_variant_up_to_date(*wanted, repository_folder(), release):
        OUT.print(f"{checkpoint.recipe.name()} {arguments.precision}: up to date")
        return True
    started = time.perf_counter()
    try:
        with OUT.status(checkpoint.recipe.name()) as status:
            variant = export_variant(*wanted, status.update, release)
    except (ProofFailed, PrecisionRefused) as failed:
        if isinstance(failed, PrecisionRefused):
            print_tries(OUT, checkpoint.recipe.name(), failed.tries)
        else:
            print_failure(OUT, failed)
        ERR.print(f"[red]error:[/] {escape(str(failed))}")
        return False
    print_variant(OUT, variant, time.perf_counter() - started)
    return True


if __name__ == "__main__":
    sys.exit(main())
