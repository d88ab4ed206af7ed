"""A guard in front of a real Triton, as `conch serve --guard` starts it, at free ports."""

from pathlib import Path
from typing import Any

from serving.guard.access import Access
from serving.guard.guard import Guard
from serving.guard.limits import Limits
from serving.server.server import Server
from tests.support.authority import Authority, Identity

ANY = {"HTTP": 0, "gRPC": 0, "metrics": 0}


def guarded(triton: Server, folder: Path, access: Access | None = None, **limits: int) -> Guard:
    """Before `triton`, with its log in `folder`."""
    return Guard(triton, "127.0.0.1", ANY, Limits(**limits), access or Access(), log_file=folder / "guard.log")


def with_tls(authority: Authority, identity: Identity, **access: Any) -> Access:
    """Callers speak TLS with it, and have a certificate where `identity` says so."""
    certificate, key = authority.folder / "guard.pem", authority.folder / "guard.key"
    certificate.write_bytes(identity.chain)
    key.write_bytes(identity.key)
    client_ca = authority.ca if identity.of_callers else None
    return Access(certificate, key, client_ca, **access)


def by_name(guard: Guard) -> dict[str, str]:
    """Its addresses by the name that stands in its certificate."""
    return {name: url.replace("127.0.0.1", "localhost") for name, url in guard.addresses.items()}
