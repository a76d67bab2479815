import sys
from pathlib import Path

# The teacher is a program of its own, not a package: its modules are found as `python server.py` finds them.
sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "arithmetic" / "teacher"))
