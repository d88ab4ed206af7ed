"""What images are built of: Dockerfiles, the models that are chosen, and one file for `docker buildx bake`.

Nothing here knows a digest: those of the images that are built upon stand in deploy.yaml, and are refused where they
are missing. What was built is pinned in the same file, under `images`.
"""

import calendar
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import read_version_manifest
from serving.deploy.choices import Build, BuildChoices
from serving.deploy.facts import check_there, check_together
from serving.deploy.manifests import Tree
from serving.deploy.monitors import FOLDER
from serving.errors import ServingError
from serving.repository.folder import check_repository
from serving.store.contents import Contents, local_files, read_contents

BAKE, SUMS = "docker-bake.json", "SHA256SUMS"
WHEEL = re.compile(r"conch-([0-9][A-Za-z0-9.!+]*)-py3-none-any\.whl")
EXTRAS = {"clients": "", "load": "[load]", "conch": "[cpu]"}


def images(choices: BuildChoices, repository: Path) -> Tree:
    """All files but those that `copy_sources` copies, by path.

    Raises:
        ServingError: There is no section `build`, a version is not there or not what was proven, or no wheel.
    """
    build = _build(choices)
    contents = _contents(choices, repository)
    sums = "".join(
        f"{file.sha256}  /models/{one.model}/{path}\n" for one in contents for path, file in sorted(one.files.items())
    )
    files = {f"{name}.Dockerfile": (FOLDER / f"{name}.Dockerfile").read_text("utf-8") for name in ("kit", "models")}
    return {**files, SUMS: sums, BAKE: json.dumps(_bake(choices, build, repository, contents), indent=2) + "\n"}


def copy_sources(choices: BuildChoices, repository: Path, folder: Path) -> None:
    """Put the wheel and the models beside the Dockerfiles, in the place of what was there.

    Raises:
        ServingError: It cannot be written.
    """
    build = _build(choices)
    sources = {f"kit/{build.wheel.name}": build.wheel, "kit/constraints.txt": build.constraints}
    for name, version in choices.models.items():
        files = local_files(repository / name, version)
        sources |= {f"repository/{name}/{path}": file for path, file in files.items()}
    try:
        for made in ("kit", "repository"):
            shutil.rmtree(folder / made, ignore_errors=True)
        for path, source in sources.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / path)
    except OSError as error:
        raise ServingError(f"cannot write {folder}: {error.strerror}") from error


def _build(choices: BuildChoices) -> Build:
    if choices.build is None:
        raise ServingError("build is needed: what the images are made of; --explain lists its fields")
    for file in (choices.build.wheel, choices.build.constraints):
        if not file.is_file():
            raise ServingError(f"build: {file} is not there; `python -m build --wheel` makes the wheel")
    if not WHEEL.fullmatch(choices.build.wheel.name):
        raise ServingError(
            f"build.wheel: {choices.build.wheel.name} is no wheel of the kit: conch-VERSION-py3-none-any.whl"
        )
    return choices.build


def _contents(choices: BuildChoices, repository: Path) -> list[Contents]:
    there = check_repository(repository)
    for name, version in choices.models.items():
        check_there(repository, there, name, version)
    check_together(repository, choices.models)
    return [read_contents(repository / name, version) for name, version in choices.models.items()]


def _bake(choices: BuildChoices, build: Build, repository: Path, contents: list[Contents]) -> dict[str, Any]:
    version = WHEEL.fullmatch(build.wheel.name)[1]  # type: ignore[index]  # `_build` has looked
    kit = {
        "conch.wheel": f"sha256:{sha256_of_file(build.wheel)}",
        "conch.constraints": f"sha256:{sha256_of_file(build.constraints)}",
    }
    arguments = {
        "PYTHON_IMAGE": build.python, "DEBIAN_MIRROR": build.mirror, "DEBIAN_TIME": f"/{build.debian}",
        "PIP_EXTRA_INDEX_URL": build.index or "",
        "SOURCE_DATE_EPOCH": str(calendar.timegm(time.strptime(build.debian, "%Y%m%dT%H%M%SZ"))),
    }  # fmt: skip
    targets = {
        name: _target(build, "kit.Dockerfile", f"{name}:{version}", {**arguments, "EXTRA": extra}, kit, build.python)
        | {"target": name}
        for name, extra in EXTRAS.items()
    }
    manifests = {one.model: read_version_manifest(repository / one.model / str(one.version)) for one in contents}
    models = {f"conch.model.{one.model}": _chain(one, manifests[one.model]) for one in contents}
    tag = f"models:{choices.release}-py3-" + "-".join(f"{one.model}.{one.version}" for one in contents)[:80]
    epoch = {"TRITON_IMAGE": build.triton, "SOURCE_DATE_EPOCH": arguments["SOURCE_DATE_EPOCH"]}
    targets["models"] = _target(build, "models.Dockerfile", tag, epoch, models, build.triton)
    return {"group": {"default": {"targets": list(targets)}}, "target": targets}


def _target(
    build: Build, dockerfile: str, tag: str, arguments: Mapping[str, str], labels: Mapping[str, str], base: str
) -> dict[str, Any]:
    name, _, digest = base.partition("@")
    return {
        "context": ".",
        "dockerfile": dockerfile,
        "args": dict(arguments),
        "labels": {
            "org.opencontainers.image.base.name": name, "org.opencontainers.image.base.digest": digest, **labels
        },
        "platforms": ["linux/amd64"],
        "tags": [f"{build.registry}/{tag}"],
        "output": ["type=registry,rewrite-timestamp=true"],
    }  # fmt: skip


def _chain(contents: Contents, manifest: Mapping[str, Any]) -> str:
    """What a version was made of, hash by hash, from the data to the file that is served."""
    chain = {"version": contents.version, "sha256": manifest.get("sha256", {})}
    return json.dumps(chain, sort_keys=True, separators=(",", ":"))
