"""PyTriton: `@batch` around the call, two instances, Triton's dynamic batching.

python -m tests.bench.serving.peers.pytriton_server HTTP_PORT GRPC_PORT METRICS_PORT
"""

import signal
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from tests.bench.serving.peers.sessions import (
    MAX_BATCH,
    MODELS,
    QUEUE_DELAY_MICROSECONDS,
    SHAPE,
    WORKERS,
    Run,
    open_session,
)


def served(run: Run) -> object:
    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": run(image)}

    return infer


def main() -> None:
    # It cleans up on Ctrl-C only; what it has in shared memory would be left by any other end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    http, grpc, metrics = (int(port) for port in sys.argv[1:])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc,
        metrics_address="127.0.0.1", metrics_port=metrics,
    )  # fmt: skip
    batcher = DynamicBatcher(max_queue_delay_microseconds=QUEUE_DELAY_MICROSECONDS)
    with Triton(config=config) as triton:
        for model in MODELS:
            triton.bind(
                model_name=model,
                infer_func=[served(open_session(model)) for _ in range(WORKERS)],
                inputs=[Tensor(name="image", dtype=np.uint8, shape=SHAPE)],
                outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(-1,))],
                config=ModelConfig(max_batch_size=MAX_BATCH, batcher=batcher),
                strict=False,
            )
        triton.serve()


if __name__ == "__main__":
    main()
