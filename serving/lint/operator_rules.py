"""Rules about what ONNX Runtime, in the Triton release that is to serve a model, computes."""

from collections import Counter
from collections.abc import Iterator

import onnx
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder
from serving.onnx_files.kernel_attributes import first_version, said_attributes
from serving.onnx_files.kernels import Kernels, kernels_of
from serving.onnx_files.operator_uses import Use
from serving.onnx_files.releases import ONNX_RUNTIME, find_release, newest_opset


@rule("operator-without-kernel", "error", publishable=True)
def operator_without_kernel(model: ModelFolder) -> Iterator[Found]:
    """The ONNX Runtime of the Triton release does not compute an operator in these types: the model does not load."""
    if not _on_cpu(model.config):
        return  # other execution providers have kernels of their own
    release = model.release
    kernels = kernels_of(release.onnx_runtime)
    for version, found in model.graphs.items():
        if newest_opset(found.model) > release.newest_opset:
            continue  # the rule opset-too-new has it
        lacking = kernels.lacking(found.model)
        for what, count in Counter(map(_said, lacking)).items():
            use = next(use for use in lacking if _said(use) == what)
            yield Found(
                str(model.model_file(version).relative_to(model.path)),
                f"{_said(use)}, node {use.name!r}" + (f" and {count - 1} more" if count > 1 else ""),
                f"what ONNX Runtime {release.onnx_runtime} of Triton {release.name} computes on a CPU"
                + _computed(kernels, use),
                _advice(found.model, release.name),
            )


def _on_cpu(config: ModelConfig) -> bool:
    """Whether ONNX Runtime's CPU provider has to compute all that is left to it."""
    groups = [group.kind for group in config.instance_group]
    only_gpu = groups and all(kind == ModelInstanceGroup.Kind.KIND_GPU for kind in groups)
    return not only_gpu and not config.optimization.execution_accelerators.cpu_execution_accelerator


def _said(use: Use) -> str:
    attributes = said_attributes(use)
    return f"{use.operator} of opset {use.opset} in {', '.join(use.types) or 'no type'}" + (
        f" ({attributes})" if attributes else ""
    )


def _computed(kernels: Kernels, use: Use) -> str:
    """What of the operator is computed, where anything is."""
    if (first := first_version(use)) > kernels.version:
        return f", those attributes from {'.'.join(map(str, first))} on"
    types = " or ".join(kernels.types(use))
    return f": {types}" if types else ""


def _advice(model: onnx.ModelProto, release: str) -> str:
    """The next release that computes all of it, or to export it otherwise."""
    later = list(ONNX_RUNTIME)[list(ONNX_RUNTIME).index(release) + 1 :]
    needed = newest_opset(model)
    for name in later:
        if find_release(name).newest_opset >= needed and not kernels_of(ONNX_RUNTIME[name]).lacking(model):
            return f"serve it with Triton {name} or later, or export it in other types or operators"
    return "export it in other types or operators; no release that is known computes it"
