"""What the commands that send a picture share."""

from pathlib import Path

import numpy as np

from clients.client import Client
from clients.pictures import DEFAULT, picture_tensor, preparation_of, prepare, read_picture
from clients.terminal import Terminal


def picture_input(client: Client, model: str, path: Path, invert: bool) -> dict[str, np.ndarray]:
    """The file's picture as the model's one picture input, prepared as its configuration says.

    Where that says nothing, the default is taken and a line on stderr says so. Raises ClientError.
    """
    image = read_picture(path)
    metadata = client.metadata(model)
    spec = picture_tensor(model, metadata.inputs, "input")
    preparation = preparation_of(metadata)
    if preparation is None:
        preparation = DEFAULT
        note = (
            f"note: {model} does not say how pictures are prepared (picture_fit in its config.pbtxt); taken: {DEFAULT}"
        )
        Terminal(stderr=True).print(note, markup=False, highlight=False, soft_wrap=True)
    return {spec.name: prepare(image, spec, invert, preparation)}
