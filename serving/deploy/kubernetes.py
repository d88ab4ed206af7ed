"""Kustomize: a base of all objects, and overlays that say on what a pod runs.

base/                what is the same everywhere; kustomization.yaml has the version of each model, a line each
canary/              a component: the second Deployment, where there is a canary
overlays/cpu, gpu, mig
load/, training/     Jobs, each applied by itself, where they are chosen
prometheus-adapter.yaml
"""

import math
from collections.abc import Mapping

import yaml

from serving.deploy.choices import Choices
from serving.deploy.facts import Facts
from serving.deploy.load import load_test
from serving.deploy.manifests import Manifest, Tree, as_yaml, bodies, kustomization, labels, manifest, resources
from serving.deploy.monitors import rules, service_monitor
from serving.deploy.network import ingress, policy, services
from serving.deploy.pod import TRITON, pod
from serving.deploy.scaling import ADAPTER_HEADER, adapter_rules, autoscaler, disruption_budget
from serving.deploy.train import training

KUSTOMIZATION = "kustomization.yaml"
TRACK = "conch/track"
"""The label that tells a canary's pods from the others."""


def kubernetes(choices: Choices, facts: Facts) -> Tree:
    """All files, by path."""
    base = {
        "deployment.yaml": as_yaml(_deployment(choices, facts, choices.name, "stable", f"{choices.name}-versions")),
        "services.yaml": as_yaml(*services(choices)),
        "network-policy.yaml": as_yaml(policy(choices)),
        "disruption-budget.yaml": as_yaml(disruption_budget(choices)),
        "autoscaler.yaml": as_yaml(autoscaler(choices, facts)),
    }
    if choices.ingress:
        base["ingress.yaml"] = as_yaml(ingress(choices, choices.ingress))
    if choices.monitoring.operator:
        base["service-monitor.yaml"] = as_yaml(service_monitor(choices))
        base["alerts.yaml"] = as_yaml(rules(choices))
    tree = {
        "base/promises.yaml": yaml.safe_dump(facts.promises, sort_keys=False),
        f"base/{KUSTOMIZATION}": as_yaml(_base(choices, facts, sorted(base))),
        "prometheus-adapter.yaml": ADAPTER_HEADER + bodies(adapter_rules()),
    }
    if choices.public_key:
        tree[f"base/{choices.public_key.name}"] = choices.public_key.read_text(encoding="utf-8")
    tree |= {f"base/{name}": text for name, text in base.items()}
    tree |= _canary(choices, facts)
    tree |= load_test(choices, choices.load, facts) if choices.load else {}
    tree |= training(choices, choices.training) if choices.training else {}
    for name, devices in (("cpu", {}), ("gpu", {"nvidia.com/gpu": choices.gpus}), ("mig", {MIG + choices.mig: 1})):
        tree[f"overlays/{name}/{KUSTOMIZATION}"] = as_yaml(_overlay(choices, facts, devices))
    return tree


MIG = "nvidia.com/mig-"
"""What the device plugin of NVIDIA calls MIG devices in its strategy `mixed`, before the profile."""


def _deployment(
    choices: Choices, facts: Facts, name: str, track: str, versions: str, replicas: int | None = None
) -> Manifest:
    own = labels(choices) | {TRACK: track}
    spec: Manifest = {
        # Else every apply would undo what the autoscaler has done.
        **({"replicas": replicas} if replicas else {}),
        "selector": {"matchLabels": own},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": choices.surge, "maxUnavailable": 0 if choices.surge else 1},
        },
        "progressDeadlineSeconds": 60 * (choices.start_minutes + 5),
        "template": pod(choices, facts, own, versions),
    }
    return manifest("Deployment", "apps/v1", choices, name, spec)


def _versions(name: str, versions: Mapping[str, int]) -> Manifest:
    """Its name gets a hash of its content, so that another version rolls the Deployment."""
    return {"name": name, "literals": [f"{model}={version}" for model, version in versions.items()]}


def _base(choices: Choices, facts: Facts, files: list[str]) -> Manifest:
    generated = [
        *([] if choices.models_in_image else [_versions(f"{choices.name}-versions", facts.versions)]),
        {"name": f"{choices.name}-promises", "files": ["promises.yaml"]},
    ]
    if choices.public_key:
        generated.append({"name": f"{choices.name}-public-key", "files": [choices.public_key.name]})
    return {
        **kustomization(choices),
        "resources": files,
        "configMapGenerator": generated,
    }


def canary_replicas(stable: int, percent: int) -> int:
    """Pods of a canary beside so many others, to come as near to its share of all as can be; 1 at least."""
    return max(1, round(stable * percent / (100 - percent)))


def _canary(choices: Choices, facts: Facts) -> Tree:
    if not choices.canary:
        return {}
    name = f"{choices.name}-canary"
    replicas = canary_replicas(choices.replicas.least, choices.canary.percent)
    component = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["deployment.yaml"],
        "configMapGenerator": [_versions(f"{name}-versions", facts.canary)],
    }
    deployment = _deployment(choices, facts, name, "canary", f"{name}-versions", replicas)
    return {f"canary/{KUSTOMIZATION}": as_yaml(component), "canary/deployment.yaml": as_yaml(deployment)}


def _overlay(choices: Choices, facts: Facts, devices: Mapping[str, int]) -> Manifest:
    """What a pod runs on. A GPU's instances need no more of the processor than a thread each, to feed it."""
    cpus = choices.cpus or (facts.instances if devices else facts.cpus)
    spec: Manifest = {"containers": [{"name": TRITON, "resources": resources(str(cpus), facts.memory, devices)}]}
    if devices:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    patch = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"},
        "spec": {"template": {"spec": spec}},
    }  # fmt: skip
    return {
        **kustomization(choices),
        "resources": ["../../base"],
        **({"components": ["../../canary"]} if choices.canary else {}),
        "patches": [
            {
                "target": {"kind": "Deployment", "labelSelector": "app.kubernetes.io/component=server"},
                "patch": yaml.safe_dump(patch, sort_keys=False),
            }
        ],
    }


def reached_percent(choices: Choices) -> int:
    """The canary's share of the pods, in percent, where there are as few as may be."""
    canary = canary_replicas(choices.replicas.least, choices.canary.percent) if choices.canary else 0
    return math.floor(100 * canary / (canary + choices.replicas.least))
