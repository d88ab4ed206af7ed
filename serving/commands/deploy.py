"""`conch deploy`: manifests from the repository and deploy.yaml, and whether they still say what is so.

examples:
  conch deploy init --out deploy --release 26.09    deploy/deploy.yaml, with the models that are live
  conch deploy kubernetes --out deploy              deploy/kubernetes: kustomize base and overlays
  conch deploy compose --out deploy                 deploy/compose: all of it on one machine
  conch deploy images --out deploy                  deploy/images: Dockerfiles, and what they are built from
  conch deploy check deploy                         what has changed since
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from conch.command_line import OUT, print_json
from conch.contracts.artifacts import models_folder
from conch.contracts.live import live_version
from serving.commands.run import run
from serving.deploy.choices import FILE, Choices, explanation, read_build, read_choices, schema
from serving.deploy.compose import compose
from serving.deploy.facts import Facts, read_facts
from serving.deploy.images import copy_sources, images
from serving.deploy.kserve import kserve
from serving.deploy.kubernetes import kubernetes, reached_percent
from serving.deploy.manifests import Tree
from serving.deploy.writing import drift, write
from serving.errors import ServingError
from serving.onnx_files.releases import NEWEST
from serving.repository.folder import check_repository
from serving.repository.text_pipeline import TOKENIZER_FILE


def _known(make: Callable[[Choices, Facts], Tree]) -> Callable[[Path, Path], Tree]:
    """What is made of all choices, and of what is known, from the file and the repository."""

    def tree(file: Path, repository: Path) -> Tree:
        chosen = read_choices(file)
        return make(chosen, read_facts(chosen, repository))

    return tree


KINDS: dict[str, Callable[[Path, Path], Tree]] = {
    "kubernetes": _known(kubernetes),
    "kserve": _known(kserve),
    "compose": _known(compose),
    "images": lambda file, repository: images(read_build(file), repository),
}
NEXT = {
    "kubernetes": "kubectl apply -k {folder}/overlays/gpu    # or cpu, mig",
    "kserve": "kubectl apply -k {folder}",
    "images": "cd {folder} && docker buildx bake",
    "compose": "docker compose -f {folder}/compose.yaml -f {folder}/gpu.yaml up -d    # a processor: without gpu.yaml",
}
Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Flags:
    """What is common to all that is written."""

    out: Path | None = None
    """The folder that gets it, in a folder of its own; deploy.yaml is looked for in it."""
    choices: Path | None = None
    """Another file of choices."""
    repository: Path | None = None
    """The model repository. Default: artifacts/models."""
    explain: Flag = False
    """Only print the fields of deploy.yaml."""
    schema: Flag = False
    """Only print its JSON schema."""


Given = Annotated[Flags, tyro.conf.OmitArgPrefixes]


def _write(kind: str, flags: Flags) -> int:
    if flags.schema:
        print_json(schema())
        return 0
    if flags.explain:
        sys.stdout.write(explanation() + "\n")
        return 0
    if flags.out is None:
        raise ServingError("--out is needed: the folder that gets the manifests")
    file, repository, folder = flags.choices or flags.out / FILE, flags.repository or models_folder(), flags.out / kind
    changed = write(KINDS[kind](file, repository), folder)
    if kind == "images":
        copy_sources(read_build(file), repository, folder)
    for path in changed:
        OUT.print(escape(str(path)), highlight=False)
    OUT.print(f"{len(changed) or 'no'} files changed; next: {NEXT[kind].format(folder=folder)}", highlight=False)
    _tell_tokenizers(read_build(file).models if kind == "images" else read_choices(file).models, repository)
    if kind == "kubernetes":
        _tell_share(read_choices(file))
    return 0


def _tell_tokenizers(models: Mapping[str, int], repository: Path) -> None:
    for name, version in models.items():
        if (repository / name / str(version) / TOKENIZER_FILE).exists():
            OUT.print(
                f"{escape(name)} needs the Python package tokenizers, which NVIDIA's image does not have: "
                "images.triton has to be one made of it (docs/pretrained.md)",
                highlight=False, soft_wrap=True,
            )  # fmt: skip


def _tell_share(chosen: Choices) -> None:
    if chosen.canary and (share := reached_percent(chosen)) != chosen.canary.percent:
        OUT.print(
            f"of {chosen.replicas.least} pods and its own the canary gets {share} % of the requests, "
            f"not {chosen.canary.percent}: only more replicas make it finer",
            highlight=False,
        )


def kubernetes_command(flags: Given = Flags()) -> int:  # frozen
    """Write manifests for Kubernetes: a kustomize base, and overlays for processors, whole GPUs and MIG.

    For example: conch deploy kubernetes --out deploy
    """
    return _write("kubernetes", flags)


def kserve_command(flags: Given = Flags()) -> int:  # frozen
    """Write manifests for KServe: a ServingRuntime and an InferenceService.

    For example: conch deploy kserve --out deploy
    """
    return _write("kserve", flags)


def compose_command(flags: Given = Flags()) -> int:
    """Write a file for Docker Compose: Triton and its guard, Prometheus, Grafana with the dashboard, and Locust.

    For example: conch deploy compose --out deploy
    """
    return _write("compose", flags)


def images_command(flags: Given = Flags()) -> int:
    """Write what `docker buildx bake` builds: the kit, its clients and its load test, and the models on NVIDIA's image.

    For example: conch deploy images --out deploy
    """
    return _write("images", flags)


def init(out: Path, release: str = NEWEST, repository: Path | None = None) -> int:
    """Write a deploy.yaml with the models that are live; what nobody can know is left to be filled in.

    For example: conch deploy init --out deploy

    Args:
        out: The folder that gets it.
        release: The Triton release.
        repository: The model repository. Default: artifacts/models.
    """
    repository, file = repository or models_folder(), out / FILE
    if file.exists():
        raise ServingError(f"{file} is there already; it was left alone")
    versions = {name: live_version(repository / name) for name in check_repository(repository)}
    models = "".join(f"  {name}: {version}\n" for name, version in versions.items() if version)
    write({FILE: BEGINNING.format(models=models, release=release)}, out)
    OUT.print(f"{escape(str(file))}: name the store and the images; all fields: --explain", highlight=False)
    return 0


BEGINNING = """\
# What `conch deploy` cannot know; `conch deploy kubernetes --explain` lists all fields.
models:
{models}store: s3://BUCKET/models    # conch push s3://BUCKET/models
release: "{release}"
images:                      # docker buildx imagetools inspect NAME:TAG prints a digest
  triton: nvcr.io/nvidia/tritonserver:{release}-py3@sha256:DIGEST
  conch: REGISTRY/conch:TAG@sha256:DIGEST
  # prometheus: prom/prometheus:TAG@sha256:DIGEST    # both for conch deploy compose
  # grafana: grafana/grafana:TAG@sha256:DIGEST
