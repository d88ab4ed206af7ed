"""What the linter calls an error a real Triton refuses, and what this project publishes the linter finds nothing in."""

import shutil
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.lint.check import lint_model, models_of
from serving.lint.findings import RULES
from serving.repository.configuration import parse, render
from serving.server.server import Server
from tests.support.lint_cases import CASES, publish_clean

# Not among the models of a test.
LEFT_OUT = {"hidden-folder"}


def test_a_real_triton_refuses_what_is_an_error_and_serves_the_rest(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    tried = {rule for rule in RULES if RULES[rule].severity == "error"} | {"unknown-backend"}
    for rule in tried - {"hidden-folder"}:
        name, harm = CASES[rule]
        folder = tmp_path / rule
        folder.mkdir()
        model = publish_clean(folder, name)
        said = parse((model / "config.pbtxt").read_text())
        said.name = rule
        said.instance_group[0].count = 1
        (model / "config.pbtxt").write_text(render(said))
        harm(model.rename(model.parent / rule))
        shutil.move(model.parent / rule, repository / rule)
    server = Server(repository, http_port=0, grpc_port=0, metrics_port=0)
    with pytest.raises(ServingError) as refused, server:
        pass
    # An unknown backend is a warning only because somebody may have one of that name; this server has not.
    refused_rules = {rule for rule in CASES if f"model '{rule}' " in str(refused.value)}
    assert refused_rules == tried - LEFT_OUT - {rule for rule in tried if RULES[rule].loads}
    for rule in refused_rules - {"unknown-backend"}:
        assert f"[{rule}]" in str(refused.value), "the reason is the rule's"


def test_what_is_published_has_no_findings(repository: Path) -> None:
    found = [finding for model in models_of(repository, ()) for finding in lint_model(model, cores=2)]
    # That a server of text can be ended by a request is to be known of every such model.
    assert [(finding.rule, finding.model) for finding in found] == [("classes-of-text", "identities")], found
