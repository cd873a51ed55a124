"""`python -m hf_ltr` is `hf-ltr`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
