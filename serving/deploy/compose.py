"""Compose: the containers of a pod on one machine, with Prometheus, Grafana and a load test beside them.

The container `server` does nothing but hold the network that the guard and Triton share, as Kubernetes' own does in a
pod: each of the two may end and be started again, and still finds the other on loopback.
"""

import hashlib
import json
import math
from typing import Any

import yaml

from serving.deploy.choices import Choices, Load
from serving.deploy.facts import Facts
from serving.deploy.load import LOCUSTFILE, RESULTS, master_words, worker_words
from serving.deploy.load import MEMORY as LOAD_MEMORY
from serving.deploy.manifests import USER, Manifest, Tree, as_yaml
from serving.deploy.pod import (
    GUARD_MEMORY,
    HOME,
    KEYS,
    MISSED,
    MODELS,
    PAGE,
    PORTS,
    PULL_MEMORY,
    PULLED,
    SETTINGS,
    STORE,
    TRITON,
    TRITON_HOME,
    guard_words,
    label,
    pull_words,
    secrets,
    triton_words,
)
from serving.deploy.watchers import DASHBOARDS, TOKEN, watchers
from serving.errors import ServingError
from serving.monitoring.page import HEALTH_PATH
from serving.server.server import LOOPBACK, STOP_SECONDS

SERVER = "server"
MASTER, WORKER = "load-master", "load-worker"
FRONT, BACK = "servers", "monitoring"
"""Networks: of who calls and is called, and of who only looks."""
MEMORY = {"server": "16Mi", "prometheus": "1Gi", "grafana": "512Mi"}
HEALTHY = f"import urllib.request as r; r.urlopen('http://{LOOPBACK}:{PAGE}{HEALTH_PATH}', timeout=5)"
QUIET = {
    # Nobody signs in, everybody at this machine looks; and nothing is asked of or told to the network.
    "GF_AUTH_ANONYMOUS_ENABLED": "true", "GF_AUTH_DISABLE_LOGIN_FORM": "true", "GF_AUTH_BASIC_ENABLED": "false",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true", "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
}  # fmt: skip


def compose(choices: Choices, facts: Facts) -> Tree:
    """All files, by path.

    Raises:
        ServingError: An image is missing, or the model of the load test promises nothing.
    """
    for name in ("prometheus", "grafana"):
        if getattr(choices.images, name) is None:
            raise ServingError(f"images.{name} is needed, by its digest: NAME:TAG@sha256:...")
    files = {
        "promises.yaml": yaml.safe_dump(facts.promises, sort_keys=False),
        **watchers(choices, SERVER, "http://prometheus:9090"),
    }
    if choices.load:
        files["locustfile.py"] = LOCUSTFILE
    if choices.public_key:
        files[choices.public_key.name] = choices.public_key.read_text(encoding="utf-8")
    services = {
        **_server(choices, facts, files),
        **_watching(choices, files),
        **(_load(choices, choices.load, facts, files) if choices.load else {}),
    }
    gpu = {"driver": "nvidia", "count": choices.gpus, "capabilities": ["gpu"]}
    on_gpu = {TRITON: {"deploy": {"resources": {"reservations": {"devices": [gpu]}}}}}
    document = {
        "name": choices.name,
        "services": services,
        "networks": {FRONT: {}, BACK: {}},
        "volumes": _volumes(choices, facts),
    }
    return {"compose.yaml": as_yaml(_literal(document)), "gpu.yaml": as_yaml({"services": on_gpu}), **files}


