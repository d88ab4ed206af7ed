"""What a client shows a server to be let in: a bearer token, and the keys of Triton's restricted APIs.

They go with every request, and nowhere else: no error, log or `repr` shows one.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from clients.address import Address
from clients.errors import ClientError

Token = str | os.PathLike[str]
TOKEN, TOKEN_FILE, API_KEYS = "CONCH_TOKEN", "CONCH_TOKEN_FILE", "CONCH_API_KEYS"
AUTHORIZATION = "authorization"
OF_TRITON = "triton-grpc-protocol-"
"""Over gRPC the name of a restricted protocol's key has this before it: triton-inference-server/server,
docs/customization_guide/inference_protocols.md."""

_NAME = re.compile(r"[0-9A-Za-z_.-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What both protocols carry; what they do not, their libraries show in the error."""

_FRAMING = re.compile(r"connection|content-.*|inference-header-.*|te|trailer|transfer-encoding|upgrade|.*-bin", re.I)
"""Headers that say how a request is to be read, which are the client's own; over gRPC `-bin` is for bytes."""


class Secret(str):
    """A text that a traceback with variables, a log or a debugger does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Credentials:
    """The headers of every request of one client.

    Args:
        headers: The caller's own.
        token: Sent as "Authorization: Bearer TOKEN". A path is that of a file with the token, read again when it has
            changed; without, CONCH_TOKEN or CONCH_TOKEN_FILE of the environment.
        api_keys: Of APIs that Triton was started to restrict, as NAME: VALUE of `--http-restricted-api` and
            `--grpc-restricted-protocol`; without, CONCH_API_KEYS, as "NAME=VALUE,NAME=VALUE", percent-encoded.
        plain_text: Whether the above may be sent where others can read it.

    Raises:
        ClientError: They cannot be sent, or would be sent to another machine as plain text.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        api_keys: Mapping[str, str] | None = None,
        plain_text: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._headers = dict(_checked(name, value) for name, value in (headers or {}).items())
        own = {name.lower() for name in self._headers}
        if token is None and AUTHORIZATION not in own:
            token = environment.get(TOKEN) or None
            if token is None and (file := environment.get(TOKEN_FILE)):
                token = Path(file)
        elif token is not None and AUTHORIZATION in own:
            raise ClientError("a token and an Authorization header are given: one of them is needed")
        keys = _parsed(environment.get(API_KEYS, "")) if api_keys is None else api_keys
        prefix = OF_TRITON if addresses[0].protocol == "grpc" else ""
        self._headers |= {prefix + name: value for name, value in (_checked(*pair) for pair in keys.items())}
        self._file: Path | None = None
        self._read_at: object = None
        if isinstance(token, str):
            self._headers |= _bearer(token, "the token")
        elif token is not None:
            self._file = Path(token)
        self.headers()
        if (token is not None or keys or AUTHORIZATION in own) and not plain_text:
            for address in addresses:
                if address.exposed:
                    raise ClientError(
                        f"a token or key would be sent to {address} as plain text: use "
                        f"{address.protocol}s://{address.target}, or plain_text=True (--plain-text) where the network "
                        "itself is safe"
                    )

    def headers(self) -> Mapping[str, str]:
        """Those of a request that is sent now. Raises ClientError for a token's file that has gone or is none."""
        if self._file is not None:
            try:
                state = self._file.stat()
                if self._read_at != (now := (state.st_mtime_ns, state.st_ino, state.st_size)):
                    token = self._file.read_text(encoding="utf-8")
                    self._headers = {**self._headers, **_bearer(token, f"the token in {self._file}")}
                    self._read_at = now
            except OSError as error:
                raise ClientError(f"cannot read the token in {self._file}: {error.strerror or error}") from error
            except UnicodeDecodeError:
                raise ClientError(f"{self._file} is no text, and so no token") from None
        return self._headers


def _bearer(token: str, what: str) -> dict[str, str]:
    token = token.strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise ClientError(f"{what} is {'empty' if not token else 'not one word of printable ASCII characters'}")
    return {AUTHORIZATION: Secret(f"Bearer {token}")}


def _checked(name: str, value: str) -> tuple[str, str]:
    """A header that both protocols take; others would be shown by what refuses them."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ClientError(f"header {name!r}: a name is made of letters, digits, '-', '_' and '.'")
    if _FRAMING.fullmatch(name):
        raise ClientError(f"header {name!r} is the client's own")
    if not isinstance(value, str) or not (_VALUE.fullmatch(value) or not value):
        raise ClientError(f"header {name!r}: a value is printable ASCII on one line, without blanks around it")
    return name, Secret(value)


def _parsed(pairs: str) -> dict[str, str]:
    """As OpenTelemetry writes headers in the environment."""
    found = {}
    for pair in filter(None, (pair.strip() for pair in pairs.split(","))):
        name, separator, value = pair.partition("=")
        if not separator:
            raise ClientError(f"{API_KEYS} is not of the form NAME=VALUE,NAME=VALUE")
        found[name.strip()] = unquote(value.strip())
    return found
