"""What hostile requests do to the embedded server without its guard: make bench-hostile.

Requests of one kind after the other, until something dies or enough were sent; then a new server. Writes the marked
section of docs/security.md; takes about ten minutes. With names of kinds as words, prints those alone. No time is
measured: a busy machine changes how soon a race is lost, and little else.
"""

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from clients import ClientError, connect
from serving.errors import ServingError
from serving.server.server import Server
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from tests.support.hostile.attack import Attack, send_all
from tests.support.hostile.drawn import attacks as drawn
from tests.support.hostile.kinds import MAKERS
from tests.support.hostile.models import publish_all

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
SEED = 20261127
MOST, AT_ONCE = 200, 8
SECONDS = 10.0
"""The longest that one kind is sent for."""
LEAK_MIB = 50


HONEST: dict[str, dict[str, np.ndarray]] = {
    "affine": {"x": np.ones((1, 4), np.float32)},
    "lengths": {"tokens": np.ones((1, 2), np.int64)},
}


@dataclass
class Found:
    """What one kind did."""

    kind: str
    sent: int = 0
    server: str = ""
    """How the server ended, where it did."""
    processes: int = 0
    """Processes of models that died."""
    grown: float = 0.0
    """MiB by which the server's own process grew."""

    def row(self) -> str:
        did = []
        if self.server:
            did.append(f"**the server dies**: {self.server}")
        if self.processes:
            did.append(f"{self.processes} backend process{'es' if self.processes > 1 else ''} of models died")
        if self.grown > LEAK_MIB and not self.server:
            did.append(f"{self.grown:.0f} MiB more are kept")
        return f"| {self.kind} | {self.sent} | {'; '.join(did) or 'nothing'} |"


def kinds() -> dict[str, list[Attack]]:
    """What is sent of each: "PROTOCOL KIND" -> requests."""
    found: dict[str, list[Attack]] = defaultdict(list)
    for make in MAKERS:
        rng = random.Random(SEED)
        for _ in range(MOST):
            attack = make(rng)
            found[f"{attack.protocol}, {attack.kind}"].append(attack)
    for attack in drawn(MOST, SEED):
        found[f"{attack.protocol}, {attack.kind}"].append(attack)
    return dict(found)


class Victim:
    """A server without a guard, started anew where something of it has died."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._losses: list[str] = []
        self._server: Server | None = None

    def close(self) -> None:
        """Stop it."""
        if self._server:
            self._server.__exit__(None, None, None)
            self._server = None

    def suffer(self, kind: str, attacks: list[Attack]) -> Found:
        """What requests of one kind do to it."""
        self._losses.clear()
        server = self._server = self._server or self._started()
        found, process = Found(kind), psutil.Process(server.pid)
        ports = {"http": int(server.http.rpartition(":")[2]), "grpc": int(server.grpc.rpartition(":")[2])}
        before, deadline = process.memory_info().rss, time.monotonic() + SECONDS
        try:
            while found.sent < len(attacks) and time.monotonic() < deadline:
                batch = attacks[found.sent : found.sent + AT_ONCE]
                asyncio.run(send_all(batch, ports, rate=1000.0, at_once=AT_ONCE))
                found.sent += len(batch)
                server.check_alive()
            _settle(server)
            server.check_alive()
            found.grown = (process.memory_info().rss - before) / 2**20
        except ServingError as error:
            said = str(error).partition(" (log")[0].partition("; before")[0].removeprefix("tritonserver ")
            found.server = " ".join(said.split())
        found.processes = len(self._losses)
        if found.server or found.processes or found.grown > LEAK_MIB:
            self.close()
        return found

    def _started(self) -> Server:
        server = Server(self._repository, http_port=0, grpc_port=0, metrics_port=0, on_loss=self._losses.append)
        return server.__enter__()


def _settle(server: Server) -> None:
    """Wait until it is through with what was sent: what it dies of later is of this kind, too."""
    for url in (f"http://{server.http}", f"grpc://{server.grpc}"):
        with contextlib.suppress(ClientError), connect(url, timeout=20.0) as client:
            for model, inputs in HONEST.items():
                client.infer(model, inputs)
    time.sleep(1.0)


def main(words: list[str]) -> int:
    """All kinds, or those with these words in their names."""
    console = Console(stderr=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Victim(publish_all(Path(folder)))) as victim:
        for kind, attacks in kinds().items():
            if not words or any(word in kind for word in words):
                rows.append(victim.suffer(kind, attacks).row())
                console.print(rows[-1], markup=False, highlight=False)
    if not words:
        write_section(PAGE, "hostile", _section(rows), title=None)
    return 0


def _section(rows: list[str]) -> str:
    head = (
        f"`make bench-hostile`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}. Up to {MOST} requests of each "
        f"kind, or {SECONDS:.0f} s of them, {AT_ONCE} at once; a new server where something has died."
    )
    return "\n".join([head, "", "| kind | sent | what happens without a guard |", "|---|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
