"""What a query of Prometheus asks for: metrics, and the labels by which it chooses and groups them."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

import promql_parser

OF_PROMETHEUS = frozenset({"instance", "job"})
"""Labels that it adds itself."""


class Asked(NamedTuple):
    """Part of a query."""

    metrics: frozenset[str]
    labels: frozenset[str]
    """By which these are chosen, grouped or matched."""


def exposed(*pages: str) -> dict[str, frozenset[str]]:
    """Metric -> its labels, of pages in Prometheus' text format.

    By hand: prometheus_client's parser gives a counter the ending `_total` that Triton's have not.
    """
    samples = (re.match(r"(\w+)(?:\{(.*)\})? \S+$", line) for page in pages for line in page.splitlines())
    return {said[1]: frozenset(re.findall(r'(\w+)="', said[2] or "")) for said in samples if said}


def parts(query: str) -> Iterator[Asked]:
    """Each selector, and each grouping and matching, of a query; raises ValueError where it is none."""
    yield from _parts(promql_parser.parse(query.replace("$__rate_interval", "1m")))


def unanswered(query: str, known: Mapping[str, Set[str]]) -> list[str]:
    """What the query asks for that is in none of the metrics that are `known` with their labels."""
    found = []
    for metrics, labels in parts(query):
        if missing := metrics - known.keys():
            found += [f"no metric {name}" for name in missing]
            continue
        has = OF_PROMETHEUS.union(*(known[name] for name in metrics))
        found += [f"no label {label} on {', '.join(sorted(metrics))}" for label in labels - has]
    return found


def _parts(node: promql_parser.Expr) -> Iterator[Asked]:
    match node:
        case promql_parser.VectorSelector():
            yield Asked(frozenset({node.name or ""}), frozenset(one.name for one in node.matchers.matchers))
        case promql_parser.MatrixSelector():
            yield from _parts(node.vector_selector)
        case promql_parser.AggregateExpr():
            yield from _parts(node.expr)
            if node.modifier:
                yield Asked(_metrics(node.expr), frozenset(node.modifier.labels))
        case promql_parser.BinaryExpr():
            yield from _parts(node.lhs)
            yield from _parts(node.rhs)
            if node.modifier and node.modifier.matching:
                labels = frozenset(node.modifier.matching.labels)
                yield Asked(_metrics(node.lhs), labels)
                yield Asked(_metrics(node.rhs), labels)
        case promql_parser.Call():
            for argument in node.args:
                yield from _parts(argument)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from _parts(node.expr)


def _metrics(node: promql_parser.Expr) -> frozenset[str]:
    return frozenset().union(*(part.metrics for part in _parts(node)))
