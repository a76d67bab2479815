import atexit
import os
import tempfile

# MindFormers makes a folder for its logs when it is imported: by default in the working directory, the repository.
if "LOCAL_DEFAULT_PATH" not in os.environ:
    _logs = tempfile.TemporaryDirectory(prefix="mindformers-")
    atexit.register(_logs.cleanup)
    os.environ["LOCAL_DEFAULT_PATH"] = _logs.name
