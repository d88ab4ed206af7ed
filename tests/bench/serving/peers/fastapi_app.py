"""FastAPI: the image as raw bytes in the body, the probabilities as raw bytes in the answer; no batching.

python -m uvicorn tests.bench.serving.peers.fastapi_app:app --workers 2
"""

import numpy as np
from fastapi import FastAPI, Request, Response

from tests.bench.serving.peers.sessions import MODELS, SHAPE, open_session

app = FastAPI()
RUNS = {model: open_session(model) for model in MODELS}


@app.post("/{model}")
async def infer(model: str, request: Request) -> Response:
    image = np.frombuffer(await request.body(), np.uint8).reshape(1, *SHAPE)
    return Response(RUNS[model](image).tobytes(), media_type="application/octet-stream")


@app.get("/ready")
async def ready() -> str:
    return "ready"
