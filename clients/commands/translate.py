"""conch call translate "the 3rd of May, 1997" "two thousand and forty-one"

conch call translate - < texts.txt
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
from clients.commands.finding import find_model
from clients.commands.sources import STANDARD_INPUT, read_text
from clients.terminal import print_json
from clients.written import WRITES, Translator, text_input


@dataclass(frozen=True, kw_only=True)
class Translate(Endpoint):
    """Translate texts, with the probability that the model gives to each translation.

    conch call translate "the 3rd of May, 1997" "two thousand and forty-one"
    """

    texts: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT [TEXT ...]", help_behavior_hint="(required)")
    ]
    """One or more, in characters that the model knows; - reads them from the standard input, a line each."""

    stepwise: bool = False
    """Decode here, character by character, with MODEL_encoder and MODEL_step, in place of one request."""

    model: str | None = None
    """A model on the server that writes a text of a text; default: the only one."""

    def run(self, client: Client, console: Console) -> None:
        texts = [line for text in self.texts for line in (_lines() if text == str(STANDARD_INPUT) else [text])]
        if not texts:
            raise BadCommand("no text is given; give one or more, or - for the standard input")
        model = find_model(client, self.model, f"one INT64 [batch, time] in and {WRITES}", text_input)
        translator = Translator(client, model)
        translate = translator.translate_stepwise if self.stepwise else translator.translate
        most = client.metadata(model).max_batch_size or 1
        found = [one for start in range(0, len(texts), most) for one in translate(texts[start : start + most])]
        if self.json:
            for text, (translation, probability) in zip(texts, found, strict=True):
                print_json({"text": text, "translation": translation, "probability": probability}, indent=None)
            return
        table = Table("text", "translation", "probability")
        for text, (translation, probability) in zip(texts, found, strict=True):
            table.add_row(Text(text), Text(translation), f"{probability:.4f}")
        console.print(table)


def _lines() -> list[str]:
    return [line for line in read_text(STANDARD_INPUT).splitlines() if line]
