"""Call the models of a server.

examples:
  conch call status
  conch call classify digit.png --model cnn
  conch call classify *.png --json
  conch call complete "The " --stream
  conch call generate-text "Once upon" --model writer --tokenizer ./gpt2
  conch call infer mine --input image=image.npy
  conch call watch

Exit code 0: done. 1: it failed, as for a file that cannot be read. 2: no such command. 3: no server answers. 4: the
server has no such model. 5: a name, type or shape of a tensor is wrong. 6: the server refused it. 7: the server has
no room for it now. 8: not within --timeout. 130: Ctrl-C.
"""

import sys
from collections.abc import Sequence

import tyro

from clients.commands import Command
from clients.commands.exit_codes import STOPPED, exit_code
from clients.commands.infer import Infer
from clients.errors import ClientError
from clients.repeated import repeated
from clients.terminal import Terminal, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code, with one line on stderr that says why where it is not 0."""
    words = repeated(sys.argv[1:] if arguments is None else arguments, Infer, positionals=2)  # its own name is one
    command = tyro.cli(Command, prog="conch call", description=__doc__, args=words)
    try:
        with command.connect() as client:
            return command.run(client, Terminal()) or 0
    except ClientError as error:
        say(f"error: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