def _server(choices: Choices, facts: Facts, files: Tree) -> Manifest:
    """What a pod has: models are pulled, the guard stands in front, and Triton behind it."""
    own, shared = choices.compose, {"network_mode": f"service:{SERVER}"}
    pulled = [] if choices.models_in_image else enumerate(choices.models)
    pulls = {f"pull-{number}-{label(model)}": _pull(choices, model, files) for number, model in pulled}
    begun = {SERVER: _when("started"), **dict.fromkeys(pulls, _when("completed_successfully"))}
    models = f"{PULLED}{MODELS}"
    kept = [_bind(f"secrets/{getattr(choices, name)}", path) for name, path in secrets(choices)]
    # An image's own models are where it has them: an empty volume is filled from there.
    place = MODELS if choices.models_in_image else models
    hold = _service(choices.images.conch, MEMORY["server"], ["sleep"], ["infinity"], init=True)
    hold |= {
        "networks": [FRONT],
        "ports": [f"{own.host}:{own.http}:{PORTS['http']}", f"{own.host}:{own.grpc}:{PORTS['grpc']}"],
    }
    guard = _service(choices.images.conch, GUARD_MEMORY, ["conch"], guard_words(choices, models), **shared)
    guard |= {
        "environment": HOME,
        "working_dir": SETTINGS,  # where it looks for promises.yaml
        "depends_on": begun,
        "volumes": [_models(choices), _bind("promises.yaml", f"{SETTINGS}/promises.yaml"), *kept],
        "healthcheck": {
            "test": ["CMD", "python3", "-c", HEALTHY],
            "interval": f"{choices.probe_seconds}s",
            "timeout": "10s",
            "retries": MISSED["readinessProbe"],
            "start_period": f"{choices.start_minutes}m",
        },
        "labels": _marked(files, "promises.yaml"),
    }
    triton = _service(choices.images.triton, facts.memory, None, triton_words(facts, place), **shared)
    triton |= {
        "environment": TRITON_HOME,
        "depends_on": {**begun, "guard": _when("started")},
        "volumes": [_volume("models", place if choices.models_in_image else PULLED)],
        "shm_size": _bytes(facts.shared_memory),
        "stop_grace_period": f"{math.ceil(STOP_SECONDS) + 10}s",
    }
    return {SERVER: hold, **pulls, "guard": guard, TRITON: triton}


def _pull(choices: Choices, model: str, files: Tree) -> Manifest:
    """The container that has a version of a model in its volume, or fails, and with it all that waits for it."""
    words = pull_words(choices, model, str(choices.models[model]))
    service = _service(choices.images.conch, PULL_MEMORY, ["conch"], words, restart="no")
    volumes = [_volume("models", PULLED, writable=True)]
    if choices.claim:
        volumes.append(_volume("store", STORE))
        service["network_mode"] = "none"
    if choices.store_secret:
        service["env_file"] = [f"secrets/{choices.store_secret}.env"]
    if key := choices.public_key:
        volumes.append(_bind(key.name, f"{KEYS}/{key.name}"))
        service["labels"] = _marked(files, key.name)
    return {**service, "environment": HOME, "volumes": volumes}


def _watching(choices: Choices, files: Tree) -> Manifest:
    places = {name: f"/etc/prometheus/{name}" for name in ("prometheus.yaml", "alerts.yaml")}
    words = [f"--config.file={places['prometheus.yaml']}", "--storage.tsdb.path=/prometheus"]
    prometheus = _service(choices.images.prometheus, MEMORY["prometheus"], None, words, user=None)
    prometheus |= {
        "networks": [FRONT, BACK],
        "ports": [f"{LOOPBACK}:{choices.compose.prometheus}:9090"],
        "volumes": [_volume("prometheus", "/prometheus", writable=True)]
        + [_bind(name, path) for name, path in places.items()]
        + ([_bind(f"secrets/{choices.tokens}/prometheus", TOKEN)] if choices.tokens else []),
        "labels": _marked(files, *places),
    }
    if choices.tokens:
        prometheus["group_add"] = [str(USER)]  # whose file the token is
    provisioned = {
        "datasource.yaml": "/etc/grafana/provisioning/datasources/conch.yaml",
        "dashboards.yaml": "/etc/grafana/provisioning/dashboards/conch.yaml",
        "dashboard.json": f"{DASHBOARDS}/conch.json",
    }
    grafana = _service(choices.images.grafana, MEMORY["grafana"], None, None, user=None)
    grafana |= {
        "networks": [BACK],
        "ports": [f"{LOOPBACK}:{choices.compose.grafana}:3000"],
        "environment": QUIET,
        "depends_on": {"prometheus": _when("started")},
        "volumes": [_volume("grafana", "/var/lib/grafana", writable=True)]
        + [_bind(name, path) for name, path in provisioned.items()],
        "labels": _marked(files, *provisioned),
    }
    return {"prometheus": prometheus, "grafana": grafana}


