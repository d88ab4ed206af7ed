"""nginx's configuration of the guard, from one template, for a running server and for `serving/deploy`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from serving.errors import ServingError
from serving.guard import routes
from serving.guard.access import Access
from serving.guard.filter import FilterPlaces
from serving.guard.limits import Limits

TEMPLATE = Path(__file__).with_name("nginx.conf.jinja")
PLAIN = re.compile(r"[^\s;{}\"'\\$#]+")
"""A path that nginx reads as one word, and as it is."""


@dataclass(frozen=True)
class Places:
    """Addresses, each "host:port": where nginx listens, and where Triton does."""

    http: str
    grpc: str
    metrics: str


def render(
    listen: Places,
    triton: Places,
    filters: Sequence[FilterPlaces],
    folder: Path,
    limits: Limits,
    access: Access,
    *,
    error_log: str,
    tokens_file: Path | None,
    user: str = "",
    files: int = 4096,
    static: bool = False,
) -> str:
    """The text of `nginx.conf`.

    Args:
        listen: Where callers come.
        triton: Where Triton is.
        filters: The filter's processes, two at least: the last one is for large requests over HTTP.
        folder: nginx's own, for what it keeps while it runs.
        limits: The bounds.
        access: Who is let in.
        error_log: Where nginx complains.
        tokens_file: The file with `token_lines`, None where nobody needs a token.
        user: "USER GROUP" of nginx's workers, where it is started as root.
        files: Descriptors that a worker of nginx may have.
        static: Whether it is the copy for others to install.

    Raises:
        ServingError: A path that nginx cannot be told.
    """
    given = (folder, access.certificate, access.key, access.client_ca, *(f.http for f in filters))
    for path in filter(None, given):
        if not PLAIN.fullmatch(str(path)):
            raise ServingError(f"nginx's configuration cannot name {path}: it has blanks or one of ; {{ }} \" ' \\ $ #")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    opened = [("", routes.HEALTH), ("use", routes.USE), *(("control", routes.CONTROL[name]) for name in access.opened)]
    return environment.from_string(TEMPLATE.read_text()).render(
        listen=listen, triton=triton, filters=filters, folder=folder, limits=limits, opened=opened, user=user,
        files=files, static=static, error_log=error_log, tokens_file=tokens_file, asks_tokens=bool(access.tokens),
        tls=access if access.certificate else None, workers=1, stream=routes.STREAM,
        http_errors=_http_errors(limits), grpc_errors=_grpc_errors(limits),
    )  # fmt: skip


def token_lines(access: Access) -> str:
    """What nginx compares the header Authorization with, and who that is."""
    found = [(token, "use") for token in access.tokens] + [(token, "control") for token in access.control_tokens]
    return "".join(f'"~^(?i:Bearer) {re.escape(token)}$" {who};\n' for token, who in found)


def _http_errors(limits: Limits) -> dict[int, str]:
    return {
        401: "this server asks for a token, as the header Authorization: Bearer TOKEN",
        403: "this token is not for control",
        404: "there is no such path, or it is shut on this server",
        405: "the path takes another method",
        408: f"nothing came for {limits.slow} s",
        413: f"the body has more than {limits.body} bytes",
        415: "compressed bodies are not taken",
        429: _too_many(limits),
        502: "the server is not up",
        504: "the server does not answer",
    }


def _grpc_errors(limits: Limits) -> dict[int, tuple[int, str]]:
    return {
        413: (8, f"the message has more than {limits.body} bytes"),
        415: (12, "compressed messages are not taken"),
        429: (8, _too_many(limits)),
        502: (14, "the server is not up"),
        504: (14, "the server does not answer"),
    }


def _too_many(limits: Limits) -> str:
    return (
        f"too many requests: allowed are {limits.rate} a second and {limits.connections} at once of one address, "
        f"{limits.requests} at once in all; of health {limits.health} a second"
    )
