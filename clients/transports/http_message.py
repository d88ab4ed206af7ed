"""KServe v2 over HTTP, as bytes: Triton's binary tensors behind a JSON header.

The body is byte for byte what `tritonclient.http.InferenceServerClient.generate_request_body` makes, whose module
cannot be imported without gevent. Sources: docs/protocol of triton-inference-server/server.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from clients.calls import Answer, Inference, Inferred, MemoryRequest, Question, Sending
from clients.errors import ClientError, Overloaded, Refused
from clients.tensors import from_raw, kserve_dtype, raw
from clients.transports import trust
from clients.transports.transport import NOT_READY, broken, foreign, late, not_ready, unauthorized

JSON_LENGTH = "Inference-Header-Content-Length"
_COMPACT = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class HttpRequest:
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = None

    def head(self, host: str) -> bytes:
        """All before the body, for a connection to `host` that is kept. By http.client, which takes a step for each
        header, it would be some hundredths of a small call.

        Raises ClientError for a header that would be more than one.
        """
        length = {} if self.body is None else {"Content-Length": str(len(self.body))}
        headers = {"Host": host, "Accept-Encoding": "identity", **length, **self.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if not text.isascii() or text.count("\n") != len(headers) or text.count("\r") != len(headers):
            raise ClientError(f"headers must be ASCII, each on one line; they are: {', '.join(headers)}")
        return f"{self.method} {self.path} HTTP/1.1\r\n{text}\r\n".encode()


def written(sending: Sending) -> HttpRequest:
    """The request to send."""
    _, slash, base = quote(sending.address.target, safe="/%:[]").partition("/")
    request = sending.request
    if isinstance(request, Question):
        method, path = _question(request)
        return HttpRequest(method, slash + base + path, sending.headers, b"" if method == "POST" else None)
    if isinstance(request, MemoryRequest):
        method, path, document = _of_memory(request)
        return HttpRequest(method, slash + base + path, sending.headers, document)
    body, json_length = _body(request, sending.deadline.left())
    path = f"{slash}{base}{_model(request.model, request.version)}/infer"
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(json_length)}
    return HttpRequest("POST", path, headers | dict(sending.headers), body)


def json_length(header: str | None) -> int | None:
    """How much of an answer's body is JSON, where tensors are behind it; `header` is that of this name.

    Read by themselves, tensors begin where memory is aligned, and need not be copied.
    """
    return int(header) if header is not None and header.isdecimal() else None


def read(sending: Sending, status: int, body: bytes, tensors: bytes = b"") -> Answer | ClientError:
    """What the answer means: `body`, and the tensors behind what of it is JSON."""
    request = sending.request
    try:
        if status == 400 and b"SSL certificate" in body:  # nginx, over a connection that it let be made
            return trust.wants_certificate(sending)
        if status == 400 and b"HTTPS" in body and not sending.address.tls:  # nginx, Go, Apache
            return trust.wants_tls(sending)
        if isinstance(request, Question) and request.about == "ready" and status in (200, 400):
            return {"ready": status == 200}
        if status != 200:
            return _refusal(sending, status, body)
        if isinstance(request, Question):
            return json.loads(body)
        if isinstance(request, MemoryRequest):
            return [region["name"] for region in json.loads(body)] if request.about == "regions" else {}
        return _inferred(request, body, memoryview(tensors))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):  # whatever garbage makes of itself
        return foreign(sending)


def _question(request: Question) -> tuple[str, str]:
    if request.about == "server":
        return "GET", "/v2"
    if request.about == "ready":
        return "GET", "/v2/health/ready"
    if request.about == "index":
        return "POST", "/v2/repository/index"
    if request.about == "statistics":
        return "GET", "/v2/models/stats"
    return "GET", _model(request.model, request.version) + ("/config" if request.about == "config" else "")


def _of_memory(request: MemoryRequest) -> tuple[str, str, bytes | None]:
    path = f"/v2/{request.kind}sharedmemory"
    if request.about == "regions":
        return "GET", f"{path}/status", None
    path = f"{path}/region/{quote(request.name, safe='')}/{request.about}"
    if request.about == "unregister":
        return "POST", path, b""
    document: dict[str, Any] = {"byte_size": request.size}
    if request.kind == "cuda":
        document |= {"raw_handle": {"b64": base64.b64encode(request.handle).decode()}, "device_id": 0}
    else:
        document |= {"key": f"/{request.name}", "offset": 0}
    return "POST", path, _COMPACT.encode(document).encode()


def _model(model: str, version: str) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _body(request: Inference, seconds: float) -> tuple[bytes, int]:
    """The body, and how much of it is JSON."""
    data = {name: raw(array) for name, array in request.inputs.items() if name not in request.inputs_in}
    inputs_in, outputs_in = request.inputs_in, request.outputs_in
    document: dict[str, Any] = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": kserve_dtype(array),
                "parameters": {"binary_data_size": len(data[name])} if name in data else inputs_in[name].parameters(),
            }
            for name, array in request.inputs.items()
        ],
        "outputs": [
            {"name": name, "parameters": ({"classification": classes} if classes else {}) | {"binary_data": True}}
            if name not in outputs_in
            else {"name": name, "parameters": outputs_in[name].parameters()}
            for name, classes in request.outputs.items()
        ],
        "parameters": parameters(request, seconds),
    }
    header = _COMPACT.encode(document).encode()
    return b"".join([header, *data.values()]), len(header)


def parameters(request: Inference, seconds: float) -> dict[str, Any]:
    """Of the request. `timeout`, in microseconds, is how long it may wait in a queue whose policy lets requests say so
    (`allow_timeout_override`); others pay it no heed."""
    found: dict[str, Any] = {}
    if (step := request.step) is not None:
        found = {"sequence_id": step.id, "sequence_start": step.start, "sequence_end": step.end}
    if request.priority:
        found["priority"] = request.priority
    return found | {"timeout": max(1, int(seconds * 1e6))}


def _inferred(request: Inference, body: bytes, tensors: memoryview) -> Inferred:
    document = json.loads(body)
    outputs, start = {}, 0
    for output in document["outputs"]:
        if (window := request.outputs_in.get(output["name"])) is not None:
            outputs[output["name"]] = window.array(output["datatype"], output["shape"])
            continue
        size = output["parameters"]["binary_data_size"]
        outputs[output["name"]] = from_raw(tensors[start : start + size], output["datatype"], output["shape"])
        start += size
    if start != len(tensors):
        raise ValueError("bytes that belong to no output")
    return Inferred({name: outputs[name] for name in request.outputs}, document.get("model_version", ""))


def _refusal(sending: Sending, status: int, body: bytes) -> ClientError:
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        said = None  # not the server's own words: a proxy's, perhaps
    if status in (429, 503):
        reason = said or f"HTTP {status} without a reason"
        if NOT_READY in reason:
            return not_ready(reason, str(status))
        return Overloaded(
            f"{sending.address} has no room for the request now: {reason}; send less, or later", str(status)
        )
    if status in (408, 504):
        return late(sending) if status == 408 else broken(sending, "a proxy got no answer in time: HTTP 504")
    if status == 502:
        return broken(sending, "a proxy got no answer: HTTP 502")
    if said is None and status == 404 and not body:
        return Refused("not found", str(status))
    if status in (401, 403):
        return unauthorized(sending, said or f"HTTP {status}", str(status))
    if said is None and status == 413:
        return Refused(f"{sending.address} takes no request of this size: HTTP 413; send fewer items", str(status))
    if said is None:
        return foreign(sending)
    return Refused(str(said), str(status))
