"""Whether the classes of an output may be asked for: those of text end Triton with SIGFPE (2.51).

It is asked for each such request anew, for another version may be live at any time.
"""

from collections.abc import Iterable

import grpc
from tritonclient.grpc import service_pb2

from serving.guard.routes import SERVICE
from serving.guard.tensors import TEXT, Refusal

SECONDS = 5.0


class TextOutputs:
    """What the server behind `channel` says of its models."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._metadata = channel.unary_unary(
            f"/{SERVICE}/ModelMetadata",
            request_serializer=service_pb2.ModelMetadataRequest.SerializeToString,
            response_deserializer=service_pb2.ModelMetadataResponse.FromString,
        )

    async def check(self, model: str, version: str, outputs: Iterable[str]) -> None:
        """Raise a `Refusal` where one of `outputs` is text, or the server knows nothing of the model."""
        try:
            known = await self._metadata(service_pb2.ModelMetadataRequest(name=model, version=version), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Refusal(f"model {model!r}: {error.details()}") from None
        texts = {output.name for output in known.outputs if output.datatype == TEXT}
        if found := texts & set(outputs):
            raise Refusal(f"output {min(found)!r} of model {model!r} is text, which has no classes")
