"""What all manifests share: names, labels, security, and how they become text."""

from collections.abc import Mapping
from typing import Any

import yaml

from serving.deploy.choices import Choices

Manifest = dict[str, Any]
Tree = dict[str, str]
"""The text of each file, by its path in the folder that is written."""

HEADER = (
    "# Written by `conch deploy` from deploy.yaml and the model repository: change those, or put a patch over it.\n"
)
USER = 1000
"""Of NVIDIA's container (triton-server), and so of the others of a pod, which share its volumes."""


class _Dumper(yaml.SafeDumper):
    """Text of several lines as such, and the same object twice written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


def as_yaml(*documents: Manifest) -> str:
    """The documents as one file."""
    return HEADER + bodies(*documents)


def bodies(*documents: Manifest) -> str:
    """As `as_yaml`, without a word on where it comes from."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for document in documents
    )


def labels(choices: Choices, component: str = "server") -> dict[str, str]:
    """What selects the pods of a component (kubernetes.io, "Recommended Labels")."""
    return {"app.kubernetes.io/name": choices.name, "app.kubernetes.io/component": component}


def manifest(
    kind: str, version: str, choices: Choices, name: str, spec: Manifest, *, component: str = "server"
) -> Manifest:
    """An object; its namespace is kustomize's to set."""
    named = labels(choices, component) | {"app.kubernetes.io/managed-by": "conch"}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": named}, "spec": spec}


def kustomization(choices: Choices) -> Manifest:
    """The beginning of a kustomization.yaml."""
    namespace = {"namespace": choices.namespace} if choices.namespace else {}
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **namespace}


def pod_security() -> Manifest:
    """No container is root, whatever its image says."""
    return {
        "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip


def container_security() -> Manifest:
    """Nothing can be gained, and nothing written but what a volume is for."""
    return {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def resources(cpu: str, memory: str, more: Mapping[str, int] | None = None) -> Manifest:
    """Requests, and limits of what is lost or killed and not slowed down: memory and devices."""
    limits: Manifest = {"memory": memory, **(more or {})}
    return {"requests": {"cpu": cpu, **limits}, "limits": limits}


def claim_volume(name: str, claim: str, *, read_only: bool = False) -> Manifest:
    """A volume of a PersistentVolumeClaim."""
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, **({"readOnly": True} if read_only else {})}}


def empty(name: str, limit: str, *, memory: bool = False) -> Manifest:
    """A volume that is there for as long as its pod."""
    return {"name": name, "emptyDir": {"sizeLimit": limit, **({"medium": "Memory"} if memory else {})}}
