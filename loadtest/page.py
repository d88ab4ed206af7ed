"""One self-contained HTML page of a run, made from its run.json."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

PERCENTS = ("p50", "p90", "p95", "p99", "p99.9")


def render_page(run: dict[str, Any]) -> str:
    """The page as HTML text; the pictures are inside it."""
    from loadtest.drawing import draw_cdfs, draw_series  # matplotlib takes longer than all else of a refusal

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        run=run,
        several=len({part["model"] for part in run["parts"]}) > 1,
        reasons=reasons(run),
        percents=PERCENTS,
        cdfs=[Markup(picture) for picture in draw_cdfs(run)],
        series=Markup(draw_series(run)),
        number=_number,
        interval=_interval,
        facts=_facts(run),
        splits={model: split for model, split in run["server"]["split"].items() if split},
        gpu=_gpu(run),
    )


def reasons(run: dict[str, Any]) -> list[str]:
    """Why the verdict is not KEPT: the broken promises, then what makes the run invalid."""
    broken = [
        f"{promise['model']} {promise['metric']}: {_number(promise['got'])}, promised at most {promise['limit']:g}"
        for promise in run["promises"]
        if promise["verdict"] == "BROKEN"
    ]
    return broken + [check["says"] for check in run["checks"] if not check["ok"]]


def _gpu(run: dict[str, Any]) -> str:
    """What the metrics said of the server's GPUs; nothing where there are none."""
    samples = [sample for sample in run["server"]["samples"] if "gpu" in sample or "gpu_bytes" in sample]
    busy = [sample["gpu"] for sample in samples if "gpu" in sample]
    used = [sample["gpu_bytes"] / (1 << 20) for sample in samples if "gpu_bytes" in sample]
    words = [f"{sum(busy) / len(busy):.2f} busy in the mean"] if busy else []
    return ", ".join(words + ([f"{max(used):.0f} MiB in use at most"] if used else []))


def _facts(run: dict[str, Any]) -> dict[str, str]:
    scenario = {} if run["scenario_file"] else run["scenario"]  # the file is shown as it stands
    facts = {key.replace("_", " "): str(value) for key, value in scenario.items()}
    facts |= {"seed": str(run["seed"]), "server": run["url"], "model version": run["model_version"]}
    facts |= {key: str(value) for key, value in run["machine"].items() if key in ("cpu", "cores", "system")}
    facts |= run["versions"]
    return facts | {"golden.npz SHA-256": run["golden_sha256"], "scenario SHA-256": run["scenario_sha256"]}


def _number(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f"{_number(low)} to {_number(high) if high is not None else '?'}"
