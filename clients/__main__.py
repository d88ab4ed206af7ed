"""Call the models of a server.

examples:
  conch call status
  conch call classify digit.png --model cnn
  conch call complete "The " --stream
  conch call infer mine --input image=image.npy
"""

import sys
from collections.abc import Sequence

import tyro

from clients.commands import Command
from clients.commands.infer import Infer
from clients.errors import ClientError
from clients.repeated import repeated
from clients.terminal import Terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0, or 1 with one line on stderr that says why."""
    words = repeated(sys.argv[1:] if arguments is None else arguments, Infer, positionals=2)  # its own name is one
    command = tyro.cli(Command, prog="conch call", description=__doc__, args=words)
    try:
        with command.connect() as client:
            command.run(client, Terminal())
    except ClientError as error:
        Terminal(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
