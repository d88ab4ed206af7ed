"""An OCI registry: each version an artifact with the tag MODEL.VERSION in one repository, its files the layers.

The document of a version is the artifact's config, and a layer has the path of its file as the title, which is where
`oras pull` writes it. (OCI image specification 1.1, "Guidelines for Artifact Usage"; OCI distribution specification.)
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from oras.auth import AuthenticationException
from oras.container import Container
from oras.provider import Registry

from serving.errors import ServingError
from serving.server.ports import is_loopback
from serving.store.contents import Contents, File

SCHEME = "oci://"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
VERSION, SIGNATURE = "application/vnd.conch.version.v1+json", "application/vnd.conch.signature.v1"
ANY = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
CHUNK = 1 << 20
NAME = re.compile(r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*")
"""Of a repository, by the distribution specification."""
LARGEST_DOCUMENT = 64 << 20
"""Bytes; of what is read into memory before its hash is known."""
WENT_WRONG = (requests.RequestException, AuthenticationException, ValueError, OSError)


class _Client(Registry):
    # Without the decorator that tries again for two minutes where nobody answers.
    do_request = Registry.do_request.__wrapped__


class _Content:
    """A file as the body of a request, which may have to be sent again where a registry first asks who it is."""

    def __init__(self, file: Path, size: int) -> None:
        self._file, self._size = file, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        with self._file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk


class OciStore:
    """One repository of a registry, by its address."""

    def __init__(self, url: str) -> None:
        """Open it.

        Args:
            url: oci://registry/name. On loopback HTTP is spoken, else HTTPS. Credentials are those of `docker
                login`, or ORAS_USER and ORAS_PASS, as oras has them.

        Raises:
            ServingError: It is no such address, or nobody answers there.
        """
        self.url = url.rstrip("/")
        with self._errors():
            registry, _, name = self.url.removeprefix(SCHEME).partition("/")
            if not registry or not NAME.fullmatch(name):
                raise ValueError("expected oci://registry/name, the name in small letters and without a tag")
            self._container = Container(name)
            # Which it guesses from dots and colons.
            self._container.registry = registry
            self._container.namespace, _, self._container.repository = name.rpartition("/")
            plain = is_loopback(registry.partition(":")[0])
            answer = requests.get(f"{'http' if plain else 'https'}://{registry}/v2/", timeout=30)
            asked = answer.headers.get("WWW-Authenticate", "").lower()
            self._client = _Client(insecure=plain, auth_backend="basic" if asked.startswith("basic") else "token")
            self._client.auth.load_configs(self._container)
            if user := os.environ.get("ORAS_USER"):
                self._client.auth.set_basic_auth(user, os.environ.get("ORAS_PASS", ""))
            if asked.startswith("basic") and not getattr(self._client.auth, "_basic_auth", None):
                raise ValueError("it asks who you are, and nothing says so")

    def address(self, model: str, version: int) -> str:
        """See `Store`."""
        return f"{self.url}:{_tag(model, version)}"

    def blob_address(self, file: File) -> str:
        """See `Store`."""
        return f"{self.url}@sha256:{file.sha256}"

    def versions(self) -> dict[str, list[int]]:
        """See `Store`."""
        found: dict[str, list[int]] = {}
        with self._errors():
            first = self._ask("GET", self._container.tags_url(N=1))
            tags = [] if first.status_code == 404 else self._client.get_tags(self._container)
        for tag in tags:
            model, _, number = tag.rpartition(".")
            if model and number.isdecimal():
                found.setdefault(model, []).append(int(number))
        return {model: sorted(numbers) for model, numbers in sorted(found.items())}

    def document(self, model: str, version: int) -> bytes | None:
        """See `Store`."""
        return self._config(_tag(model, version))

    def create(self, contents: Contents) -> bool:
        """See `Store`. A registry overwrites a tag: who has put his looks whether it is still there."""
        tag, document = _tag(contents.model, contents.version), contents.document()
        if self._config(tag) is not None:
            return False
        layers = [
            {**_descriptor(ANY, file.sha256, file.size), "annotations": {TITLE: path}}
            for path, file in sorted(contents.files.items())
        ]
        self._put_artifact(tag, VERSION, document, layers)
        return self._config(tag) == document

    def signature(self, model: str, version: int) -> bytes | None:
        """See `Store`."""
        return self._config(f"{_tag(model, version)}.sig")

    def sign(self, contents: Contents, signature: bytes) -> None:
        """See `Store`."""
        self._put_artifact(f"{_tag(contents.model, contents.version)}.sig", SIGNATURE, signature, [])

    def has(self, file: File) -> bool:
        """See `Store`."""
        with self._errors():
            found = self._ask("HEAD", self._container.get_blob_url(f"sha256:{file.sha256}"))
        return found.status_code == 200

    def put(self, file: File, source: Path) -> None:
        """See `Store`."""
        self._upload(file, _Content(source, file.size) if file.size else b"")

    def read_from(self, file: File, offset: int) -> Iterator[bytes]:
        """See `Store`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self._container.get_blob_url(f"sha256:{file.sha256}")
        with self._errors(), self._ask("GET", url, headers=headers, stream=True) as answer:
            if answer.status_code == 404:
                raise ServingError(f"{self.blob_address(file)} is missing; push the version again")
            self._check(answer)
            known = offset if answer.status_code == 200 else 0  # some send all, whatever they are asked
            for chunk in answer.iter_content(CHUNK):
                yield chunk[known:]
                known = max(0, known - len(chunk))

    def _config(self, tag: str) -> bytes | None:
        """The config of the artifact with this tag; None where there is none."""
        with self._errors():
            manifest = self._ask("GET", self._container.manifest_url(tag), headers={"Accept": MANIFEST})
            if manifest.status_code == 404:
                return None
            self._check(manifest)
            try:
                config = manifest.json()["config"]
                digest, size = str(config["digest"]), int(config["size"])
            except (KeyError, TypeError) as error:
                raise ValueError(f"the tag {tag} is no artifact of Conch") from error
            if size > LARGEST_DOCUMENT:
                raise ValueError(f"the tag {tag} is no artifact of Conch, its config has {size} bytes")
            answer = self._ask("GET", self._container.get_blob_url(digest))
            self._check(answer)
            if f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != digest:
                raise ValueError(f"the config of {tag} is not what its digest says; nothing of it was used")
            return answer.content

    def _put_artifact(self, tag: str, kind: str, config: bytes, layers: list[dict[str, Any]]) -> None:
        file = File(hashlib.sha256(config).hexdigest(), len(config))
        if not self.has(file):
            self._upload(file, config)
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": _descriptor(kind, file.sha256, file.size), "layers": layers,
        }  # fmt: skip
        with self._errors():
            headers = {"Content-Type": MANIFEST}
            self._check(self._ask("PUT", self._container.manifest_url(tag), headers=headers, json=manifest))

    def _upload(self, file: File, content: _Content | bytes) -> None:
        """As one request; `put_upload` of oras reads the whole file into memory."""
        with self._errors():
            begun = self._ask("POST", self._container.upload_blob_url())
            self._check(begun)
            place = requests.compat.urljoin(begun.url, begun.headers["Location"])
            place += f"{'&' if '?' in place else '?'}digest=sha256:{file.sha256}"
            headers = {"Content-Length": str(file.size), "Content-Type": ANY}
            self._check(self._client.do_request(place, "PUT", data=content, headers=headers))

    def _ask(self, method: str, url: str, **more: Any) -> requests.Response:
        answer: requests.Response = self._client.do_request(f"{self._client.prefix}://{url}", method, **more)
        return answer

    def _check(self, answer: requests.Response) -> None:
        if not answer.ok:
            said = " ".join(answer.text.split())[:300]
            raise ValueError(f"HTTP {answer.status_code}: {said or answer.reason}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except WENT_WRONG as error:
            said = " ".join(str(error).split())
            raise ServingError(f"{self.url}: {said[:400]}; check the address and `docker login`") from error


def _descriptor(kind: str, sha256: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}


def _tag(model: str, version: int) -> str:
    return f"{model}.{version}"
