"""Write cpu_kernels.tsv: which kernels each version of ONNX Runtime says it has. For who adds a Triton release.

    pip download --no-deps --dest wheels onnxruntime==1.28.0
    python -m serving.onnx_files.record_kernels wheels/*.whl

of the versions in `releases.ONNX_RUNTIME`. Nothing is installed: each is unpacked and asked in a process of its own. It
is what ONNX Runtime's docs/OperatorKernels.md is made from (its tools/python/gen_opkernel_doc.py), there of the
development branch, here of releases, for Linux on x86-64.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from serving.onnx_files.kernels import ANY, FILE

ASK = """
import json
from onnxruntime import __version__
from onnxruntime.capi import onnxruntime_pybind11_state as own

def places(parameters):
    return [[parameter.typeStr, parameter.name, parameter.option.name] for parameter in parameters]

print(json.dumps({
    "version": __version__,
    "schemas": [[s.domain, s.name, s.since_version, places(s.inputs), places(s.outputs)]
                for s in own.get_all_operator_schema()],
    "kernels": [[k.domain, k.op_name, *k.version_range, k.type_constraints]
                for k in own.get_all_opkernel_def() if k.provider == "CPUExecutionProvider"],
}))
"""
# What ONNX Runtime rewrites graphs into; no file has them.
INTERNAL = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
OPEN_END = 2**31 - 1

HEAD = """\
# The kernels of ONNX Runtime's CPU provider on x86-64, as each version tells them (record_kernels.py).
# Source: onnxruntime wheels, get_all_opkernel_def() and get_all_operator_schema(). MIT licence, (c) Microsoft.
# domain, operator, opsets that define it, first version, last version (none: to the newest), kernels: types by place
# versions {}
"""

Kernel = dict[str, frozenset[str]]


def main(wheels: Sequence[Path]) -> None:
    """Ask each wheel, and write what they have."""
    told = []
    for wheel in wheels:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as file:
            file.extractall(folder)
            told.append(ask(folder))
    FILE.write_text(recorded(told), encoding="utf-8")


def ask(folder: str) -> Any:
    """What the package `onnxruntime` in `folder` tells of itself."""
    environment = {"PYTHONPATH": folder, "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", ASK]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def recorded(told: Sequence[Any]) -> str:
    """The file that `kernels.read` reads, of what one or more versions tell."""
    in_order = sorted(told, key=lambda one: _numbers(one["version"]))
    by_version = {one["version"]: _kernels(one) for one in in_order}
    return HEAD.format(" ".join(by_version)) + "".join(_lines(by_version))


def _kernels(told: Any) -> dict[tuple[str, str, int], str]:
    """(domain, operator, opset that defines it) -> its kernels as text; none where it has none."""
    by_operator = defaultdict(list)
    for domain, operator, first, last, types in told["kernels"]:
        by_operator[domain, operator].append((first, last, types))
    found = {}
    for domain, operator, since, inputs, outputs in told["schemas"]:
        if domain in INTERNAL:
            continue
        kernels = [
            _by_place(types, inputs, outputs)
            for first, last, types in by_operator[domain, operator]
            if first == since or (first < since <= last < OPEN_END)
        ]
        found[domain or "ai.onnx", operator, since] = "\t".join(sorted(map(_text, _merged(kernels))))
    return found


def _by_place(types: dict[str, list[str]], inputs: Any, outputs: Any) -> Kernel:
    """A kernel's types by where they are: the first of the places with that type that a node has decides."""
    kernel = {}
    for name, allowed in types.items():
        places = [
            (f"{kind}{number}", option)
            for kind, parameters in (("in", inputs), ("out", outputs))
            for number, (type_name, own_name, option) in enumerate(parameters)
            if name in (type_name, own_name)
        ]
        certain = next((i for i, (_, option) in enumerate(places) if option == "Single"), len(places) - 1)
        kernel["|".join(place for place, _ in places[: certain + 1])] = frozenset(map(_short, allowed))
    return kernel


def _merged(kernels: list[Kernel]) -> list[Kernel]:
    """The same with fewer kernels: those that differ in one place are one."""
    for one, other in combinations(kernels, 2):
        if one.keys() == other.keys() and sum(one[place] != other[place] for place in one) <= 1:
            rest = [kernel for kernel in kernels if kernel is not one and kernel is not other]
            return _merged([*rest, {place: one[place] | other[place] for place in one}])
    return kernels


def _lines(by_version: dict[str, dict[tuple[str, str, int], str]]) -> Iterable[str]:
    """A line for equal kernels of successive versions, with the opsets that have them."""
    versions = list(by_version)
    opsets = defaultdict(list)
    for domain, operator, since in sorted({key for found in by_version.values() for key in found}):
        runs: list[list[str]] = []
        for before, version in zip([None, *versions], versions, strict=False):
            kernels = by_version[version].get((domain, operator, since))
            if kernels is None:
                continue
            if runs and runs[-1][1] == before and runs[-1][2] == kernels:
                runs[-1][1] = version
            else:
                runs.append([version, version, kernels])
        for first, last, kernels in runs:
            opsets[domain, operator, first, "" if last == versions[-1] else last, kernels].append(since)
    for (domain, operator, first, last, kernels), numbers in opsets.items():
        yield (
            "\t".join((domain, operator, " ".join(map(str, numbers)), first, last, *([kernels] if kernels else [])))
            + "\n"
        )


def _text(kernel: Kernel) -> str:
    return "; ".join(f"{place} = {' '.join(sorted(types))}" for place, types in sorted(kernel.items())) or ANY


def _short(name: str) -> str:
    return re.sub(r"\btensor\((\w+)\)", r"\1", name)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
