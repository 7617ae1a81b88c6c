"""``python -m anyllm``: the command line."""

import sys

from anyllm.cli import main

if __name__ == "__main__":
    sys.exit(main())