"""


def check(folder: tyro.conf.Positional[Path], choices: Path | None = None, repository: Path | None = None) -> int:
    """Say what differs in FOLDER from what would be written now: the repository, the choices or the files changed.

    For example: conch deploy check deploy

    The exit code is 1 where something differs.

    Args:
        folder: What --out was.
        choices: Another file of choices than that in the folder.
        repository: The model repository. Default: artifacts/models.
    """
    file, repository = choices or folder / FILE, repository or models_folder()
    there = [kind for kind in KINDS if (folder / kind).is_dir()]
    if not there:
        raise ServingError(f"{folder} has none of {', '.join(KINDS)}: `conch deploy kubernetes --out {folder}`")
    found = [f"{kind}/{line}" for kind in there for line in drift(KINDS[kind](file, repository), folder / kind)]
    for line in found:
        OUT.print(escape(line), highlight=False, soft_wrap=True)
    OUT.print(f"{len(found) or 'no'} differences", highlight=False)
    return 1 if found else 0


COMMANDS: dict[str, Callable[..., int]] = {
    "init": init,
    "kubernetes": kubernetes_command,
    "kserve": kserve_command,
    "compose": compose_command,
    "images": images_command,
    "check": check,
}


def main(words: Sequence[str]) -> int:
    """Run `conch deploy` with these words; the exit code."""
    return run(
        lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="conch deploy", description=__doc__, args=words)
    )
