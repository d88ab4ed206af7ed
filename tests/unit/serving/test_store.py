"""Proven versions go into a store once, and come out of it as they were or not at all: a folder, S3 and a registry."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from moto.server import ThreadedMotoServer
from oras.client import OrasClient

from conch.contracts.live import Decision, config_file, decide, labels_file, live_version
from conch.contracts.versions import versions
from serving.commands.pull import main as pull
from serving.commands.push import main as push
from serving.errors import ServingError
from serving.repository.publish import publish
from serving.store.opening import open_store
from serving.store.pull import DOWNLOADS
from serving.store.push import push as push_version
from tests.support import graphs
from tests.support.registry import docker_registry, installed

ROOT = Path(__file__).parents[3]
Publish = Callable[..., Path]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server on loopback (moto, a mock of Amazon's that speaks its protocol)."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry on loopback."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(params=["folder", "s3", pytest.param("oci", marks=installed)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    if request.param == "oci":
        return f"oci://{request.getfixturevalue('registry')}/{tmp_path.name.lower().strip('_')}/models"
    endpoint = request.getfixturevalue("s3")
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = tmp_path.name.replace("_", "-")[:60].strip("-")
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/models"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here" / "models"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The repository of the machine that pulls."""
    return tmp_path / "there" / "models"


@pytest.fixture
def put(tmp_path: Path, here: Path) -> Publish:
    def put(name: str = "classify", passed: bool = True, labels: tuple[str, ...] = ("cat", "dog", "bird")) -> Path:
        onnx_file = graphs.write(graphs.CLASSIFY, tmp_path / "graph.onnx")
        return publish(
            onnx_file, name=name, repository=here, max_batch_size=8, manifest={},
            parity={"passed": passed, "cells": []}, golden=graphs.golden(onnx_file),
            labels={"probabilities": labels},
        )  # fmt: skip

    return put


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(command: Callable[[list[str]], int], repository: Path, *words: object) -> int:
    return command([*map(str, words), "--repository", str(repository)])


def test_what_is_pulled_is_what_was_pushed(
    put: Publish, url: str, here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    assert run(push, here, url) == 0
    assert run(pull, there, url) == 0
    assert tree(there) == tree(here)
    assert sorted(entry.name for entry in there.parent.iterdir()) == ["models"]
    capsys.readouterr()
    assert run(push, here, url) == 0
    assert run(pull, there, url, "classify") == 0
    assert capsys.readouterr().out == "classify version 1 is there already\n" * 2


def test_versions_keep_their_own_configuration_whatever_the_order(
    put: Publish, url: str, here: Path, there: Path, tmp_path: Path
) -> None:
    put(labels=("a", "b", "c"))
    put(labels=("x", "y", "z"))
    assert run(push, here, url) == 0
    for order in ((1, 2), (2, 1)):
        pulled = tmp_path / f"{order}" / "models"
        for version in order:
            assert run(pull, pulled, url, "--version", version) == 0
        model, original = pulled / "classify", here / "classify"
        assert versions(model) == [1, 2]
        for version in order:
            assert config_file(model, version).read_bytes() == config_file(original, version).read_bytes()
            assert labels_file(model, version).read_text() == labels_file(original, version).read_text()
            assert tree(model / "warmup" / str(version)) == tree(original / "warmup" / str(version))


def test_what_is_live_stays_live(put: Publish, url: str, here: Path, there: Path) -> None:
    put()
    run(push, here, url)
    run(pull, there, url)
    decide(there / "classify", Decision(1, None, "rollout"))
    put()
    run(push, here, url)
    assert run(pull, there, url) == 0
    assert versions(there / "classify") == [1, 2]
    assert live_version(there / "classify") == 1


def test_a_version_never_changes(put: Publish, url: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = put()
    run(push, here, url)
    shutil.rmtree(here)
    put(labels=("other", "words", "here"))
    assert run(push, here, url) == 1
    told = capsys.readouterr().err
    assert "has another version 1 of 'classify', which differs in " in told
    assert "labels.txt" in told
    assert "publish this one under a new number" in told
    assert version.exists()


def test_of_two_who_push_one_number_at_once_one_wins(
    put: Publish, url: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    run(push, here, url)
    document = open_store(url).document("classify", 1)
    shutil.rmtree(here)
    put(labels=("other", "words", "here"))
    store = open_store(url)
    looks, read = iter([None]), store.document
    # The slower one looks before the faster one has written.
    monkeypatch.setattr(store, "document", lambda *of: read(*of) if next(looks, of) else None)
    with pytest.raises(ServingError, match="has another version 1"):
        push_version(store, here / "classify", 1, None, lambda _: None)
    assert open_store(url).document("classify", 1) == document


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda v: (v / "model.onnx").write_bytes(b"other"), "1/model.onnx is not what was published"),
        (lambda v: (v.parent / "config.pbtxt").open("a").write("# mine\n"), "config.pbtxt is not what was published"),
        (lambda v: (v / "golden.npz").unlink(), "1/golden.npz is not what was published (missing, its manifest says "),
        (lambda v: (v / "parity.json").write_text('{"passed": false}'), "its parity grid has failing cells"),
        (lambda v: (v / "parity.json").unlink(), "no readable parity.json"),
    ],
)
def test_what_is_not_proven_is_not_pushed(
    put: Publish,
    tmp_path: Path,
    here: Path,
    harm: Callable[[Path], object],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(put())
    assert run(push, here, tmp_path / "store") == 1
    assert told in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "store").rglob("*.json"))


