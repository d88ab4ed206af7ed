"""What is open to whom: paths of HTTP and methods of gRPC, by what they are for.

Sources: Triton's protocol extensions (triton-inference-server/server docs/protocol), KServe's open inference protocol.
"""

from dataclasses import dataclass

MODEL = "/v2/models/[A-Za-z0-9_.-]+(/versions/[0-9]+)?"
SERVICE = "inference.GRPCInferenceService"
INFERENCE = frozenset({f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"})
STREAM = f"/{SERVICE}/ModelStreamInfer"


@dataclass(frozen=True)
class Routes:
    """Those of one purpose: regular expressions of paths by HTTP's method, and names of gRPC's methods with service."""

    get: tuple[str, ...] = ()
    post: tuple[str, ...] = ()
    grpc: tuple[str, ...] = ()


def _inference(*names: str) -> tuple[str, ...]:
    return tuple(f"/{SERVICE}/{name}" for name in names)


HEALTH = Routes(
    get=("/v2/health/(live|ready)",),
    grpc=(*_inference("ServerLive", "ServerReady"), "/grpc.health.v1.Health/Check"),
)
"""Whether the server is there: open without a token, for load balancers have none."""

USE = Routes(
    get=("/v2/?", "/v2/models/stats", f"{MODEL}(/(ready|config|stats))?"),
    post=(f"{MODEL}/infer", "/v2/repository/index"),
    grpc=_inference(
        "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex",
        "ModelInfer", "ModelStreamInfer",
    ),
)  # fmt: skip
"""Inference, and what clients read to be able to ask for it."""

CONTROL = {
    "repository": Routes(
        post=("/v2/repository/models/[A-Za-z0-9_.-]+/(load|unload)",),
        grpc=_inference("RepositoryModelLoad", "RepositoryModelUnload"),
    ),
    "shared-memory": Routes(
        get=("/v2/(system|cuda)sharedmemory(/region/[A-Za-z0-9_.-]+)?/status",),
        post=(
            "/v2/(system|cuda)sharedmemory/region/[A-Za-z0-9_.-]+/(register|unregister)",
            "/v2/(system|cuda)sharedmemory/unregister",
        ),
        grpc=_inference(
            "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
            "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister",
        ),
    ),
    "trace": Routes(
        get=(f"({MODEL}|/v2)/trace/setting",), post=(f"({MODEL}|/v2)/trace/setting",), grpc=_inference("TraceSetting")
    ),
    "log": Routes(get=("/v2/logging",), post=("/v2/logging",), grpc=_inference("LogSettings")),
}  # fmt: skip
"""Shut unless opened by name, and then for those with a control token."""
