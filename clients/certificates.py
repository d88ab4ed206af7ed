"""Whom a client trusts over TLS, and what it shows of itself."""

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.address import Address
from clients.errors import ClientError

PathLike = str | os.PathLike[str]
VARIABLES = {"ca": "CONCH_CA", "certificate": "CONCH_CERTIFICATE", "key": "CONCH_KEY"}


@dataclass(frozen=True)
class Certificates:
    """Files in PEM, read when the client is made, by OpenSSL for HTTP and by BoringSSL for gRPC.

    `ca` are the authorities whose servers are trusted, None for those that this machine trusts. `certificate`, with
    the chain behind it, and `key` are shown to a server that asks for them (mutual TLS); without `key` it is in the
    same file.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def given(
        cls,
        addresses: Sequence[Address],
        ca: PathLike | None = None,
        certificate: PathLike | None = None,
        key: PathLike | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "Certificates":
        """What is given, and else what CONCH_CA, CONCH_CERTIFICATE and CONCH_KEY say. A certificate that is given takes
        no key from the environment.

        Raises ClientError for a key without a certificate, and for any of them where no address speaks TLS.
        """
        if any(path is not None for path in (ca, certificate, key)) and not any(address.tls for address in addresses):
            raise ClientError(
                f"certificates are for TLS, which {' and '.join(map(str, addresses))} does not speak: use https:// or grpcs://"
            )
        if certificate is None and key is None:
            certificate, key = (environment.get(VARIABLES[name]) or None for name in ("certificate", "key"))
        if certificate is None and key is not None:
            raise ClientError(f"a key ({key}) is given without its certificate: name that, too")
        ca = ca if ca is not None else environment.get(VARIABLES["ca"]) or None
        return cls(*(None if path is None else Path(path) for path in (ca, certificate, key)))

    def context(self) -> ssl.SSLContext:
        """For connections of Python's own. Raises ClientError naming the file that cannot be used, and why."""
        if self.ca is not None:
            _read(self.ca)
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise ClientError(f"{self.ca} holds no certificates in PEM ({_reason(error)})") from error
        if self.certificate is not None:
            key = self.key or self.certificate
            _read(self.certificate)
            if b"ENCRYPTED" in _read(key):  # OpenSSL would ask for the password on the terminal
                raise ClientError(f"the key {key} is encrypted: decrypt it with openssl pkey -in {key} -out FILE")
            try:
                context.load_cert_chain(self.certificate, key)
            except ssl.SSLError as error:
                if "MISMATCH" in _reason(error):
                    raise ClientError(f"the key {key} is not that of the certificate {self.certificate}") from error
                raise ClientError(
                    f"{self.certificate} holds no certificate in PEM, or {key} no key ({_reason(error)})"
                ) from error
        return context

    def channel_credentials(self) -> Any:
        """For channels of gRPC, which tells of wrong files at the first call only, and not which: see `context`."""
        import grpc

        # BoringSSL does not know this machine's authorities; without a file of them gRPC takes a list of its own.
        roots = self.ca or ssl.get_default_verify_paths().cafile
        key = _read(self.key or self.certificate) if self.certificate else None
        certificate = _read(self.certificate) if self.certificate else None
        return grpc.ssl_channel_credentials(_read(Path(roots)) if roots else None, key, certificate)


def _reason(error: ssl.SSLError) -> str:
    return error.reason or str(error)  # None where OpenSSL names a library only


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror or error}") from error
