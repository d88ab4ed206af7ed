"""What a Prometheus Operator is told: which pages to read, and the rules, which are those of `alerts.yaml`."""

from pathlib import Path

import yaml

from serving.deploy.choices import Choices
from serving.deploy.manifests import Manifest, labels, manifest

FOLDER = Path(__file__).parent
GROUP = "monitoring.coreos.com/v1"


def scrape_jobs() -> dict[str, str]:
    """The jobs that the rules know, and the port of a pod that each reads."""
    return {"triton": "metrics", "conch": "page"}


def service_monitor(choices: Choices) -> Manifest:
    """Both pages of each pod, under the job names that the rules know."""
    spec = {
        "selector": {"matchLabels": labels(choices, "metrics")},
        "endpoints": [_endpoint(choices, job, port) for job, port in scrape_jobs().items()],
    }
    return manifest("ServiceMonitor", GROUP, choices, choices.name, spec)


def _endpoint(choices: Choices, job: str, port: str) -> Manifest:
    guarded = port != "page"
    endpoint: Manifest = {
        "port": port,
        "interval": f"{scrape_seconds()}s",
        "relabelings": [{"targetLabel": "job", "replacement": job}],
    }
    if guarded and choices.tls:
        # Pods are asked by their addresses, which no certificate names.
        endpoint |= {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}
    if guarded and choices.tokens:
        endpoint["authorization"] = {"credentials": {"name": choices.tokens, "key": "prometheus"}}
    return endpoint


def scrape_seconds() -> int:
    """As prometheus.yaml has it, for servers of one machine."""
    said = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))["global"]["scrape_interval"]
    return int(said.removesuffix("s"))


def rules(choices: Choices) -> Manifest:
    """The alerts of docs/operations.md."""
    spec = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
    return manifest("PrometheusRule", GROUP, choices, choices.name, spec)
