"""KServe v2 over HTTP, on tritonclient.http."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException

import gevent
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from clients.address import Address
from clients.errors import ClientError, Refused, Unreachable
from clients.signature import Metadata, ModelState
from clients.step import Step
from clients.transport import Transport, parse_index, parse_metadata, request_tensors, sequence_options

# A forked child inherits gevent's hub, but not the threads that look names up for it: without this its first connection
# hangs past every timeout, and it listens at the same epoll as its parent. Beside gevent's own patched fork it is done
# twice, which does no harm. https://www.gevent.org/api/gevent.html#gevent.reinit
if hasattr(os, "register_at_fork"):  # where processes can fork
    os.register_at_fork(after_in_child=gevent.reinit)


class HttpTransport(Transport):
    """One connection, for the thread (or greenlet) that made it.

    tritonclient.http runs on a gevent hub that belongs to its thread; used from another it hangs or answers to the
    wrong caller, so that is refused here. A forked child gets a connection of its own, for both would read the same
    answers.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._connect()

    def _connect(self) -> None:
        self._process, self._owner = os.getpid(), threading.get_ident()
        self._client = InferenceServerClient(
            self._address.target, connection_timeout=self._timeout, network_timeout=self._timeout
        )

    def server(self) -> tuple[str, str]:
        with self._speaking():
            answer = self._client.get_server_metadata()
        return answer.get("name", "?"), answer.get("version", "?")

    def ready(self) -> bool:
        with self._speaking():
            return bool(self._client.is_server_ready())

    def index(self) -> list[ModelState]:
        with self._speaking():
            return parse_index(self._client.get_model_repository_index())

    def metadata(self, model: str, version: str) -> Metadata:
        with self._speaking():
            metadata = self._client.get_model_metadata(model, version)
            return parse_metadata(metadata, self._client.get_model_config(model, version))

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, int],
        step: Step | None = None,
    ) -> dict[str, np.ndarray]:
        tensors, asked = request_tensors(InferInput, InferRequestedOutput, inputs, outputs)
        with self._speaking():
            answer = self._client.infer(model, tensors, version, asked, **sequence_options(step))
            return {name: answer.as_numpy(name) for name in outputs}

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turns what the layers below raise into one of our errors."""
        if os.getpid() != self._process:
            self._connect()
        if threading.get_ident() != self._owner:
            raise ClientError("an HTTP client belongs to the thread that made it: call connect() once in each thread")
        try:
            yield
        except InferenceServerException as error:
            raise Refused(error.message() or "the server refused without a reason", error.status() or "") from error
        except TimeoutError as error:
            raise Unreachable(f"no answer from {self._address} within {self._timeout:g} s") from error
        except OSError as error:
            raise Unreachable(f"no server at {self._address} ({error.strerror or error})") from error
        except (HTTPException, ValueError, KeyError) as error:
            raise Unreachable(f"what answers at {self._address} does not speak KServe v2 over HTTP") from error
