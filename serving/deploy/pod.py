"""The pod of a server: models are pulled, the guard stands in front, and Triton behind it on loopback.

The kubelet asks the guard's page, and not Triton, whether Triton is well: there a model counts that answers its golden
requests. Its probes may ask another container's port, for all of a pod have one address.
"""

import math
import re

from serving.deploy.choices import Choices
from serving.deploy.facts import Facts
from serving.deploy.manifests import Manifest, claim_volume, container_security, empty, pod_security, resources
from serving.monitoring.page import HEALTH_PATH
from serving.server.arguments import arguments
from serving.server.server import LOOPBACK, STOP_SECONDS

MODELS, PULLED = "/models", "/pulled"
"""Where servers find their models, and where those are put, with what is only half pulled beside them."""
STORE, SETTINGS = "/store", "/etc/conch/settings"
KEYS, TLS, TOKENS = "/etc/conch/keys", "/etc/conch/tls", "/etc/conch/tokens"
PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""The guard's, where clients expect Triton."""
PAGE = 8003
INNER = {"HTTP": 9000, "gRPC": 9001, "metrics": 9002}
"""Triton's own, on loopback."""
TRITON = "triton"
"""The container's name, which the overlays patch."""
LEAVE_SECONDS = 10
"""Between the order to end and Triton's: until every balancer has heard that the pod is going."""
MISSED = {"readinessProbe": 2, "livenessProbe": 6}
"""Rounds of golden requests that have to go wrong before a pod gets no requests, and before Triton is started anew."""
PULL_MEMORY, GUARD_MEMORY = "512Mi", "1Gi"


def pod(choices: Choices, facts: Facts, labels: dict[str, str], versions: str) -> Manifest:
    """A pod template.

    Args:
        choices: What was chosen.
        facts: What is known.
        labels: Of the pod.
        versions: The ConfigMap with the version of each model.
    """
    spec: Manifest = {
        "automountServiceAccountToken": False,
        **({"serviceAccountName": choices.service_account} if choices.service_account else {}),
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": LEAVE_SECONDS + math.ceil(STOP_SECONDS) + 10,
        "topologySpreadConstraints": [_spread(key, labels) for key in SPREAD],
        "initContainers": [*_pulls(choices, facts, versions), _guard(choices)],
        "containers": [_triton(choices, facts)],
        "volumes": volumes(choices, facts),
    }
    return {"metadata": {"labels": labels}, "spec": spec}


SPREAD = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def _spread(key: str, labels: dict[str, str]) -> Manifest:
    same = {"matchLabels": labels}
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": same}


def _pulls(choices: Choices, facts: Facts, versions: str) -> list[Manifest]:
    """A container a model, each with a version of its own; one for all where they are in the image."""
    names = [model.name for model in facts.models][: 1 if choices.models_in_image else None]
    return [bring(choices, name, versions, number) for number, name in enumerate(names)]


def bring(choices: Choices, model: str, versions: str, number: int) -> Manifest:
    """The container by which a model is in the pod; `conch pull` checks every file against its hash."""
    if not choices.models_in_image:
        return pull(choices, model, versions, number)
    return {  # for the others, which have another image
        "name": "copy", "image": choices.images.triton, "command": ["cp", "-r", MODELS, PULLED],
        "resources": resources("250m", PULL_MEMORY), "securityContext": container_security(),
        "volumeMounts": [{"name": "pulled", "mountPath": PULLED}],
    }  # fmt: skip


def pull(choices: Choices, model: str, versions: str, number: int) -> Manifest:
    """The container that has a version of a model in /models, or fails."""
    mounts = [{"name": "pulled", "mountPath": PULLED}, _tmp("pull")]
    if choices.claim:
        mounts.append({"name": "store", "mountPath": STORE, "readOnly": True})
    if choices.public_key:
        mounts.append({"name": "key", "mountPath": KEYS, "readOnly": True})
    version = {"configMapKeyRef": {"name": versions, "key": model}}
    secret = [{"secretRef": {"name": choices.store_secret}}] if choices.store_secret else []
    return {
        "name": f"pull-{number}-{label(model)}",
        "image": choices.images.conch,
        "command": ["conch"],
        "args": pull_words(choices, model, "$(VERSION)"),
        "env": [{"name": "VERSION", "valueFrom": version}, *_variables(HOME)],
        **({"envFrom": secret} if secret else {}),
        "resources": resources("250m", PULL_MEMORY),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }


def pull_words(choices: Choices, model: str, version: str) -> list[str]:
    """The command line that has a version of a model in /pulled/models."""
    words = ["pull", choices.store or STORE, model, "--version", version, "--repository", f"{PULLED}{MODELS}"]
    return words + (["--public-key", f"{KEYS}/{choices.public_key.name}"] if choices.public_key else [])


