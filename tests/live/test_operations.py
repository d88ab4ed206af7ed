"""What a person on call is told of a server that runs."""

import json
import sys
from pathlib import Path

from tests.live.test_serving import FREE_PORTS, put, run


def test_each_event_is_an_object_a_line_where_asked_for(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    put(artifacts / "models")
    (artifacts / "models" / "broken" / "1").mkdir(parents=True)
    call = [sys.executable, "-c", "import sys; print('the command')"]
    code, output, errors = run("up", "--log-format", "json", *FREE_PORTS, "--", *call, artifacts=artifacts)
    assert code == 3
    assert output == "the command\n"
    events = [json.loads(line) for line in errors.splitlines()]
    assert [event["event"] for event in events] == ["model_not_loaded", "server_ready", "server_stopping"]
    assert (events[0]["level"], events[0]["model"]) == ("error", "broken")
    assert events[0]["fields"]["reason"]
    assert (events[1]["fields"]["ready"], events[1]["fields"]["versions"]) == (1, 2)
    code, output, errors = run("up", "--log-format", "json", "--repository", "/none", *FREE_PORTS, artifacts=artifacts)
    (event,) = [json.loads(line) for line in errors.splitlines()]
    assert (code, output, event["event"], event["level"]) == (1, "", "server_failed", "error")
    assert "/none" in event["message"]
