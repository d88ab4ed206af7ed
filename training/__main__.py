"""python -m training: the same as `conch train`."""

import sys

from training.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
