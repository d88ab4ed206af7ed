"""conch call complete "The " --length 200 --seed 7 --temperature 0.8

conch call complete "The " --stream
"""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.commands.sources import STANDARD_INPUT, read_text
from clients.progress import progress
from clients.terminal import print_json
from clients.text import CharacterModel, Characters, CharacterStream


@dataclass(frozen=True, kw_only=True)
class Complete(Endpoint):
    """Continue a text character by character, and show the five likeliest next ones.

    conch call complete "The " --seed 7 --stream
    """

    text: Annotated[str, tyro.conf.Positional]
    """What to continue; at least one character, all of them in the model's vocabulary. - reads it from the standard
    input, without the line end that closes it."""

    length: int = 200
    """How many characters to add."""

    seed: int = 0
    """Of the sampling: the same seed gives the same text."""

    temperature: float = 0.8
    """0 takes the likeliest character each time, 1 draws as the model says, more is wilder."""

    context: int = 256
    """The model is shown this many of the last characters."""

    stream: bool = False
    """Send one character a request, to a model that keeps what came before as a state on the server. The same seed
    gives the same text, as long as it is no longer than --context."""

    model: str | None = None
    """A model on the server with tokens in and the next character's probabilities out; default: lstm, with --stream
    lstm_stream."""

    def run(self, client: Client, console: Console) -> None:
        if self.length < 0 or self.seed < 0 or self.context < 1 or not 0 <= self.temperature < float("inf"):
            raise BadCommand("--length, --seed and --temperature must be 0 or more, and --context 1 or more")
        text = read_text(STANDARD_INPUT) if self.text == str(STANDARD_INPUT) else self.text
        model: Characters
        if self.stream:
            model = CharacterStream(client, self.model or "lstm_stream")
        else:
            model = CharacterModel(client, self.model or "lstm")
        likeliest = model.likeliest(model.next_probabilities(model.encode(text)[-self.context :]))
        added = []
        with progress() as bar:
            writing = bar.add_task("writing", total=self.length)
            for character in model.sample(text, self.length, self.seed, self.temperature, self.context):
                added.append(character)
                bar.advance(writing)
        if self.json:
            print_json({"text": text, "added": "".join(added), "likeliest": dict(likeliest)})
            return
        console.print(Text(text, style="bold").append("".join(added), style="not bold"), soft_wrap=True)
        table = Table("next character", "probability")
        for character, probability in likeliest:
            table.add_row(Text(repr(character)), f"{probability:.4f}")
        console.print(table)
