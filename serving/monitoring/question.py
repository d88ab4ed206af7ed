"""One golden request over HTTP, as a client sends it, and whether its answer is the golden one."""

import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import urllib3
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conch.contracts.answers import WrongAnswer, check_answer
from conch.contracts.golden_requests import Golden, golden_of
from serving.monitoring.sequence_beginning import beginning

HEADER_LENGTH = "Inference-Header-Content-Length"
ITEMS = 8
"""So many golden items are kept and asked in turn: what a processor or a process does wrong is in every one of them."""


NO_ROOM = (429, 503)
"""The statuses of a guard and of a Triton that have more to do than they can."""


class NoAnswer(Exception):
    """No answer, or a refusal; the reason in one line."""

    def __init__(self, reason: str, *, no_room: bool = False) -> None:
        super().__init__(reason)
        self.no_room = no_room
        """Whether it was refused because too much is under way."""


@dataclass
class Door:
    """Where clients knock: an HTTP address, and what a caller needs to be let in."""

    url: str
    """`http://host:port` or `https://host:port`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: Path | None = None
    """The certificate that the server has to show, whatever name is in it and whoever has issued it."""
    front: str = ""
    """Where the guard is that clients come to, in the form of `url`, though requests may go past it."""

    def __post_init__(self) -> None:
        trust: dict[str, Any] = {}
        if self.certificate:
            context = ssl.create_default_context(cafile=self.certificate)
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # else only that of an authority is trusted
            trust = {"ssl_context": context, "assert_hostname": False}
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=1, retries=False, headers=dict(self.headers), **trust)

    def close(self) -> None:
        """Give the connection back."""
        self._pool.clear()

    def is_open(self, timeout: float) -> bool:
        """Whether clients are answered at all within `timeout` seconds, be it that they are not let in."""
        url = f"{self.front or self.url}/v2/health/live"
        try:
            answer = self._pool.request("GET", url, timeout=urllib3.Timeout(total=timeout))
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status < 500

    def ask(self, model: str, body: bytes, header_length: int | None, timeout: float) -> tuple[bytes, int | None]:
        """Post a request of KServe v2 to the version that is given to clients who name none.

        Raises:
            NoAnswer: nobody answers within `timeout` seconds, or not with status 200.
        """
        headers = {**self.headers, **({HEADER_LENGTH: str(header_length)} if header_length else {})}
        try:
            answer = self._pool.request(
                "POST", f"{self.url}/v2/models/{quote(model)}/infer", body=body, headers=headers,
                timeout=urllib3.Timeout(total=timeout),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswer(" ".join(str(error).split())) from error
        if answer.status != 200:
            text = " ".join(answer.data.decode(errors="replace").split())
            raise NoAnswer(f"status {answer.status}: {text[:300]}", no_room=answer.status in NO_ROOM)
        length = answer.headers.get(HEADER_LENGTH)
        return answer.data, int(length) if length else None


@dataclass(frozen=True)
class Question:
    """The golden requests of one version, a few of them."""

    golden: Golden

    @classmethod
    def of(cls, version: Path) -> Self:
        """Those of the version in this folder.

        Raises:
            ConchError: There are none, or they cannot be used.
        """
        golden = golden_of(version)
        inputs, outputs = (
            {name: array[:ITEMS].copy() for name, array in arrays.items()} for arrays in (golden.inputs, golden.outputs)
        )
        golden = replace(golden, inputs=inputs, outputs=outputs)
        return cls(beginning(golden, version) if _in_sequences(golden) else golden)

    @property
    def version(self) -> int:
        """Whose golden answers these are."""
        return int(self.golden.version)

    def ask(self, door: Door, turn: int, timeout: float) -> int:
        """Ask item number `turn`, modulo their number; the version that answered, of which nothing is known if another.

        Raises:
            NoAnswer: As of `Door.ask`.
            WrongAnswer: The answer is not the golden one.
        """
        item = [turn % len(self.golden)]
        inputs = []
        for name, array in self.golden.questions(item).items():
            given = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            given.set_data_from_numpy(array)
            inputs.append(given)
        outputs = [InferRequestedOutput(name, binary_data=True) for name in self.golden.outputs]
        # A sequence of one request: it has a client's place among the sequences for as long as that request lasts.
        alone = _in_sequences(self.golden)
        body, length = InferenceServerClient.generate_request_body(
            inputs, outputs=outputs, sequence_id=secrets.randbelow(2**62) + 1 if alone else 0, sequence_start=alone,
            sequence_end=alone,
        )  # fmt: skip
        answer, answered_length = door.ask(self.golden.model, body, length, timeout)
        try:
            result = InferenceServerClient.parse_response_body(answer, header_length=answered_length)
            got = {name: result.as_numpy(name) for name in self.golden.outputs}
            version = result.get_response().get("model_version")
        except (InferenceServerException, ValueError, KeyError, AttributeError) as error:
            raise WrongAnswer(f"it is no answer of KServe v2 ({error})") from error
        answered = self.version if version is None else int(version)
        if answered == self.version and self.golden.repeatable:
            check_answer(got, self.golden.answers(item), self.golden.tolerance)
        return answered


def _in_sequences(golden: Golden) -> bool:
    return golden.requests is not None and golden.requests.in_sequences
