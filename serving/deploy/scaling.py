"""How many pods there are: by the time that requests wait, which a processor's load does not tell of a GPU."""

from serving.deploy.choices import Choices
from serving.deploy.facts import Facts
from serving.deploy.manifests import HEADER, Manifest, labels, manifest

METRIC = "conch_queue_us_per_request"
WINDOW = "2m"
"""Of the mean; twice what Prometheus needs for a rate at a scrape a minute."""


def autoscaler(choices: Choices, facts: Facts) -> Manifest:
    """Pods until no model's requests wait longer on average than its promise has room for."""
    metrics = [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": METRIC, "selector": {"matchLabels": {"model": model.name}}},
                "target": {"type": "AverageValue", "averageValue": str(model.longest_mean_wait_us)},
            },
        }
        for model in facts.models
    ]
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": choices.name},
        "minReplicas": choices.replicas.least,
        "maxReplicas": choices.replicas.most,
        "metrics": metrics,
        # Up at once, for a queue grows; down slowly, for a pod takes minutes to come back.
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
            },
            "scaleDown": {
                "stabilizationWindowSeconds": 600,
                "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
            },
        },
    }
    return manifest("HorizontalPodAutoscaler", "autoscaling/v2", choices, choices.name, spec)


def disruption_budget(choices: Choices) -> Manifest:
    """Who empties nodes takes one pod after the other."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels(choices)}}
    return manifest("PodDisruptionBudget", "policy/v1", choices, choices.name, spec)


QUERY = (
    "sum(rate(nv_inference_queue_duration_us{{{matchers}}}[{window}])) by ({by})"
    " / clamp_min(sum(rate(nv_inference_request_success{{{matchers}}}[{window}])) by ({by}), 0.001)"
)
"""The mean wait of a request in microseconds; 0, and not nothing, where none came."""


def adapter_rules() -> Manifest:
    """The rule of Prometheus Adapter that makes `METRIC`, as `rules.custom` in its chart's values."""
    query = QUERY.format(matchers="<<.LabelMatchers>>", by="<<.GroupBy>>", window=WINDOW)
    rule = {
        "seriesQuery": 'nv_inference_queue_duration_us{namespace!="",pod!=""}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"as": METRIC},
        "metricsQuery": query,
    }
    return {"rules": {"custom": [rule]}}


ADAPTER_HEADER = (
    HEADER + "# Of the whole cluster, and so in no kustomization: helm upgrade prometheus-adapter "
    "prometheus-community/prometheus-adapter -f prometheus-adapter.yaml\n"
)
