"""A load test as a Job: it succeeds where the promise was kept, for Locust ends with the verdict's exit code."""

import yaml

from serving.deploy.choices import Choices, Load
from serving.deploy.facts import Facts
from serving.deploy.manifests import (
    Manifest,
    Tree,
    as_yaml,
    claim_volume,
    container_security,
    kustomization,
    labels,
    manifest,
    pod_security,
    resources,
)
from serving.deploy.pod import PORTS, PULLED, SETTINGS, bring, volumes
from serving.errors import ServingError

PORT = 5557
"""Of Locust's master."""
RESULTS = "/results"
LOCUSTFILE = "from loadtest.plain_locust import TritonHttpUser\n\n__all__ = ['TritonHttpUser']\n"
MEMORY = "2Gi"


def load_test(choices: Choices, load: Load, facts: Facts) -> Tree:
    """Files of a kustomization of its own: applied when a test is to run, and again after `kubectl delete -k`.

    Raises:
        ServingError: The model promises nothing, so that nothing could be kept.
    """
    name = f"{choices.name}-load"
    settings = {"name": f"{name}-settings", "files": ["promises.yaml", "locustfile.py"]}
    version = {"name": f"{name}-version", "literals": [f"{load.model}={choices.models[load.model]}"]}
    service = {
        "clusterIP": "None", "selector": labels(choices, "load-master"), "publishNotReadyAddresses": True,
        "ports": [{"name": "locust", "port": PORT}],
    }  # fmt: skip
    documents = [
        manifest("Service", "v1", choices, name, service, component="load-master"),
        _job(choices, load, facts, "master", 1, master_words(choices, load, facts, choices.name)),
        _job(choices, load, facts, "worker", load.workers, worker_words(load, facts, choices.name, name)),
    ]
    return {
        "load/kustomization.yaml": as_yaml(
            {**kustomization(choices), "resources": ["jobs.yaml"], "configMapGenerator": [settings, version]}
        ),
        "load/jobs.yaml": as_yaml(*documents),
        "load/promises.yaml": yaml.safe_dump(facts.promises, sort_keys=False),
        "load/locustfile.py": LOCUSTFILE,
    }


def master_words(choices: Choices, load: Load, facts: Facts, server: str) -> list[str]:
    """The command line of Locust's master, but for the program.

    Args:
        choices: What was chosen.
        load: Of it, the load.
        facts: What is known.
        server: The name of the host that serves.

    Raises:
        ServingError: The model promises nothing, so that nothing could be kept.
    """
    own = ["--master", "--expect-workers", str(load.workers), "--headless", "-t", f"{load.seconds}s"]
    # As many at once as the guard allows an address, which a worker has.
    own += ["-u", str(choices.limits.connections * load.workers), "--results", f"{RESULTS}/{load.model}"]
    return own + _common(load, facts, server)


def worker_words(load: Load, facts: Facts, server: str, master: str) -> list[str]:
    """The command line of a worker, but for the program; `master` is the host of Locust's master."""
    return ["--worker", "--master-host", master, *_common(load, facts, server)]


def _common(load: Load, facts: Facts, server: str) -> list[str]:
    """What a worker has to know, too: it reads what is sent before it hears from its master."""
    promise = facts.promises.get(load.model)
    if not promise:
        raise ServingError(
            f"load.model: {load.model} promises nothing: `conch load init {load.model}` writes a promise"
        )
    return [
        "-f", f"{SETTINGS}/locustfile.py", "--model", load.model, "--rate", f"{load.rate or promise['rate']:g}",
        "--http", f"http://{server}:{PORTS['http']}", "--promises", f"{SETTINGS}/promises.yaml",
        "--artifacts", PULLED, "TritonHttpUser",
    ]  # fmt: skip


def _job(choices: Choices, load: Load, facts: Facts, role: str, pods: int, words: list[str]) -> Manifest:
    name, own = f"{choices.name}-load-{role}", labels(choices, f"load-{role}")
    mounts = [
        {"name": "pulled", "mountPath": PULLED}, {"name": "tmp", "mountPath": "/tmp", "subPath": "load"},
        {"name": "settings", "mountPath": SETTINGS, "readOnly": True},
    ]  # fmt: skip
    own_volumes = [one for one in volumes(choices, facts) if one["name"] in ("pulled", "tmp", "store", "key")]
    own_volumes.append({"name": "settings", "configMap": {"name": f"{choices.name}-load-settings"}})
    if role == "master":
        mounts.append({"name": "results", "mountPath": RESULTS})
        own_volumes.append(claim_volume("results", load.results))
    container = {
        "name": role,
        "image": choices.images.load,
        "command": ["locust"],
        "args": words,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": resources("1", MEMORY),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
    pod = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "initContainers": [bring(choices, load.model, f"{choices.name}-load-version", 0)],
        "containers": [container],
        "volumes": own_volumes,
    }
    spec = {
        "parallelism": pods,
        "completions": pods,
        "backoffLimit": 0,  # a second try would be another measurement
        "activeDeadlineSeconds": load.seconds + 600,
        "template": {"metadata": {"labels": own}, "spec": pod},
    }
    return manifest("Job", "batch/v1", choices, name, spec, component=f"load-{role}")
