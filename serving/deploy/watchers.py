"""Prometheus and Grafana of one machine, whose rules, jobs and dashboard are those that the kit ships."""

import yaml

from serving.deploy.choices import Choices
from serving.deploy.manifests import Manifest, Tree, as_yaml
from serving.deploy.monitors import FOLDER, scrape_jobs
from serving.deploy.pod import PAGE, PORTS

TOKEN = "/etc/prometheus/token"
"""The token that Prometheus shows the guard."""
DASHBOARDS = "/etc/grafana/dashboards"


def watchers(choices: Choices, server: str, prometheus: str) -> Tree:
    """Their files, by name.

    Args:
        choices: What was chosen.
        server: The name of the host that has the guard's ports.
        prometheus: The address of Prometheus, for Grafana.
    """
    source = {"name": "Prometheus", "type": "prometheus", "uid": "prometheus", "url": prometheus, "isDefault": True}
    provider = {"name": "conch", "type": "file", "options": {"path": DASHBOARDS}}
    return {
        "prometheus.yaml": as_yaml(_prometheus(choices, server)),
        "alerts.yaml": (FOLDER / "alerts.yaml").read_text(encoding="utf-8"),
        "datasource.yaml": as_yaml({"apiVersion": 1, "datasources": [source]}),
        "dashboards.yaml": as_yaml({"apiVersion": 1, "providers": [provider]}),
        "dashboard.json": (FOLDER / "dashboard.json").read_text(encoding="utf-8"),
    }


def _prometheus(choices: Choices, server: str) -> Manifest:
    """As `prometheus.yaml` has it for `conch serve`, at these targets."""
    config: Manifest = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    for job in config["scrape_configs"]:
        name = scrape_jobs()[job["job_name"]]
        job["static_configs"] = [{"targets": [f"{server}:{PORTS.get(name, PAGE)}"]}]
        if name in PORTS and choices.tls:
            # The certificate is made out to the name that callers know.
            job |= {"scheme": "https", "tls_config": {"insecure_skip_verify": True}}
        if name in PORTS and choices.tokens:
            job["authorization"] = {"credentials_file": TOKEN}
    return config
