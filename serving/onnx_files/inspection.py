"""Read an ONNX file of unknown origin and refuse what must not be served, before anything of it is run or copied.

ONNX Runtime finds most of this too, but only some of it in words that name the cause, and not every release that may
serve the file checks where external data lie (onnxruntime pull request 26776).
"""

import graphlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from serving.errors import ServingError
from serving.onnx_files.custom_operators import DOMAINS, installed_library
from serving.onnx_files.external_data import Tensors, check_external_data

# Protobuf cannot read a message of 2 GiB or more; ONNX keeps larger weights in other files.
LARGEST_FILE = 2**31 - 1

# The operators that ONNX Runtime brings along, on its own and inside NVIDIA's backend.
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@dataclass(frozen=True)
class Inspected:
    """An ONNX model that passed: its graph without external data, and the files those are in."""

    model: onnx.ModelProto
    external: tuple[str, ...]
    """Paths of the external data files, relative to the model's folder, sorted."""


def inspect_onnx(onnx_file: Path, name: str) -> Inspected:
    """Read `onnx_file`, to be served as `name`, and check all that can be checked without running it.

    Raises:
        ServingError: The file is missing, empty, truncated, too large or no ONNX model; operators of an unknown
            domain; two tensors of one name; a cycle; external data outside the model's folder, missing or too short.
    """
    where = f"model {name!r}: {onnx_file}"
    model = _read(onnx_file, where)
    if not model.graph.output:
        raise ServingError(f"{where} has no outputs, it is no ONNX model")
    if not model.opset_import:
        raise ServingError(f"{where} names no operator set, it is damaged or truncated; copy or export it again")
    _check_domains(model, where)
    _check_graph(model.graph, where)
    return Inspected(model, check_external_data(_tensors(model), onnx_file.parent, where))


def _read(onnx_file: Path, where: str) -> onnx.ModelProto:
    try:
        if not onnx_file.is_file():
            raise ServingError(f"{where}: there is no ONNX file of that name")
        size = onnx_file.stat().st_size
        if size == 0:
            raise ServingError(f"{where} is empty")
        if size > LARGEST_FILE:
            raise ServingError(
                f"{where} has {size:,} bytes, an ONNX file has at most {LARGEST_FILE:,} (protobuf's limit); "
                "save it with external data: onnx.save(model, path, save_as_external_data=True)"
            )
        return onnx.load_model_from_string(onnx_file.read_bytes())
    except (DecodeError, OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = " ".join(str(error).split())
        raise ServingError(
            f"{where} is no readable ONNX file ({reason}); it is damaged, truncated or of another format"
        ) from error


def _check_domains(model: onnx.ModelProto, where: str) -> None:
    own = {function.domain for function in model.functions}  # functions that the file itself defines
    known = (*KNOWN_DOMAINS, *(DOMAINS if installed_library() else ()))
    for graph in graphs_of(model.graph, *model.functions):
        for node in graph.node:
            if node.domain not in known and node.domain not in own:
                allowed = ", ".join(domain or '""' for domain in KNOWN_DOMAINS)
                hint = ", or pip install onnxruntime-extensions, which has these" if node.domain in DOMAINS else ""
                raise ServingError(
                    f"{where}: node {node.name!r} is {node.op_type} of the domain {node.domain!r}, which ONNX Runtime "
                    f"does not have (allowed are {allowed}); export it again without custom operators{hint}"
                )


def _check_graph(graph: onnx.GraphProto, where: str) -> None:
    """Each tensor of the main graph is named, made once, and made before it is needed in some order of the nodes."""
    for kind, values in (("input", graph.input), ("output", graph.output)):
        if any(not value.name for value in values):
            raise ServingError(f"{where}: an {kind} has no name, requests could not name it")
    initialized = [tensor.name for tensor in graph.initializer]
    # Up to IR 3 an initializer is an input as well: the same tensor, not a second one of its name.
    given = [value.name for value in graph.input if value.name not in initialized]
    makers = [(output, index) for index, node in enumerate(graph.node) for output in node.output if output]
    _refuse_twins([*given, *initialized, *(output for output, _ in makers)], where)
    _refuse_twins([value.name for value in graph.output], where)
    made_by = dict(makers)
    needs = {index: {made_by[i] for i in node.input if i in made_by} for index, node in enumerate(graph.node)}
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        nodes = " -> ".join(graph.node[i].name or graph.node[i].op_type for i in reversed(error.args[1][:6]))
        raise ServingError(f"{where}: the graph has a cycle: {nodes}") from error


def _refuse_twins(names: list[str], where: str) -> None:
    counts = Counter(names)
    for name, count in counts.items():
        if count > 1:
            raise ServingError(f"{where}: {count} tensors have the name {name!r}; export it again with a name for each")


def graphs_of(*outermost: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Graphs and bodies of functions, and all graphs inside their nodes."""
    waiting = [*outermost]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _tensors(model: onnx.ModelProto) -> Tensors:
    """Every tensor that may keep its values in another file."""
    for graph in graphs_of(model.graph, *model.functions):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
