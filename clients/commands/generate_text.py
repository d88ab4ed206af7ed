"""conch call generate-text "Once upon a time" --model writer --tokenizer ./gpt2 --length 40"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.commands.sources import STANDARD_INPUT, read_text
from clients.errors import UnreadableInput
from clients.progress import progress
from clients.terminal import print_json
from clients.writer import Writer

FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class GenerateText(Endpoint):
    """Continue texts with a language model, or have a model with an encoder rewrite them: the likeliest token each
    time, as transformers' generate without sampling.

    conch call generate-text "Once upon a time" --model writer --tokenizer ./gpt2

    conch call generate-text "translate English to German: Good morning." --model t5 --tokenizer ./t5-small
    """

    texts: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The texts, each on its own; several are sent together. - reads one a line from the standard input."""

    model: str
    """A model on the server that conch export pretrained made, of the task text-generation or text2text-generation; of
    the latter, which are two, the name that was exported."""

    tokenizer: Path
    """tokenizer.json of the model, or the folder that has it."""

    length: int = 50
    """The most tokens to add to each."""

    def run(self, client: Client, console: Console) -> None:
        if self.length < 1:
            raise BadCommand(f"--length {self.length}: it must be 1 or more")
        texts = _texts(self.texts)
        tokenizer = _opened(self.tokenizer)
        writer = Writer(client, self.model)
        tokens = [tokenizer.encode(text).ids for text in texts]
        with progress() as bar:
            writing = bar.add_task("writing", total=self.length)
            added = writer.write(tokens, self.length, told=lambda rows: bar.advance(writing))
        found = [tokenizer.decode(one) for one in added]
        if self.json:
            print_json([
                {"text": text, "added": more, "tokens": one, "prompt_tokens": prompt}
                for text, more, one, prompt in zip(texts, found, added, tokens, strict=True)
            ])  # fmt: skip
            return
        if writer.generation.encoder:
            for made in found:
                console.print(Text(made), soft_wrap=True)
            return
        for text, prompt, one in zip(texts, tokens, added, strict=True):
            # Decoded as a whole: a letter's bytes may be spread over prompt and addition.
            more = tokenizer.decode([*prompt, *one]).removeprefix(tokenizer.decode(prompt))
            console.print(Text(text, style="bold").append(more, style="not bold"), soft_wrap=True)


def _texts(words: tuple[str, ...]) -> list[str]:
    if words == (str(STANDARD_INPUT),):
        words = tuple(line for line in read_text(STANDARD_INPUT).splitlines() if line.strip())
    if not words:
        raise BadCommand("no text is given; give one or more, or - for lines of the standard input")
    return list(words)


def _opened(path: Path) -> Any:
    """The tokenizer. Raises UnreadableInput, BadCommand where the library is not installed."""
    file = path / FILE if path.is_dir() else path
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise BadCommand("generate-text needs the tokenizers library: pip install tokenizers") from error
    if not file.is_file():
        raise UnreadableInput(
            f"no such file: {file}; a folder that has its tokenizer in other files gets it by "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exceptions
        raise UnreadableInput(f"{file} is no tokenizer of the tokenizers library: {error}") from error