def label(name: str) -> str:
    """A model's name as a part of a container's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "model"


HOME = {"CONCH_ARTIFACTS": "/tmp/conch", "HOME": "/tmp"}
"""Where the kit's commands write: the root of the image is read-only."""
TRITON_HOME = {"HOME": "/tmp", "ORT_DISABLE_TELEMETRY": "1"}


def _variables(values: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in values.items()]


def guard_words(choices: Choices, models: str = MODELS) -> list[str]:
    """The command line of the guard beside a Triton on loopback."""
    words = ["guard", "--host", "0.0.0.0", "--repository", models, "--log-format", "json"]
    for service, port in INNER.items():
        words += [f"--triton-{service.lower()}", f"{LOOPBACK}:{port}"]
    for service, port in PORTS.items():
        words += [f"--{service}-port", str(port)]
    words += ["--page-port", str(PAGE), "--probe", f"{choices.probe_seconds}s"]
    words += ["--max-rate", str(choices.limits.rate), "--max-connections", str(choices.limits.connections)]
    if choices.tls:
        words += ["--certificate", f"{TLS}/tls.crt", "--key", f"{TLS}/tls.key"]
    if choices.tokens:
        words += ["--token-file", f"{TOKENS}/tokens"]
    return words


def _guard(choices: Choices) -> Manifest:
    """A sidecar that starts before Triton and ends after it (Kubernetes 1.29 and later)."""
    mounts = [_models_mount(), _tmp("guard")]
    places = [("promises", SETTINGS), *secrets(choices)]
    mounts += [{"name": name, "mountPath": path, "readOnly": True} for name, path in places]
    ports = [{"name": name, "containerPort": port} for name, port in {**PORTS, "page": PAGE}.items()]
    return {
        "name": "guard",
        "image": choices.images.conch,
        "restartPolicy": "Always",
        "command": ["conch"],
        "args": guard_words(choices),
        "workingDir": SETTINGS,  # where it looks for promises.yaml
        "env": _variables(HOME),
        "ports": ports,
        # That it is there at all: what it says of Triton is for Triton's own probes.
        "livenessProbe": {"httpGet": {"path": "/metrics", "port": "page"}, "periodSeconds": 10, "failureThreshold": 3},
        "resources": resources("1", GUARD_MEMORY),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }


def _models_mount() -> Manifest:
    return {"name": "pulled", "mountPath": MODELS, "subPath": MODELS.strip("/"), "readOnly": True}


def _tmp(whose: str) -> Manifest:
    return {"name": "tmp", "mountPath": "/tmp", "subPath": whose}


def secrets(choices: Choices) -> list[tuple[str, str]]:
    """What the guard is given to keep: the field that names it, and where it is."""
    return [(name, path) for name, path in (("tls", TLS), ("tokens", TOKENS)) if getattr(choices, name)]


def triton_words(facts: Facts, models: str = MODELS) -> list[str]:
    """The command line of Triton in its container: the launcher's, behind a guard."""
    return ["tritonserver", *arguments(models, LOOPBACK, INNER, facts.options, exit_on_error=True)]


def _triton(choices: Choices, facts: Facts) -> Manifest:
    ask = {"httpGet": {"path": HEALTH_PATH, "port": PAGE}, "periodSeconds": choices.probe_seconds, "timeoutSeconds": 5}
    rounds = math.ceil(60 * choices.start_minutes / choices.probe_seconds)
    return {
        "name": TRITON,
        "image": choices.images.triton,
        "args": triton_words(facts),
        "startupProbe": ask | {"failureThreshold": rounds},
        **{probe: ask | {"failureThreshold": missed} for probe, missed in MISSED.items()},
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "resources": resources(str(facts.cpus), facts.memory),
        "securityContext": container_security(),
        "env": _variables(TRITON_HOME),
        "volumeMounts": [_models_mount(), {"name": "shm", "mountPath": "/dev/shm"}, _tmp(TRITON)],
    }


def volumes(choices: Choices, facts: Facts) -> list[Manifest]:
    """Of the whole pod."""
    found = [
        empty("pulled", facts.disk), empty("shm", facts.shared_memory, memory=True), empty("tmp", "1Gi"),
        {"name": "promises", "configMap": {"name": f"{choices.name}-promises"}},
    ]  # fmt: skip
    if choices.claim:
        found.append(claim_volume("store", choices.claim, read_only=True))
    if choices.public_key:
        found.append({"name": "key", "configMap": {"name": f"{choices.name}-public-key"}})
    # Who reads is not who owns: the kubelet lets fsGroup read, which the guard takes for what it is.
    found += [
        {"name": name, "secret": {"secretName": getattr(choices, name), "defaultMode": 0o440}}
        for name, _ in secrets(choices)
    ]
    return found
