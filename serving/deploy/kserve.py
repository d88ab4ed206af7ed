"""KServe: a ServingRuntime that runs Triton as the launcher does, and an InferenceService over a plain repository."""

from serving.deploy.choices import Choices
from serving.deploy.facts import Facts
from serving.deploy.manifests import Tree, as_yaml, container_security, empty, kustomization, manifest, resources
from serving.errors import ServingError
from serving.server.arguments import arguments

MODELS = "/mnt/models"
"""Where KServe's storage initializer puts what it fetched."""
PORTS = {"HTTP": 8080, "gRPC": 9000, "metrics": 8002}
FORMAT = "conch-repository"


def kserve(choices: Choices, facts: Facts) -> Tree:
    """All files, by path.

    Raises:
        ServingError: deploy.yaml has no section `kserve`.
    """
    chosen = choices.kserve
    if chosen is None:
        raise ServingError("kserve.storage_uri is needed: a plain copy of the repository, as s3://bucket/models")
    ready = {"httpGet": {"path": "/v2/health/ready", "port": PORTS["HTTP"]}, "periodSeconds": choices.probe_seconds}
    container = {
        "name": "kserve-container",
        "image": choices.images.triton,
        "args": ["tritonserver", *arguments(MODELS, "0.0.0.0", PORTS, facts.options, exit_on_error=True)],
        "ports": [{"name": "http1", "containerPort": PORTS["HTTP"], "protocol": "TCP"}],
        "readinessProbe": ready,
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": PORTS["HTTP"]}, "periodSeconds": 10},
        "securityContext": {**container_security(), "runAsNonRoot": True},
        "resources": resources(str(facts.cpus), facts.memory),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    runtime = {
        "annotations": {"prometheus.kserve.io/port": str(PORTS["metrics"]), "prometheus.kserve.io/path": "/metrics"},
        "supportedModelFormats": [{"name": FORMAT, "version": "1"}],
        "protocolVersions": ["v2", "grpc-v2"],
        "containers": [container],
        "volumes": [empty("shm", facts.shared_memory, memory=True), empty("tmp", "1Gi")],
    }
    gpu = {"nvidia.com/gpu": choices.gpus}
    predictor = {
        "minReplicas": choices.replicas.least,
        "maxReplicas": choices.replicas.most,
        **({"serviceAccountName": choices.service_account} if choices.service_account else {}),
        **({"canaryTrafficPercent": chosen.canary_percent} if chosen.canary_percent else {}),
        "model": {
            "modelFormat": {"name": FORMAT},
            "runtime": choices.name,
            "protocolVersion": "v2",
            "storageUri": chosen.storage_uri,
            "resources": resources(str(choices.cpus or facts.instances), facts.memory, gpu),
        },
    }
    return {
        "kustomization.yaml": as_yaml({**kustomization(choices), "resources": ["runtime.yaml", "service.yaml"]}),
        "runtime.yaml": as_yaml(
            manifest("ServingRuntime", "serving.kserve.io/v1alpha1", choices, choices.name, runtime)
        ),
        "service.yaml": as_yaml(
            manifest("InferenceService", "serving.kserve.io/v1beta1", choices, choices.name, {"predictor": predictor})
        ),
    }
