"""Which operators ONNX Runtime computes on a CPU, in which types: the kernels of each version that Triton ships.

They stand in cpu_kernels.tsv, which `record_kernels` writes from what each version says of itself. How ONNX Runtime
finds a node's kernel: core/framework/kernel_registry.cc (VerifyKernelDef), core/framework/kernel_type_str_resolver.cc.
What has none is computed otherwise where it can be: an operator that ONNX defines by others is written out
(core/framework/graph_partitioner.cc), float16 becomes float (core/optimizer/insert_cast_transformer.cc).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import onnx

from serving.onnx_files.kernel_attributes import Version, first_version
from serving.onnx_files.operator_uses import UNKNOWN, Use, operator_uses, written_out

FILE = Path(__file__).with_name("cpu_kernels.tsv")

Kernel = Mapping[str, frozenset[str]]
"""The types of each place, such as `in0`, or `in2|out0`: the first of these that a node has."""

ANY = "any"
"""A kernel that asks for no type."""


@dataclass(frozen=True)
class Kernels:
    """The kernels of one version of ONNX Runtime."""

    by_operator: Mapping[tuple[str, str], Mapping[int, Sequence[Kernel]]]
    """(domain, operator) -> the opset that defined it anew -> its kernels, none where it has none."""
    version: Version
    """Major and minor."""

    def lacking(self, model: onnx.ModelProto) -> list[Use]:
        """The nodes of `model` that this version computes in no way; a type that is not known counts as right."""
        return [use for use in operator_uses(model) if not self._computes(use)]

    def _computes(self, use: Use) -> bool:
        if use.domain not in self.domains or use.operator == "Constant":
            return True  # a constant becomes an initializer
        if first_version(use) > self.version:
            return False
        if self._has(use):
            return True
        if _is_function(use):
            parts = written_out(use)  # what cannot be said here, ONNX Runtime may well know
            return parts is None or not self.lacking(parts)
        return self._has(_in_float(use))

    @cached_property
    def domains(self) -> frozenset[str]:
        """Those of ONNX Runtime's own operators; what a library adds is not known here."""
        return frozenset(domain for domain, _ in self.by_operator)

    def _has(self, use: Use) -> bool:
        return any(all(_taken(use, *entry) for entry in kernel.items()) for kernel in self._kernels(use))

    def types(self, use: Use) -> list[str]:
        """What the operator of `use` is computed in, a text a kernel, such as "double, float"; none where it is not."""
        return ["; ".join(", ".join(sorted(types)) for types in kernel.values()) for kernel in self._kernels(use)]

    def _kernels(self, use: Use) -> Sequence[Kernel]:
        versions = self.by_operator.get((use.domain, use.operator), {})
        defined = [since for since in versions if since <= use.opset]
        return versions[max(defined)] if defined else ()


def _taken(use: Use, places: str, types: frozenset[str]) -> bool:
    for place in places.split("|"):
        kind, number = (use.inputs, place[2:]) if place.startswith("in") else (use.outputs, place[3:])
        found = kind[int(number)] if int(number) < len(kind) else None
        if found is not None:
            return UNKNOWN in found or found in types
    return True


def _in_float(use: Use) -> Use:
    def single(kinds: tuple[str | None, ...]) -> tuple[str | None, ...]:
        return tuple("float" if kind == "float16" else kind for kind in kinds)

    return replace(use, inputs=single(use.inputs), outputs=single(use.outputs)) if "float16" in use.inputs else use


def _is_function(use: Use) -> bool:
    domain = "" if use.domain == "ai.onnx" else use.domain
    try:
        schema: Any = onnx.defs.get_schema(use.operator, use.opset, domain)
    except onnx.defs.SchemaError:
        return False
    # A definition in operators of a later opset is not used (core/graph/graph.cc, Node::TryGetFunctionProto).
    return schema.since_version in schema.all_function_opset_versions


@cache
def kernels_of(onnx_runtime: str) -> Kernels:
    """The kernels of an ONNX Runtime of `releases.ONNX_RUNTIME`."""
    return read(FILE.read_text(encoding="utf-8"), onnx_runtime)


def read(text: str, onnx_runtime: str) -> Kernels:
    """The kernels of one version in what `record_kernels` wrote; of its first patch where it names none, as "1.27"."""
    head, lines = text.split("\n# versions ")[1].split("\n", 1)
    versions = head.split()
    place = next(i for i, version in enumerate(versions) if f"{version}.".startswith(f"{onnx_runtime}."))
    found: dict[tuple[str, str], dict[int, Sequence[Kernel]]] = {}
    for line in lines.splitlines():
        domain, operator, opsets, first, last, *kernels = line.split("\t")
        if versions.index(first) <= place <= versions.index(last or versions[-1]):
            for opset in opsets.split():
                found.setdefault((domain, operator), {})[int(opset)] = [_kernel(kernel) for kernel in kernels]
    major, minor = onnx_runtime.split(".")[:2]
    return Kernels(found, (int(major), int(minor)))


def _kernel(text: str) -> Kernel:
    entries = text.split("; ") if text != ANY else ()
    return {place: frozenset(types.split()) for place, types in (entry.split(" = ") for entry in entries)}
