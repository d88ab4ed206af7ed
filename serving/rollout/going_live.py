"""What a person who has just published a version does to have clients get it."""

from pathlib import Path

from conch.contracts.ensembles import whole_of
from conch.contracts.live import live_version
from conch.contracts.versions import versions
from serving.server.running import running, server_file


def how_to_go_live(version: Path) -> str | None:
    """The next step for what was published as `version`, the folder; None where the next start serves it anyway."""
    model = version.parent
    if (whole := whole_of(model)) is not None:
        model = model.parent / whole
    server = running(server_file())
    if server is not None and Path(server.repository) == model.parent.resolve():
        if server.models:
            return f"a server is up; to make it live there: conch rollout {model.name}"
        return "a server is up, which has the version before: start it again"
    live = live_version(model)
    if live is not None and live < max(versions(model)):
        return f"version {live} is live by its history; with a server up: conch rollout {model.name}"
    return None
