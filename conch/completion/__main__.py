"""Print what makes a shell complete `conch`: commands, flags, files, and the models of the running server.

examples:
  conch completion bash > ~/.local/share/bash-completion/completions/conch
  conch completion zsh > ~/.zfunc/_conch          where fpath has ~/.zfunc, before compinit
  conch completion fish > ~/.config/fish/completions/conch.fish
  eval "$(conch completion bash)"                 for this session; of zsh behind compinit
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

SCRIPTS = {"bash": "conch.bash", "zsh": "_conch", "fish": "conch.fish"}


def main(words: Sequence[str] | None = None) -> int:
    """Run `conch completion` with these words; the exit code."""
    words = sys.argv[1:] if words is None else list(words)
    if words[:1] == ["candidates"]:  # what the scripts ask at each Tab: nothing slow is imported, and nothing said
        from conch.completion.candidates import print_candidates

        with contextlib.suppress(Exception):
            print_candidates(words[1], words[3:])
        return 0
    if words[:1] == ["learn"]:
        from conch.completion.flags import learn

        learn(words[1:])
        return 0
    import tyro

    def completion(shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]) -> int:
        """The script is thin: what it offers is always that of the installed version.

        Args:
            shell: The shell that is to complete.
        """
        sys.stdout.write((Path(__file__).parent / SCRIPTS[shell]).read_text())
        return 0

    return tyro.cli(completion, prog="conch completion", description=__doc__, args=words)


if __name__ == "__main__":
    sys.exit(main())
