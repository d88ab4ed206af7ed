"""How pods are reached, and by whom."""

from serving.deploy.choices import Choices, Ingress
from serving.deploy.manifests import Manifest, labels, manifest
from serving.deploy.pod import PAGE, PORTS

NAMESPACE = "kubernetes.io/metadata.name"


def services(choices: Choices) -> list[Manifest]:
    """HTTP through one address; gRPC without one, for a client's own balancing, since its connections stay; metrics."""
    return [
        _service(choices, choices.name, ["http"]),
        _service(choices, f"{choices.name}-grpc", ["grpc"], headless=True),
        _service(choices, f"{choices.name}-metrics", ["metrics", "page"], headless=True, component="metrics"),
    ]


def _service(
    choices: Choices, name: str, ports: list[str], *, headless: bool = False, component: str = "server"
) -> Manifest:
    all_ports = {**PORTS, "page": PAGE}
    kinds = {"grpc": "grpc", "http": "https" if choices.tls else "http"}
    spec: Manifest = {
        "selector": labels(choices),
        **({"clusterIP": "None"} if headless else {}),
        # A pod that answers wrong is to be seen all the same.
        **({"publishNotReadyAddresses": True} if component == "metrics" else {}),
        "ports": [
            {"name": port, "port": all_ports[port], "targetPort": port, "appProtocol": kinds.get(port, "http")}
            for port in ports
        ],
    }
    return manifest("Service", "v1", choices, name, spec, component=component)


def ingress(choices: Choices, chosen: Ingress) -> Manifest:
    """HTTP from outside of the cluster; gRPC stays within, where clients balance by themselves."""
    service = {"name": choices.name, "port": {"name": "http"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    spec: Manifest = {
        **({"ingressClassName": chosen.controller} if chosen.controller else {}),
        "rules": [{"host": chosen.host, "http": {"paths": [path]}}],
        **({"tls": [{"hosts": [chosen.host], "secretName": chosen.certificate}]} if chosen.certificate else {}),
    }
    return manifest("Ingress", "networking.k8s.io/v1", choices, choices.name, spec)


def policy(choices: Choices) -> Manifest:
    """Callers reach the guard, Prometheus the metrics, and pods the store; nothing else. Kubelets are let in anyway."""
    callers = [
        {"podSelector": {}},
        *({"namespaceSelector": {"matchLabels": {NAMESPACE: one}}} for one in choices.clients),
    ]
    if choices.ingress:
        callers.append({"namespaceSelector": {"matchLabels": {NAMESPACE: choices.ingress.namespace}}})
    watchers = [{"namespaceSelector": {"matchLabels": {NAMESPACE: choices.monitoring.namespace}}}]
    spec = {
        "podSelector": {"matchLabels": labels(choices)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": callers, "ports": [_tcp(PORTS["http"]), _tcp(PORTS["grpc"])]},
            {"from": watchers, "ports": [_tcp(PORTS["metrics"]), _tcp(PAGE)]},
        ],
        "egress": [{"ports": [_tcp(53), {"protocol": "UDP", "port": 53}]}, {"ports": [_tcp(443)]}]
        if choices.store
        else [],
    }
    return manifest("NetworkPolicy", "networking.k8s.io/v1", choices, choices.name, spec)


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
