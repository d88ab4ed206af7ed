"""Sign the document of a version, and refuse one that is not signed by the key that is asked for.

Ed25519 (RFC 8032) over the document's bytes, which name every file by its hash: a signature stands for all of them.
Keys are PEM files, as `openssl genpkey -algorithm ed25519` writes them.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from serving.errors import ServingError

SUFFIX = ".sig"
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """The key that signs.

    Raises:
        ServingError: The file cannot be read, or holds no Ed25519 private key without a passphrase.
    """
    try:
        key = load_pem_private_key(_read(file), password=None)
    except UNREADABLE as error:
        raise ServingError(f"{file}: no private key in PEM without a passphrase ({error}){_HOW}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ServingError(f"{file}: its key is no Ed25519 key{_HOW}")
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """The key that a signature has to be of.

    Raises:
        ServingError: The file cannot be read, or holds no Ed25519 public key.
    """
    try:
        key = load_pem_public_key(_read(file))
    except UNREADABLE as error:
        raise ServingError(f"{file}: no public key in PEM ({error}){_PUBLIC}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ServingError(f"{file}: its key is no Ed25519 key{_PUBLIC}")
    return key


def check_signature(document: bytes, signature: bytes | None, key: Ed25519PublicKey, where: str) -> None:
    """Raise a `ServingError` where `document`, which lies at `where`, is not signed by the owner of `key`."""
    if signature is None:
        raise ServingError(f"{where} is not signed; push it with --sign, or pull it without --public-key")
    try:
        key.verify(signature, document)
    except InvalidSignature:
        raise ServingError(f"{where} is not signed by this key, or was changed since; nothing of it was used") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ServingError(f"{file}: cannot be read ({error.strerror})") from error


_HOW = "; make one: openssl genpkey -algorithm ed25519 -out key.pem"
_PUBLIC = "; that of a private key: openssl pkey -in key.pem -pubout -out key.pub"
