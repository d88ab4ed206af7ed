"""`deploy.yaml`: what nobody can know but who deploys. Each field is checked before anything is written."""

import re
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ServingError
from serving.guard.limits import Limits
from serving.onnx_files.releases import NEWEST, find_release
from serving.server.ports import is_loopback

FILE = "deploy.yaml"
DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
LABEL = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
"""A name that Kubernetes takes, and short enough for what is put behind it (RFC 1123)."""
QUANTITY = r"[1-9][0-9]*(Mi|Gi)"
MOST_REPLICAS = 10_000


def _pinned(image: str) -> str:
    if not DIGEST.fullmatch(image):
        raise ValueError(
            "an image is pinned by digest, NAME:TAG@sha256:...; `docker buildx imagetools inspect NAME:TAG` prints it"
        )
    return image


def _released(name: str) -> str:
    try:
        return find_release(name).name
    except ServingError as error:
        raise ValueError(str(error).removeprefix("--triton ")) from error


Image = Annotated[str, AfterValidator(_pinned)]
Name = Annotated[str, Field(pattern=f"^{LABEL}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A mapping of the file: no key but these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Images(Section):
    """Container images, each NAME:TAG@sha256:DIGEST. Here alone: manifests take them from here."""

    triton: Image = Field(description="NVIDIA's Triton of `release`, or one made of it that has the models in /models")
    conch: Image = Field(description="the kit with nginx: pulls models, guards and probes")
    load: Image | None = Field(default=None, description="Locust with the kit's load test; for `load`")
    training: Image | None = Field(default=None, description="the kit with PyTorch; for `training`")
    prometheus: Image | None = Field(default=None, description="prom/prometheus; for `conch deploy compose`")
    grafana: Image | None = Field(default=None, description="grafana/grafana; for `conch deploy compose`")


class Ingress(Section):
    """Who is outside of the cluster reaches HTTP, by a controller that is there."""

    host: str = Field(
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        description="the name that callers know",
    )
    controller: Name | None = Field(default=None, description="the ingressClassName. Default: the cluster's own")
    namespace: Name = Field(description="where the controller's pods run, which are let in")
    certificate: Name | None = Field(
        default=None, description="a Secret of the type kubernetes.io/tls for that name; without one, plain HTTP"
    )


class Replicas(Section):
    """How many pods; between the two the queue decides."""

    least: int = Field(default=2, ge=1, le=MOST_REPLICAS, description="pods at all times")
    most: int = Field(default=10, ge=1, le=MOST_REPLICAS, description="pods when requests wait")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least is {self.least}, which is above most, {self.most}")
        return self


class Canary(Section):
    """Other versions for a share of the requests: a second Deployment behind the same Services."""

    models: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1, description="model: version, of some models")
    percent: int = Field(ge=1, le=50, description="of the pods, and so of the requests")


class Monitoring(Section):
    """Who looks at the metrics."""

    namespace: Name = Field(default="monitoring", description="where Prometheus runs: it alone reaches the metrics")
    operator: bool = Field(
        default=True, description="whether there is a Prometheus Operator, for ServiceMonitor and rules"
    )


class GuardLimits(Section):
    """What one address may ask of the guard. Behind a gateway all callers have one address."""

    rate: int = Field(default=Limits.rate, ge=1, description="requests a second")
    connections: int = Field(default=Limits.connections, ge=1, description="requests under way")


class KServe(Section):
    """What KServe is told beyond the rest."""

    storage_uri: str = Field(
        pattern=r"^(s3|gs|pvc)://[A-Za-z0-9._/-]+$",
        description="a plain copy of the model repository: s3://, gs:// or pvc://CLAIM/PATH",
    )
    canary_percent: int | None = Field(
        default=None, ge=1, le=99, description="canaryTrafficPercent: this share gets the new revision"
    )


class Compose(Section):
    """Where one machine's containers are reached; Prometheus and Grafana at 127.0.0.1 alone."""

    host: str = Field(default="127.0.0.1", pattern=r"^[0-9.]+$", description="the address of HTTP and gRPC")
    http: Port = Field(default=8000, description="the port of HTTP")
    grpc: Port = Field(default=8001, description="the port of gRPC")
    prometheus: Port = Field(default=9090, description="the port of Prometheus")
    grafana: Port = Field(default=3000, description="the port of Grafana")


class Load(Section):
    """A load test: Locust's master and workers."""

    model: str = Field(description="which of `models`")
    rate: float | None = Field(default=None, gt=0, description="requests a second. Default: what is promised")
    seconds: int = Field(default=60, ge=5, le=86_400, description="how long")
    workers: int = Field(default=2, ge=1, le=1000, description="pods that send")
    results: Name = Field(description="a PersistentVolumeClaim, with Compose a volume, which gets the report")


class Training(Section):
    """A training on several nodes."""

    recipe: str = Field(pattern=r"^[A-Za-z0-9_./-]+$", description="a recipe of the kit, or a file in the image")
    nodes: int = Field(default=1, ge=1, le=1000, description="pods")
    gpus: int = Field(default=1, ge=0, le=16, description="GPUs of each; 0 trains on the processor")
    artifacts: Name = Field(description="a PersistentVolumeClaim that all nodes can write (ReadWriteMany)")


class Build(Section):
    """What `conch deploy images` builds upon."""

    python: Image = Field(description="python:3.12-slim-bookworm or such: Debian with Python")
    triton: Image = Field(description="NVIDIA's Triton of `release`, which gets the models")
    debian: str = Field(
        pattern=r"^20\d{6}T\d{6}Z$", description="a time of Debian's snapshot archive: its packages are installed"
    )
    mirror: str = Field(
        pattern=r"^https?://[^\s|]+[^\s/|]$", description="that archive, or a copy of it: https://HOST/archive"
    )
    wheel: Path = Field(description="the kit's wheel: python -m build --wheel")
    constraints: Path = Field(description="the kit's constraints.txt")
    index: str | None = Field(
        default=None, pattern=r"^https://\S+$", description="another index of wheels, such as PyTorch's for processors"
    )
    registry: str = Field(
        pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*$", description="where the images are pushed: HOST/PATH"
    )


class Choices(Section):
    """All of deploy.yaml."""

    name: Name = Field(default="conch", description="of all objects")
    namespace: Name | None = Field(default=None, description="where they are put. Default: kubectl's")
    models: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1, description="model: version; one line each")
    release: Annotated[str, AfterValidator(_released)] = Field(
        description=f"the Triton release of the image, as {NEWEST}"
    )
    images: Images
    store: str | None = Field(
        default=None,
        pattern=r"^(s3|gs|az|oci)://\S+$",
        description="what `conch push` filled: s3://, gs://, az://, oci://",
    )
    store_secret: Name | None = Field(
        default=None, description="a Secret whose keys are the store's variables: AWS_..., ORAS_USER and such"
    )
    claim: Name | None = Field(
        default=None,
        description="instead of `store`, a PersistentVolumeClaim, with Compose a volume, that `conch push` filled",
    )
    models_in_image: bool = Field(default=False, description="instead of both: images.triton has the models")
    public_key: Path | None = Field(default=None, description="an Ed25519 public key: only what it signed is pulled")
    service_account: Name | None = Field(default=None, description="of the pods, for a store that knows them by it")
    gpus: int = Field(default=1, ge=1, le=16, description="GPUs of a pod, in the overlay gpu")
    mig: str = Field(
        default="1g.10gb",
        pattern=r"^[1-7]g\.[0-9]+gb(\.me)?$",
        description="the MIG profile of a pod, in the overlay mig",
    )
    cpus: int | None = Field(
        default=None, ge=1, description="cores of Triton. Default: instances times threads, by config.pbtxt"
    )
    memory: str | None = Field(
        default=None, pattern=f"^{QUANTITY}$", description="of Triton. Default: half more than a load test measured"
    )
    start_minutes: int = Field(default=10, ge=1, le=120, description="within which all models have to be ready")
    replicas: Replicas = Replicas()
    surge: int = Field(
        default=1, ge=0, le=100, description="more pods while a version is rolled out; 0 where GPUs are short"
    )
    promises: Path | None = Field(
        default=None, description="the promises' file. Default: the one that `conch load` reads"
    )
    probe_seconds: int = Field(default=10, ge=1, le=300, description="between two golden requests to a model")
    tls: Name | None = Field(default=None, description="a Secret of the type kubernetes.io/tls for the guard")
    tokens: Name | None = Field(
        default=None, description="a Secret: `tokens`, a token a line, and `prometheus`, one of them; needs `tls`"
    )
    clients: tuple[Name, ...] = Field(
        default=(), description="namespaces whose pods may call. Default: the pods' own alone"
    )
    ingress: Ingress | None = None
    limits: GuardLimits = GuardLimits()
    canary: Canary | None = None
    monitoring: Monitoring = Monitoring()
    kserve: KServe | None = None
    compose: Compose = Compose()
    load: Load | None = None
    training: Training | None = None
    build: Build | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        places = {"store": self.store, "claim": self.claim, "models_in_image": self.models_in_image}
        if sum(map(bool, places.values())) != 1:
            given = ", ".join(name for name, value in places.items() if value) or "none of them"
            raise ValueError(f"models come from one of store, claim and models_in_image: there is {given}")
        if self.store_secret and not self.store:
            raise ValueError("store_secret is for a store, and there is none")
        if self.public_key and self.models_in_image:
            raise ValueError("public_key is for what is pulled: sign the image instead")
        if self.tokens and not self.tls:
            raise ValueError("tokens would cross the network as plain text: tls is needed, too")
        if self.ingress and self.tokens and not self.ingress.certificate:
            raise ValueError("tokens would reach the ingress as plain text: ingress.certificate is needed, too")
        if not is_loopback(self.compose.host) and not self.tokens:
            raise ValueError(f"compose.host {self.compose.host} is a network's: tls and tokens are needed for it")
        tag = re.search(r":(\d\d\.\d\d)-py3", self.images.triton)
        if tag and tag[1] != self.release:
            raise ValueError(f"images.triton is of release {tag[1]}, and release says {self.release}")
        self._check_canary()
        if self.load and self.load.model not in self.models:
            raise ValueError(f"load.model {self.load.model!r} is none of models: {', '.join(self.models)}")
        if self.load and self.tls:
            raise ValueError(
                "load has no authority and no token to show a server with tls: test a copy of this file without it, "
                "or load that server with conch load run --url https://... --ca ... --token-file ..."
            )
        for section in ("load", "training"):
            if getattr(self, section) and getattr(self.images, section) is None:
                raise ValueError(f"{section} needs images.{section}")
        return self

    def _check_canary(self) -> None:
        for model, version in self.canary.models.items() if self.canary else ():
            if self.models_in_image:
                raise ValueError("canary needs models that are pulled, and these are in the image")
            if self.models.get(model) in (None, version):
                what = f"is version {version} already" if model in self.models else "is none of models"
                raise ValueError(f"canary.models: {model} {what}")


