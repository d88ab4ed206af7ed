"""LitServe: a LitAPI a model with batching, JSON in and out.

python -m tests.bench.serving.peers.litserve_server PORT
"""

import sys
from typing import Any

import litserve
import numpy as np

from tests.bench.serving.peers.sessions import (
    MAX_BATCH,
    MODELS,
    QUEUE_DELAY_MICROSECONDS,
    SHAPE,
    WORKERS,
    Run,
    open_session,
)


class Classifier(litserve.LitAPI):
    """One model at /<model>."""

    run: Run

    def setup(self, device: str) -> None:
        self.run = open_session(self.api_path.strip("/"))

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.asarray(request["image"], np.uint8).reshape(SHAPE)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.run(inputs)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"probabilities": output.tolist()}


def main() -> None:
    apis = [
        Classifier(max_batch_size=MAX_BATCH, batch_timeout=QUEUE_DELAY_MICROSECONDS / 1e6, api_path=f"/{model}")
        for model in MODELS
    ]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
