import os
import tempfile

# MindFormers makes a folder for its logs when it is imported: by default in the working directory, the repository.
os.environ.setdefault("LOCAL_DEFAULT_PATH", tempfile.mkdtemp(prefix="mindformers-"))
