"""The notice of a trial: a small model on the server, `MODEL-rollout`, that tells clients of a candidate and takes what
they saw of it.

Clients read no repository, and what they reach is the server, perhaps through a proxy: so what they are told is a
model's configuration, and what they say is a request to it, over the protocol that they speak anyway. Plain clients
never ask for it.

    parameters   `candidate` (under which name it is served), `canary_share` of requests that are for it, `shadow_share`
                 of which it gets a copy, `tolerances` (JSON: dtype -> absolute, relative), `trial` (tells trials apart)
    rows         FP64 [-1, 4], a row a request: candidate (1) or live version (0); answered (0), failed (1), or a copy
                 that was dropped (2); seconds; whether the answer differs from the live version's (1) or not (0)
    take         BOOL [1]: whether to give out, and forget, all rows so far
    taken        FP64 [-1, 4], those rows
    attended     BOOL [1]: whether somebody still takes them
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup
from tritonclient.utils import InferenceServerException

from conch.contracts.comparison import Tolerances
from conch.contracts.live import CONFIG
from serving.errors import ServingError
from serving.repository.configuration import render
from serving.rollout.judgement import Side
from serving.server.model_views import NOTICE, remove_view

TAKE_SECONDS = 5.0
ANSWERED, FAILED, DROPPED = 0, 1, 2


@dataclass
class Seen:
    """What clients saw so far."""

    live: Side = field(default_factory=Side)
    candidate: Side = field(default_factory=Side)
    differing: int = 0
    dropped: int = 0

    def add(self, rows: np.ndarray) -> None:
        """Rows [n, 4] as above; what makes no sense is left out."""
        for of_candidate, outcome, seconds, differs in rows.tolist():
            side = self.candidate if of_candidate == 1 else self.live
            if outcome == DROPPED:
                self.dropped += 1
            elif outcome == FAILED:
                side.failed += 1
            elif outcome == ANSWERED and 0 <= seconds < np.inf:
                side.seconds.append(seconds)
                self.differing += differs == 1


def write_notice(models: Path, model: str, candidate: str, shares: Mapping[str, float], tolerances: Tolerances) -> str:
    """Put the notice among the server's models; `shares` are `canary` and `shadow`. The name to load is returned.

    Raises:
        OSError: It cannot be written.
    """
    name = f"{model}{NOTICE}"
    config = ModelConfig(name=name, backend="python", max_batch_size=0)
    for entries, tensors in (
        (config.input, {"rows": ("TYPE_FP64", [-1, 4]), "take": ("TYPE_BOOL", [1])}),
        (config.output, {"taken": ("TYPE_FP64", [-1, 4]), "attended": ("TYPE_BOOL", [1])}),
    ):
        for tensor, (kind, dims) in tensors.items():
            entries.add(name=tensor, data_type=kind, dims=dims)
    config.instance_group.add(count=1, kind=ModelInstanceGroup.KIND_CPU)
    parameters = {
        "candidate": candidate,
        **{f"{what}_share": f"{share:g}" for what, share in shares.items()},
        "tolerances": json.dumps(tolerances),
        "trial": secrets.token_hex(8),
    }
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    view = models / name
    remove_view(view)
    (view / "1").mkdir(parents=True)
    (view / CONFIG).write_text(render(config), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("notice_model.py"), view / "1" / "model.py")
    return name


class Desk:
    """Takes from the notice `name`, on the gRPC service at `address`, what clients brought."""

    def __init__(self, address: str, name: str) -> None:
        self._client = InferenceServerClient(address, channel_args=[("grpc.enable_http_proxy", 0)])
        self._name = name

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def take(self) -> np.ndarray:
        """The rows [n, 4] since the last time. Raises ServingError."""
        rows, take = InferInput("rows", [0, 4], "FP64"), InferInput("take", [1], "BOOL")
        rows.set_data_from_numpy(np.empty((0, 4)))
        take.set_data_from_numpy(np.array([True]))
        try:
            answer = self._client.infer(self._name, [rows, take], client_timeout=TAKE_SECONDS)
        except InferenceServerException as error:
            raise ServingError(f"the server does not say what clients saw: {error.message()}") from error
        taken = answer.as_numpy("taken")
        return np.empty((0, 4)) if taken is None else taken
