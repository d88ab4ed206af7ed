"""The guard for a Triton of your own, as files: python -m serving.guard.deploy writes serving/deploy."""

from pathlib import Path

from serving.guard.access import Access
from serving.guard.configuration import Places, render
from serving.guard.filter import FilterPlaces
from serving.guard.limits import Limits

FOLDER = Path(__file__).parents[1] / "deploy"
SETTINGS, RUN, LOGS = Path("/etc/conch"), Path("/run/conch"), Path("/var/log/conch")


def files() -> dict[str, str]:
    """Name -> text, of each file that is made here: TLS, tokens, and Triton at its usual ports of loopback."""
    access = Access(SETTINGS / "server.pem", SETTINGS / "server.key", tokens=("see tokens.map",))
    text = render(
        listen=Places("8443", "8444", "8445"),
        triton=Places("127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002"),
        filters=[
            FilterPlaces(RUN / f"check-{name}", RUN / f"hop-{name}", "127.0.0.1:8001") for name in ("small", "large")
        ],
        folder=RUN,
        limits=Limits(),
        access=access,
        error_log=str(LOGS / "guard.log"),
        tokens_file=SETTINGS / "tokens.map",
        user="www-data www-data",
        static=True,
    )
    return {"nginx.conf": text}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
