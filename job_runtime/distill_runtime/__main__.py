"""Entry point of `python -m distill_runtime`."""

import os
import signal
import sys

# The first process of a Pod ignores signals that it has not asked for: one that is deleted while the imports below
# still go on would live on until it is killed. 143 is contract.report.EXIT_TERMINATED, which cannot be imported yet.
# Nor would an exception do: it could not get out of an extension module that is being imported.
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

from distill_runtime.cli import main  # noqa: E402

sys.exit(main())