def test_a_file_that_is_not_what_its_hash_says_is_refused(
    put: Publish, tmp_path: Path, here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    store = tmp_path / "store"
    run(push, here, store)
    blob = max((store / "sha256").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    assert run(pull, there, store) == 1
    assert f"{blob.name} is not what its name says" in capsys.readouterr().err
    assert list(there.glob("*")) == []
    blob.unlink()
    assert run(pull, there, store) == 1
    assert f"{blob.name} is missing; push the version again" in capsys.readouterr().err
    assert run(push, here, store) == 0  # which does nothing: the document is there
    assert not blob.exists()


def test_a_pull_goes_on_where_it_was_cut_off(put: Publish, url: str, here: Path, there: Path) -> None:
    version = put()
    run(push, here, url)
    document = json.loads(open_store(url).document("classify", 1) or b"")
    file = document["files"]["1/golden.npz"]
    downloads = there.parent / DOWNLOADS
    downloads.mkdir(parents=True)
    part = downloads / f"{file['sha256']}.part"
    part.write_bytes((version / "golden.npz").read_bytes()[:100])
    began = part.stat().st_ino
    assert run(pull, there, url) == 0
    assert tree(there) == tree(here)
    assert (there / "classify" / "1" / "golden.npz").stat().st_ino != began  # it was copied, and the parts are gone
    assert not downloads.exists()

    shutil.rmtree(there)
    downloads.mkdir(parents=True)
    part.write_bytes(b"another beginning")
    assert run(pull, there, url) == 1  # said once, and the next pull begins anew
    assert run(pull, there, url) == 0
    assert tree(there) == tree(here)


def test_a_pull_that_is_killed_leaves_a_repository_that_serves(
    put: Publish, here: Path, there: Path, tmp_path: Path
) -> None:
    put()
    store = tmp_path / "store"
    run(push, here, store)
    program = (
        "import os, sys, serving.store.pull as pull\n"
        "pull.move_into_place = lambda *_: os.kill(os.getpid(), 9)\n"
        "from serving.commands.pull import main\nmain(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(store), "--repository", str(there)], check=False)
    assert killed.returncode == -9
    assert list(there.iterdir()) == []
    assert run(pull, there, store) == 0
    assert tree(there) == tree(here)
    assert sorted(entry.name for entry in there.parent.iterdir()) == ["models"]


def test_signed_versions(
    put: Publish, url: str, here: Path, there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    private, public = write_keys(tmp_path / "ours")
    _, stranger = write_keys(tmp_path / "stranger")
    run(push, here, url)
    assert run(pull, there, url, "--public-key", public) == 1
    assert "is not signed; push it with --sign" in capsys.readouterr().err
    assert run(push, here, url, "--sign", private) == 0  # later, of what is there
    assert run(pull, there, url, "--public-key", stranger) == 1
    assert "is not signed by this key, or was changed since" in capsys.readouterr().err
    assert not there.exists()
    assert run(pull, there, url, "--public-key", public) == 0
    assert run(push, here, url, "--sign", public) == 1
    assert "no private key in PEM without a passphrase" in capsys.readouterr().err
    assert run(pull, there, url, "--public-key", private) == 1
    assert "no public key in PEM" in capsys.readouterr().err


SECRET = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
"""The word `secret` by bcrypt, as `htpasswd -B` writes it."""


@installed
@pytest.mark.slow
def test_a_registry_that_asks_who_it_is(
    put: Publish, here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Each file is sent again after the registry has asked, as `docker login` has it known."""
    put()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "passwords").write_text(f"us:{SECRET}\n")
    with docker_registry(tmp_path, tmp_path / "passwords") as address:
        url = f"oci://{address}/team/models"
        assert run(push, here, url) == 1
        said = capsys.readouterr().err
        assert "check the address and `docker login`" in said
        assert said.count("\n") == 1
        login = {"auths": {address: {"auth": base64.b64encode(b"us:secret").decode()}}}
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker" / "config.json").write_text(json.dumps(login))
        assert run(push, here, url) == 0
        (tmp_path / ".docker" / "config.json").unlink()
        monkeypatch.setenv("ORAS_USER", "us")
        monkeypatch.setenv("ORAS_PASS", "secret")
        assert run(pull, there, url) == 0
    assert tree(there) == tree(here)


@installed
def test_what_is_in_a_registry_is_an_artifact_that_others_can_read(
    put: Publish, here: Path, registry: str, tmp_path: Path
) -> None:
    """By oras' own client: each file where its title says."""
    put()
    assert run(push, here, f"oci://{registry}/artifact") == 0
    OrasClient(insecure=True).pull(f"{registry}/artifact:classify.1", outdir=str(tmp_path / "pulled"))
    assert (tmp_path / "pulled" / "1" / "model.onnx").read_bytes() == (
        here / "classify" / "1" / "model.onnx"
    ).read_bytes()


@installed
def test_what_no_registry_can_mean(put: Publish, here: Path, registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    put()
    for url, told in (
        (
            f"oci://{registry}/models:latest",
            "expected oci://registry/name, the name in small letters and without a tag",
        ),
        ("oci://127.0.0.1:1/models", "Connection refused"),
        (f"oci://{registry}/Models", "the name in small letters"),
        (f"oci://{registry}", "expected oci://registry/name"),
    ):
        assert run(push, here, url) == 1
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1


def write_keys(folder: Path) -> tuple[Path, Path]:
    """A private and a public key, as openssl writes them."""
    folder.mkdir()
    key = Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return folder / "key.pem", folder / "key.pub"


@pytest.mark.parametrize(
    ("path", "digest"),
    [
        ("../escaped", "0" * 64), ("1/../../escaped", "0" * 64), ("/etc/escaped", "0" * 64), ("2/model.onnx", "0" * 64),
        ("1", "0" * 64), ("history.jsonl", "0" * 64), ("1/model.onnx", "../../x"), ("warmup/2/x", "0" * 64),
    ],
)  # fmt: skip
def test_a_forged_document_writes_nowhere(
    path: str, digest: str, tmp_path: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "store" / "models" / "bad" / "1.json"
    document.parent.mkdir(parents=True)
    said = {"format": 1, "model": "bad", "version": 1, "files": {path: {"sha256": digest, "size": 1}}}
    document.write_text(json.dumps(said))
    assert run(pull, there, tmp_path / "store") == 1
    assert "names a file" in capsys.readouterr().err
    assert not there.exists()


@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "model": 1, "version": "x", "files": {}}', b"\xff"]
)
def test_a_damaged_document_is_told(
    said: bytes, tmp_path: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "store" / "models" / "bad" / "1.json"
    document.parent.mkdir(parents=True)
    document.write_bytes(said)
    assert run(pull, there, tmp_path / "store") == 1
    told = capsys.readouterr().err
    assert "does not say the contents of a version" in told
    assert "Traceback" not in told


def test_what_cannot_be_meant_is_told(
    put: Publish, here: Path, there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    store = tmp_path / "store"
    run(push, here, store)
    for command, repository, words, told in (
        (push, here, [store, "resnet"], "has no 'resnet'; it has: classify"),
        (push, here, [store, "classify", "--version", "7"], "has no version 7 of 'classify'; it has: versions 1"),
        (push, here, ["ftp://somewhere/x"], "expected s3://bucket/prefix"),
        (pull, there, [tmp_path / "nowhere"], "is no folder"),
        (pull, there, [store, "resnet"], "has no model 'resnet'; it has: classify"),
        (pull, there, [store, "--version", "7"], "has no version 7 of 'classify'; it has: 1"),
        (pull, there, [tmp_path], "has no models; fill it with: conch push"),
    ):
        assert run(command, repository, *words) == 1
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
    assert not there.exists()


def test_two_versions_share_what_is_the_same(put: Publish, tmp_path: Path, here: Path) -> None:
    put()
    put()
    store = tmp_path / "store"
    run(push, here, store)
    blobs = {file.name for file in (store / "sha256").iterdir()}
    documents = [json.loads((store / "models" / "classify" / f"{number}.json").read_text()) for number in (1, 2)]
    hashes = [
        {path.removeprefix(f"{n}/"): f["sha256"] for path, f in d["files"].items()} for n, d in enumerate(documents, 1)
    ]
    assert hashes[0]["model.onnx"] == hashes[1]["model.onnx"]
    assert blobs == set(hashes[0].values()) | set(hashes[1].values())


@pytest.mark.slow
@installed
def test_the_commands_of_the_page(put: Publish, here: Path, tmp_path: Path, registry: str) -> None:
    put(name="cnn")
    text = (ROOT / "docs" / "store.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert lines[2] == "conch serve --repository elsewhere/models"
    script = "\n".join(line for line in lines if not line.startswith(("conch serve", "docker login")))
    script = script.replace("/mnt/models", "store").replace("registry.example", registry)
    environment = {**os.environ, "CONCH_ARTIFACTS": str(here.parent), "PYTHONPATH": str(ROOT)}
    conch = f'set -e; conch() {{ "{sys.executable}" -m conch "$@"; }}\n'
    subprocess.run(["bash", "-c", conch + script], cwd=tmp_path, env=environment, check=True, timeout=200)
    for pulled in ("elsewhere", "signed"):
        assert tree(tmp_path / pulled / "models") == tree(here)
