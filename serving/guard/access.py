"""Who is let in: certificates, tokens, and what is open to whom."""

import os
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError

TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""What RFC 6750 has as a bearer token, and long enough not to be guessed."""
WRONG = {
    "KEY_VALUES_MISMATCH": "the key is of another certificate",
    "PEM lib": "one of them is not what it has to be, in PEM",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in PEM in it",
}
"""What OpenSSL says of a file, and what that means."""
MAKE_ONE = "for example of `openssl rand -hex 32`"


@dataclass(frozen=True)
class Access:
    """How callers are known."""

    certificate: Path | None = None
    """The server's, in PEM with its chain; without it nothing is encrypted."""
    key: Path | None = None
    client_ca: Path | None = None
    """The authority of the certificates that callers must have."""
    tokens: tuple[str, ...] = ()
    """One of them is needed to use the server; none: whoever reaches it may."""
    control_tokens: tuple[str, ...] = ()
    """One of them is needed for what is `opened`."""
    opened: tuple[str, ...] = ()
    """Names of `routes.CONTROL`."""


def read_tokens(file: Path) -> tuple[str, ...]:
    """The tokens in `file`, one a line; lines that begin with # are none.

    Raises:
        ServingError: It cannot be read, others than its owner may read it, or what is in it is no token.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            status = os.fstat(opened.fileno())
            lines = opened.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ServingError(f"cannot read tokens of {file}: {reason}") from None
    mode = stat.S_IMODE(status.st_mode)
    # Of somebody else's file, as a secret that Kubernetes mounts, our group's right to read is the only way in.
    if mode & (0o077 if status.st_uid == os.geteuid() else 0o037):
        raise ServingError(f"{file} has mode {mode:04o}, so that others can read the tokens in it: chmod 600 {file}")
    tokens = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"}
    for number, token in tokens.items():
        if not TOKEN.fullmatch(token):
            raise ServingError(f"line {number} of {file} is no token: 16 to 512 letters, digits and ._~+/-, {MAKE_ONE}")
    if not tokens:
        raise ServingError(f"{file} has no token in it: one a line, {MAKE_ONE}")
    return tuple(tokens.values())


def check_certificates(access: Access) -> None:
    """Raise a `ServingError` where the files of TLS cannot be used: nginx would say it less clearly."""
    if (access.certificate is None) != (access.key is None):
        raise ServingError("TLS needs both: --certificate and --key")
    if access.certificate is None:
        if access.client_ca:
            raise ServingError("--client-ca asks callers for a certificate, which needs TLS: --certificate and --key")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(access.certificate, access.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl's own errors are OSErrors
        raise ServingError(f"cannot use {access.certificate} and {access.key} for TLS: {_reason(error)}") from None
    if access.client_ca:
        try:
            context.load_verify_locations(access.client_ca)
        except OSError as error:
            raise ServingError(f"cannot use --client-ca {access.client_ca}: {_reason(error)}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to be asked for its password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return next((said for words, said in WRONG.items() if words in str(error)), str(error))
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
