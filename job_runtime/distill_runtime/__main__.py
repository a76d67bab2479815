"""Entry point of `python -m distill_runtime`."""

import sys

from distill_runtime.cli import main

sys.exit(main())