def _load(choices: Choices, load: Load, facts: Facts, files: Tree) -> Manifest:
    """Only where it is asked for: the exit code of the master's container is the verdict's."""
    settings = [_bind(name, f"{SETTINGS}/{name}") for name in ("promises.yaml", "locustfile.py")]
    common = {
        "profiles": ["load"], "networks": [FRONT], "environment": {"HOME": "/tmp"},
        "labels": _marked(files, "promises.yaml", "locustfile.py"), "volumes": [_models(choices), *settings],
    }  # fmt: skip
    ready = {"guard": _when("healthy")}
    image = choices.images.load
    worker = _service(image, LOAD_MEMORY, ["locust"], worker_words(load, facts, SERVER, MASTER), restart="no") | common
    worker = {**worker, "depends_on": ready, "deploy": {**worker["deploy"], "replicas": load.workers}}
    master = _service(image, LOAD_MEMORY, ["locust"], master_words(choices, load, facts, SERVER), restart="no") | common
    master |= {
        "depends_on": {**ready, WORKER: _when("started")},
        "volumes": [*common["volumes"], _volume("results", RESULTS, writable=True)],
    }
    return {WORKER: worker, MASTER: master}


def _service(
    image: str | None, memory: str, entrypoint: list[str] | None, words: list[str] | None, **more: Any
) -> Manifest:
    """A container that can gain nothing, and write nothing but what a volume is for."""
    service = {
        "image": image,
        "entrypoint": entrypoint,
        "command": words,
        "restart": "unless-stopped",
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp:mode=1777,size=1g"],
        "deploy": {"resources": {"limits": {"memory": _bytes(memory)}}},
    }
    return {key: value for key, value in {**service, **more}.items() if value is not None}


def _when(condition: str) -> Manifest:
    return {"condition": f"service_{condition}"}


def _models(choices: Choices) -> Manifest:
    """The models, at the same path wherever they come from."""
    return _volume("models", f"{PULLED}{MODELS}" if choices.models_in_image else PULLED)


def _volume(name: str, path: str, *, writable: bool = False) -> Manifest:
    return {"type": "volume", "source": name, "target": path, "read_only": not writable}


def _bind(name: str, path: str) -> Manifest:
    """A file or folder beside compose.yaml; where it is missing, the container is not started."""
    return {
        "type": "bind", "source": f"./{name}", "target": path, "read_only": True, "bind": {"create_host_path": False},
    }  # fmt: skip


def _volumes(choices: Choices, facts: Facts) -> Manifest:
    """Other versions have another volume, for Triton serves what it finds in it."""
    source = choices.images.triton if choices.models_in_image else facts.versions
    volumes: Manifest = {
        "models": {"name": f"{choices.name}-models-{_digest(json.dumps(source, sort_keys=True))}"},
        "prometheus": {},
        "grafana": {},
    }
    if choices.claim:
        volumes["store"] = {"name": choices.claim, "external": True}
    if choices.load:
        volumes["results"] = {"name": choices.load.results}
    return volumes


def _marked(files: Tree, *names: str) -> dict[str, str]:
    """Another content of a mounted file is another label, so that Compose makes the container anew."""
    return {"conch.files": _digest("".join(files[name] for name in names))}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _bytes(quantity: str) -> str:
    """A quantity of Kubernetes as Compose writes it; both count in powers of two."""
    return quantity.removesuffix("i").lower()


def _literal(value: Any) -> Any:
    """Compose puts variables in the place of `$NAME`, everywhere: nothing here means one."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
