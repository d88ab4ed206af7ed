"""conch call status"""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.signature import ModelState, TensorSpec
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Status(Endpoint):
    """Show the server, its models, and what goes into and comes out of each."""

    def run(self, client: Client, console: Console) -> None:
        name, version = client.server()
        readiness = "ready" if client.ready() else "not ready"
        if self.json:
            models = [_document(client, entry) for entry in client.models()]
            print_json({"server": f"{name} {version}", "ready": client.ready(), "models": models})
            return
        console.print(f"{name} {version}, {readiness}", markup=False, highlight=False)
        table = Table("model", "version", "state", "inputs", "outputs", "largest batch")
        for entry in client.models():
            row = [entry.name, entry.version, " ".join((entry.state, entry.reason)).strip()]
            if entry.state == "READY":
                metadata = client.metadata(entry.name, entry.version)
                largest = "1, in sequences" if metadata.stateful else str(metadata.max_batch_size or "not batched")
                row += [_listed(metadata.inputs), _listed(metadata.outputs), largest]
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)


def _document(client: Client, entry: ModelState) -> dict[str, Any]:
    """A model for programs; of one that is not ready, no metadata."""
    found = asdict(entry)
    if entry.state == "READY":
        metadata = client.metadata(entry.name, entry.version)
        found |= {key: [asdict(spec) for spec in getattr(metadata, key)] for key in ("inputs", "outputs")}
        found |= {"max_batch_size": metadata.max_batch_size, "stateful": metadata.stateful}
    return found


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return "\n".join(f"{spec.name} {spec}" for spec in specs)
