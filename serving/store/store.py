"""What a store of versions can do, whatever it is made of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from serving.store.contents import Contents, File


class Store(Protocol):
    """Files by their hash, and for each version a document that names its files.

    What goes wrong is a `ServingError` of one line that names the store.
    """

    url: str

    def address(self, model: str, version: int) -> str:
        """Where the document of a version lies, for messages."""

    def blob_address(self, file: File) -> str:
        """Where the content of a file lies, for messages."""

    def versions(self) -> dict[str, list[int]]:
        """The models of the store and their versions, ascending."""

    def document(self, model: str, version: int) -> bytes | None:
        """The document of a version; None where there is no such version."""

    def create(self, contents: Contents) -> bool:
        """Make a version of files that are there; False where there is one of this number already."""

    def signature(self, model: str, version: int) -> bytes | None:
        """The signature of a version's document; None where there is none."""

    def sign(self, contents: Contents, signature: bytes) -> None:
        """Keep the signature of a version's document."""

    def has(self, file: File) -> bool:
        """Whether the content of a file is there, whole."""

    def put(self, file: File, source: Path) -> None:
        """Have the content of a file there."""

    def read_from(self, file: File, offset: int) -> Iterator[bytes]:
        """The content of a file from an offset in bytes on, in chunks."""
