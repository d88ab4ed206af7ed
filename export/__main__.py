"""python -m export: the same as `conch export`."""

import sys

from export.commands.recipe import main

if __name__ == "__main__":
    sys.exit(main())
