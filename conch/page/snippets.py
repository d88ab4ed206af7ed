"""A call as code that runs as it stands: curl, tritonclient, Conch's client, and that for asyncio.

Few numbers stand in the code itself; for many it reads a file, which the page gives beside it (`files`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.access import Door
from clients.address import Address
from clients.certificates import Certificates
from clients.credentials import AUTHORIZATION
from clients.signature import Metadata, TensorSpec
from clients.strings import readable
from clients.tensors import raw

MOST_INLINE = 32
"""Numbers or texts of all inputs together, that are written into the code."""
ARRAYS, JSON_BODY, BINARY_BODY = "inputs.npz", "request.json", "request.bin"


@dataclass(frozen=True)
class Snippets:
    """Code by the name of its way, and the files that it reads from the folder it is run in."""

    code: Mapping[str, str]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Where:
    """The server as code names it. `token` says that requests carry one, which is no part of the code."""

    address: Address
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    token: bool = False

    @classmethod
    def behind(cls, door: Door) -> Where:
        """As a client that goes through `door` names it."""
        files = door.certificates if door.address.tls else Certificates()
        ca, certificate, key = (str(file) if file else None for file in (files.ca, files.certificate, files.key))
        return cls(door.address, ca, certificate, key, AUTHORIZATION in door.headers())


def snippets(where: Where, metadata: Metadata, version: str, item: Mapping[str, np.ndarray]) -> Snippets:
    """The call with one `item`, its arrays without a batch axis; `version` is empty for that which is live."""
    call = _Call(where, metadata, version, item)
    code = {"Conch's client": call.client(), "asyncio": call.asyncio(), "tritonclient": call.tritonclient()}
    files: dict[str, bytes] = {}
    if where.address.protocol == "http":
        curl, body = call.curl()
        code = {"curl": curl} | code
        files |= body
    if not call.inline:
        files[ARRAYS] = call.arrays_file()
    return Snippets(code, files)


class _Call:
    def __init__(self, where: Where, metadata: Metadata, version: str, item: Mapping[str, np.ndarray]) -> None:
        self.where, self.metadata, self.version = where, metadata, version
        self.item = dict(item)
        self.batch = {
            name: array[np.newaxis] if metadata.max_batch_size else array for name, array in self.item.items()
        }
        self.inline = sum(array.size for array in self.item.values()) <= MOST_INLINE

    # ---- Python

    def client(self) -> str:
        lines = [*self._imports("from clients import connect"), *self._prepared()]
        lines += [f"with connect({self._connection()}) as client:"]
        if self.metadata.stateful:
            lines += [f"    with client.sequence({self._model()}{self._version()}) as sequence:"]
            lines += [f"        answer = sequence.infer({self._inputs()})"]
        else:
            lines += [f"    answer = client.infer({self._model()}, {self._inputs()}{self._version()})"]
        return _text([*lines, "print(answer)"])

    def asyncio(self) -> str:
        body = [f"async with connect_async({self._connection()}) as client:"]
        if self.metadata.stateful:
            body += [f"    async with client.sequence({self._model()}{self._version()}) as sequence:"]
            body += [f"        answer = await sequence.infer({self._inputs()})"]
        else:
            body += [f"    answer = await client.infer({self._model()}, {self._inputs()}{self._version()})"]
        lines = ["import asyncio", "", *self._imports("from clients import connect_async"), *self._prepared()]
        lines += ["", "async def main() -> None:", *(f"    {line}" for line in [*body, "print(answer)"]), "", ""]
        return _text([*lines, "asyncio.run(main())"])

    def tritonclient(self) -> str:
        protocol = self.where.address.protocol
        lines = [f"import tritonclient.{protocol} as triton", *(["import numpy as np"] if self._needs_numpy() else [])]
        lines = [*sorted(lines), "", *self._prepared()]
        lines += [f"client = triton.InferenceServerClient({self._triton_connection()})"]
        if self.where.token:
            # gRPC takes names of headers in lower case alone.
            bearer = '{"authorization": f"Bearer {os.environ[\'CONCH_TOKEN\']}"}'
            lines = ["import os", "", *lines, f"headers = {bearer}"]
        lines += ["tensors = []"]
        for spec in self.metadata.inputs:
            if spec.name in self.batch:
                shape = list(self.batch[spec.name].shape)
                lines += [f'tensors.append(triton.InferInput("{spec.name}", {shape}, "{spec.dtype}"))']
                lines += [f"tensors[-1].set_data_from_numpy({self._array(spec, batch=True, triton=True)})"]
        options = [json.dumps(self.metadata.name), "tensors"]
        options += [f"model_version={json.dumps(self.version)}"] if self.version else []
        options += ["sequence_id=1, sequence_start=True, sequence_end=True"] if self.metadata.stateful else []
        options += ["headers=headers"] if self.where.token else []
        lines += [f"answer = client.infer({', '.join(options)})"]
        for spec in self.metadata.outputs:
            lines += [f'print("{spec.name}", answer.as_numpy("{spec.name}"))']
        return _text(lines)

    def arrays_file(self) -> bytes:
        file = io.BytesIO()
        arrays = {name: _storable(array) for name, array in self.item.items()}
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    def _imports(self, own: str) -> list[str]:
        return ["import numpy as np", "", own, ""] if self._needs_numpy() else [own, ""]

    def _needs_numpy(self) -> bool:
        return bool(self.item)

    def _prepared(self) -> list[str]:
        if self.inline:
            return []
        return [f'inputs = dict(np.load("{ARRAYS}"))  # one item, without a batch axis', ""]

    def _inputs(self) -> str:
        if not self.inline:
            return "inputs"
        specs = [spec for spec in self.metadata.inputs if spec.name in self.item]
        return "{" + ", ".join(f'"{spec.name}": {self._array(spec)}' for spec in specs) + "}"

    def _array(self, spec: TensorSpec, batch: bool = False, triton: bool = False) -> str:
        """An expression; of one item, or of a batch of it. tritonclient takes text as objects alone."""
        batched = batch and bool(self.metadata.max_batch_size)
        if not self.inline:
            text = ".astype(object)" if triton and spec.dtype == "BYTES" else ""
            return f'inputs["{spec.name}"]{"[None]" if batched else ""}{text}'
        array = (self.batch if batched else self.item)[spec.name]
        dtype = "object" if spec.dtype == "BYTES" else f"np.{_numpy_name(array.dtype)}"
        return f"np.array({_literal(array)}, {dtype})"

    def _model(self) -> str:
        return json.dumps(self.metadata.name)

    def _version(self) -> str:
        return f", version={json.dumps(self.version)}" if self.version else ""

    def _connection(self) -> str:
        files = {"ca": self.where.ca, "certificate": self.where.certificate, "key": self.where.key}
        options = [f"{name}={json.dumps(path)}" for name, path in files.items() if path]
        return ", ".join([json.dumps(str(self.where.address)), *options])

    def _triton_connection(self) -> str:
        address = self.where.address
        options = [json.dumps(address.target)]
        if address.tls:
            paths = {"ca": self.where.ca, "certificate": self.where.certificate, "key": self.where.key}
            http = {"ca": "ca_certs", "certificate": "certfile", "key": "keyfile"}
            grpc = {"ca": "root_certificates", "certificate": "certificate_chain", "key": "private_key"}
            given = {name: json.dumps(path) for name, path in paths.items() if path}
            if address.protocol == "grpc":
                options += ["ssl=True", *(f"{grpc[name]}={path}" for name, path in given.items())]
            else:
                inside = ", ".join(f'"{http[name]}": {path}' for name, path in given.items())
                options += ["ssl=True", *([f"ssl_options={{{inside}}}"] if given else [])]
        return ", ".join(options)

    # ---- curl

    def curl(self) -> tuple[str, dict[str, bytes]]:
        """The command, and the file of its body where that is long."""
        version = f"/versions/{self.version}" if self.version else ""
        url = f"{self.where.address}/v2/models/{self.metadata.name}{version}/infer"
        words = ["curl", *self._curl_flags()]
        document = self._document()
        if document is None:
            header, body = self._binary()
            flags = [f"-H 'Inference-Header-Content-Length: {header}'", f"--data-binary @{BINARY_BODY}"]
            words += [*flags, "--output answer.bin" if self._answers_half() else ""]
            return " \\\n    ".join([" ".join(words[:1]), *filter(None, words[1:]), _quoted(url)]), {BINARY_BODY: body}
        body_text = json.dumps(document, ensure_ascii=False)
        if self.inline:
            words += ["-H 'Content-Type: application/json'", f"-d {_quoted(body_text)}"]
            return " \\\n    ".join([*words, _quoted(url)]), {}
        words += ["-H 'Content-Type: application/json'", f"-d @{JSON_BODY}"]
        return " \\\n    ".join([*words, _quoted(url)]), {JSON_BODY: body_text.encode()}

    def _curl_flags(self) -> list[str]:
        given = {"--cacert": self.where.ca, "--cert": self.where.certificate, "--key": self.where.key}
        flags = [f"{flag} {_quoted(path)}" for flag, path in given.items() if path]
        return flags + (['-H "Authorization: Bearer $CONCH_TOKEN"'] if self.where.token else [])

    def _answers_half(self) -> bool:
        return any(spec.dtype in ("FP16", "BF16") for spec in self.metadata.outputs)

    def _document(self) -> dict[str, object] | None:
        """The request in JSON; None where that cannot say it: Triton takes no FP16 in it, and it has no NaN."""
        if self._answers_half() or any(array.dtype == np.float16 for array in self.item.values()):
            return None
        if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in self.item.values()):
            return None
        document = self._header()
        for entry, array in zip(document["inputs"], self._sent().values(), strict=True):  # type: ignore[call-overload]
            entry["data"] = _shortest(array.ravel())
        return document

    def _binary(self) -> tuple[int, bytes]:
        """The length of the head, and the whole body."""
        document = self._header()
        parts = []
        for entry, array in zip(document["inputs"], self._sent().values(), strict=True):  # type: ignore[call-overload]
            parts.append(raw(array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        document.setdefault("parameters", {})["binary_data_output"] = self._answers_half()  # type: ignore[index]
        head = json.dumps(document).encode()
        return len(head), head + b"".join(parts)

    def _sent(self) -> dict[str, np.ndarray]:
        return {spec.name: self.batch[spec.name] for spec in self.metadata.inputs if spec.name in self.batch}

    def _header(self) -> dict[str, object]:
        specs = {spec.name: spec for spec in self.metadata.inputs}
        document: dict[str, object] = {}
        if self.metadata.stateful:
            document["parameters"] = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
        document["inputs"] = [
            {"name": name, "datatype": specs[name].dtype, "shape": list(array.shape)}
            for name, array in self._sent().items()
        ]
        return document


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _shortest(array: np.ndarray) -> Any:
    """Nested lists of Python's own values, each float with no more digits than its type has."""
    if array.dtype == object:
        return readable(array).tolist()
    if array.dtype in (np.float32, np.float16):
        return np.array([float(str(number)) for number in array.ravel()]).reshape(array.shape).tolist()
    return array.tolist()


def _literal(array: np.ndarray) -> str:
    """Nested lists that give the same numbers back."""
    text = repr(_shortest(array))
    return text.replace("nan", "np.nan").replace("inf", "np.inf") if array.dtype.kind == "f" else text


def _numpy_name(dtype: np.dtype) -> str:
    return "bool_" if dtype.kind == "b" else dtype.name


def _storable(array: np.ndarray) -> np.ndarray:
    return np.array(readable(array).tolist(), dtype=str).reshape(array.shape) if array.dtype == object else array


def _quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
