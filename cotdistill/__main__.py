"""`python -m cotdistill`: everything the pages do, in the terminal."""

import sys

from cotdistill.cli import main

if __name__ == "__main__":
    sys.exit(main())
