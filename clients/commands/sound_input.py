"""What a command that sends sounds does with files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from clients.client import Client
from clients.commands.picture_input import Request
from clients.commands.sources import opened
from clients.errors import UnreadableInput
from clients.sounds import read_wav, sampling_rate, sound_inputs
from clients.terminal import say


class SoundInput:
    """WAV files as requests of a model that takes samples, one each: sounds differ in length.

    `skipped` counts files that could not be read.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._metadata = client.metadata(model)
        self._rate = sampling_rate(self._metadata)
        self.skipped = 0

    def requests(self, paths: Sequence[Path]) -> Iterator[Request]:
        """The files in their order. Of several files, one that cannot be read is told on stderr and skipped.

        Raises ClientError.
        """
        for path in paths:
            try:
                samples = read_wav(opened(path), self._rate)
            except UnreadableInput as error:
                if len(paths) == 1:
                    raise
                self.skipped += 1
                say(f"error: {error}")
            else:
                yield Request([path], sound_inputs(self._metadata, samples))
