"""BentoML: a batchable API a model, arrays as JSON.

python -m bentoml serve tests.bench.serving.peers.bentoml_service:Classifier
"""

import bentoml
import numpy as np

from tests.bench.serving.peers.sessions import MAX_BATCH, MODELS, WORKERS, open_session


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Classifier:
    """Every model has a route; one that is not in MODELS is not asked for."""

    def __init__(self) -> None:
        self.runs = {model: open_session(model) for model in MODELS}

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def cnn(self, image: np.ndarray) -> np.ndarray:
        return self.runs["cnn"](image.astype(np.uint8))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def resnet(self, image: np.ndarray) -> np.ndarray:
        return self.runs["resnet"](image.astype(np.uint8))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def resnet_int8(self, image: np.ndarray) -> np.ndarray:
        return self.runs["resnet_int8"](image.astype(np.uint8))
