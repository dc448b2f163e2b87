"""`python -m dalle`: see `python -m dalle --help`."""

import sys

from dalle.cli import main

if __name__ == "__main__":
    sys.exit(main())
