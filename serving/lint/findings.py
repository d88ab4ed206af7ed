"""What a rule is, and what it finds."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.lint.lines import line_of
from serving.lint.model_folder import CONFIG_FILE, ModelFolder

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
    line: int | None = None
    """The line of config.pbtxt that has the field; None of another file, or where the field is not there."""
    change: Change | None = None

    @property
    def what(self) -> str:
        """What is there, what should be, and what to do, in one line without the place."""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.found}; wanted: {self.wanted}{fix} [{self.rule}]"

    def __str__(self) -> str:
        """One line."""
        return f"model {self.model!r}, {self.field}: {self.what}"


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
    loads: bool
    """An error with which Conch's backend loads the model: NVIDIA's alone stumbles on it, or it answers wrongly."""

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
                found.fix or ("conch lint --fix does it" if found.change else ""),
                _line(model, found),
                found.change,
            )


RULES: dict[str, Rule] = {}
"""Every rule by its name, in the order in which they are run; filled by the modules `..._rules`."""


def rule(name: str, severity: Severity, *, publishable: bool = False, loads: bool = False) -> Callable[[Check], Check]:
    """Register the decorated function under `name`.

    Args:
        name: As the findings show it.
        severity: What Triton makes of it.
        publishable: An error of NVIDIA's backend alone, which does not keep a model from being published.
        loads: An error with which Conch's backend loads the model.
    """

    def register(check: Check) -> Check:
        assert name not in RULES, name
        RULES[name] = Rule(name, severity, (check.__doc__ or "").partition("\n")[0], check, publishable, loads)
        return check

    return register


def _line(model: ModelFolder, found: Found) -> int | None:
    """The line in config.pbtxt, by the field or by what its parser says."""
    if found.field != CONFIG_FILE:
        return line_of(model.config_text, found.field)
    said = re.search(r"(\d+):\d+ : ", found.found)
    return int(said[1]) if said else None
