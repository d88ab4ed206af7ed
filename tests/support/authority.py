"""Certificates for tests: an authority, and what it and others issue, good and bad."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import trustme

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """What a server shows, and whether it wants its callers' certificates, of the authority `of_callers`."""

    issued: trustme.LeafCert
    of_callers: trustme.CA | None = None

    @property
    def key(self) -> bytes:
        return self.issued.private_key_pem.bytes()

    @property
    def chain(self) -> bytes:
        return b"".join(part.bytes() for part in self.issued.cert_chain_pems)

    def context(self) -> ssl.SSLContext:
        """For servers on Python's sockets."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.issued.configure_cert(context)
        if self.of_callers:
            context.verify_mode = ssl.CERT_REQUIRED
            self.of_callers.configure_trust(context)
        return context

    def grpc(self) -> Any:
        """For servers of grpcio."""
        roots = self.of_callers.cert_pem.bytes() if self.of_callers else None
        return grpc.ssl_server_credentials([(self.key, self.chain)], roots, bool(roots))


class Authority:
    """One that the clients of a test trust, and one that they do not; files are written to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trusted, self.foreign = trustme.CA(), trustme.CA()
        self.ca = folder / "ca.pem"
        self.trusted.cert_pem.write_to_path(str(self.ca))

    @cached_property
    def good(self) -> Identity:
        return Identity(self.trusted.issue_cert("localhost", "127.0.0.1"))

    @cached_property
    def mutual(self) -> Identity:
        return Identity(self.good.issued, self.trusted)

    @cached_property
    def bad(self) -> dict[str, Identity]:
        """What is wrong with it -> a server's identity that no client should trust."""
        now, own = datetime.now(UTC), self.foreign
        return {
            "signature": Identity(trustme.LeafCert(own.private_key_pem.bytes(), own.cert_pem.bytes(), [])),
            "authority": Identity(self.foreign.issue_cert("localhost", "127.0.0.1")),
            "name": Identity(self.trusted.issue_cert("elsewhere.example")),
            "expired": Identity(self.trusted.issue_cert("localhost", not_before=now - 9 * DAY, not_after=now - DAY)),
        }

    def of_caller(self, name: str, authority: trustme.CA | None = None) -> dict[str, Path]:
        """A certificate and its key for a client, as files."""
        issued = Identity((authority or self.trusted).issue_cert(f"{name}@example.org"))
        files = {"certificate": self.folder / f"{name}.pem", "key": self.folder / f"{name}.key"}
        files["certificate"].write_bytes(issued.chain)
        files["key"].write_bytes(issued.key)
        return files
