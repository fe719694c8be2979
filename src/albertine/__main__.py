"""`python -m albertine` is `albertine`."""

from __future__ import annotations

import sys

from albertine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