class BuildChoices(BaseModel):
    """Of deploy.yaml, what images are built from: before they are, nobody can pin them under `images`."""

    model_config = ConfigDict(frozen=True)

    models: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    release: Annotated[str, AfterValidator(_released)]
    build: Build | None = None


def read_choices(file: Path) -> Choices:
    """The choices in `file`, whose relative paths are meant from its folder.

    Raises:
        ServingError: It cannot be read, or a field is wrong: the line names it, what was got and what is allowed.
    """
    choices = _read(file, Choices)
    return choices.model_copy(
        update={
            "promises": _beside(file, choices.promises),
            "public_key": _beside(file, choices.public_key),
            "build": _built_beside(file, choices.build),
        }
    )


def read_build(file: Path) -> BuildChoices:
    """As `read_choices`, of the fields for building images alone."""
    choices = _read(file, BuildChoices)
    return choices.model_copy(update={"build": _built_beside(file, choices.build)})


def _built_beside(file: Path, build: Build | None) -> Build | None:
    found = {name: file.parent / getattr(build, name) for name in ("wheel", "constraints") if build}
    return build and build.model_copy(update=found)


Kind = TypeVar("Kind", bound=BaseModel)


def _read(file: Path, kind: type[Kind]) -> Kind:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ServingError(f"{file} is not there: `conch deploy init --out {file.parent}` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ServingError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ServingError(f"{file}: expected fields, got {document!r}; --explain lists them")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise ServingError(f"{file}: {_said(error)}; --explain lists all fields") from error


def _beside(file: Path, path: Path | None) -> Path | None:
    return path and file.parent / path


def _said(error: ValidationError) -> str:
    """The first complaint, in one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    got = "" if first["type"] == "missing" or not place else f", got {str(first['input'])[:80]!r}"
    text = first["msg"].removeprefix("Value error, ")
    return f"{place}: {text}{got}{more}" if place else f"{text}{more}"


def schema() -> dict[str, Any]:
    """The JSON schema of the file (draft 2020-12)."""
    return Choices.model_json_schema()


def explanation() -> str:
    """Every field with its default and what it is, for a person."""
    return "\n".join(_lines(Choices, ""))


def _lines(section: type[Section], indent: str) -> list[str]:
    lines = []
    for name, field in section.model_fields.items():
        inner = next((kind for kind in _kinds(field.annotation) if _is_section(kind)), None)
        default = "needed" if field.is_required() else "" if inner or field.default in (None, ()) else field.default
        about = field.description or (inner.__doc__ if inner else "") or ""
        state = f" ({default})" if default not in ("",) else ""
        lines.append(f"{indent}{name}{state}: {about}")
        if inner:
            lines += _lines(inner, indent + "  ")
    return lines


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", None) or (annotation,)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
