"""A training on several nodes: an indexed Job whose pods torchrun joins, and which resumes where one was lost."""

from serving.deploy.choices import Choices, Training
from serving.deploy.manifests import (
    Tree,
    as_yaml,
    claim_volume,
    container_security,
    empty,
    kustomization,
    labels,
    manifest,
    pod_security,
    resources,
)

PORT = 29500
"""Where the nodes meet, torchrun's default."""
TRIES = 6
MEMORY, SHM = "16Gi", "8Gi"
ARTIFACTS = "/artifacts"


def training(choices: Choices, chosen: Training) -> Tree:
    """Files of a kustomization of its own."""
    name, own = f"{choices.name}-training", labels(choices, "training")
    devices = max(chosen.gpus, 1)
    words = [
        "--nnodes", str(chosen.nodes), "--nproc-per-node", str(devices), "--node-rank", "$(JOB_COMPLETION_INDEX)",
        "--master-addr", f"{name}-0.{name}", "--master-port", str(PORT), "-m", "training", chosen.recipe,
        "--devices", str(devices), "--nodes", str(chosen.nodes), "--resume",
    ]  # fmt: skip
    container = {
        "name": "training",
        "image": choices.images.training,
        "command": ["torchrun"],
        "args": words,
        "env": [{"name": "CONCH_ARTIFACTS", "value": ARTIFACTS}, {"name": "HOME", "value": "/tmp"}],
        "resources": resources("4", MEMORY, {"nvidia.com/gpu": chosen.gpus} if chosen.gpus else {}),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "artifacts", "mountPath": ARTIFACTS},
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "subdomain": name,  # so that the first pod has a name that the others find
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [claim_volume("artifacts", chosen.artifacts), empty("shm", SHM, memory=True), empty("tmp", "10Gi")],
    }
    spec = {
        "completionMode": "Indexed",
        "completions": chosen.nodes,
        "parallelism": chosen.nodes,
        "backoffLimit": TRIES * chosen.nodes,  # one that is lost takes the others with it
        "template": {"metadata": {"labels": own}, "spec": pod},
    }
    service = {"clusterIP": "None", "selector": own, "publishNotReadyAddresses": True, "ports": [{"port": PORT}]}
    return {
        "training/kustomization.yaml": as_yaml({**kustomization(choices), "resources": ["job.yaml"]}),
        "training/job.yaml": as_yaml(
            manifest("Service", "v1", choices, name, service, component="training"),
            manifest("Job", "batch/v1", choices, name, spec, component="training"),
        ),
    }
