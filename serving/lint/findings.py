"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.lint.model_folder import ModelFolder

Severity = Literal["error", "warning", "note"]
"""error: Triton refuses the model or answers wrongly. warning: it is served worse than it could be. note: to know."""

Change = Callable[[ModelConfig], dict[str, bytes]]
"""Mends a configuration in place; returns files to write first, by their path in the model's folder."""


@dataclass(frozen=True)
class Found:
    """What one rule says of one model."""

    field: str
    """The field of config.pbtxt, or the file in the model's folder."""
    found: str
    """What is there."""
    wanted: str
    """What should be there."""
    fix: str = ""
    """What a person can do."""
    change: Change | None = None
    """What `--fix` does, where that is safe: it makes a model load, or changes no answer."""


@dataclass(frozen=True)
class Finding:
    """`Found` with the rule and the model it is about."""

    rule: str
    severity: Severity
    model: str
    field: str
    found: str
    wanted: str
    fix: str
    change: Change | None = None

    def __str__(self) -> str:
        """One line."""
        fix = f"; {self.fix}" if self.fix else ""
        return f"model {self.model!r}, {self.field}: {self.found}; wanted: {self.wanted}{fix} [{self.rule}]"


Check = Callable[[ModelFolder], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a model."""

    name: str
    severity: Severity
    about: str
    """The first line of its docstring."""
    check: Check
    publishable: bool
    """An error of NVIDIA's backend alone, which is published all the same, with a warning: Conch's serves it."""

    def findings(self, model: ModelFolder) -> Iterator[Finding]:
        """All that this rule finds in `model`."""
        for found in self.check(model):
            yield Finding(
                self.name,
                self.severity,
                model.name,
                found.field,
                found.found,
                found.wanted,
                found.fix or ("--fix does it" if found.change else ""),
                found.change,
            )


RULES: dict[str, Rule] = {}
"""Every rule by its name, in the order in which they are run; filled by the modules `..._rules`."""


def rule(name: str, severity: Severity, *, publishable: bool = False) -> Callable[[Check], Check]:
    """Register the decorated function under `name`.

    Args:
        name: As the findings show it.
        severity: What Triton makes of it.
        publishable: An error of NVIDIA's backend alone, which does not keep a model from being published.
    """

    def register(check: Check) -> Check:
        assert name not in RULES, name
        RULES[name] = Rule(name, severity, (check.__doc__ or "").partition("\n")[0], check, publishable)
        return check

    return register
