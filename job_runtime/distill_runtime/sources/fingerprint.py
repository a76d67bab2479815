"""What the content of a source is told by."""

from distill_runtime.contract import InputFingerprint
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import find_files
from distill_runtime.storage.fingerprints import fingerprint_files, join_values
from distill_runtime.storage.volume import Volume


def fingerprint_source(name: str, uri: str, volume: Volume, selection: Selection) -> InputFingerprint:
    """Tell the content of the files that a URI means, and their order.

    On the volume it is told as `fingerprint_files` says; on the hub by the hub's ids of the files' contents; at
    another URL by what the server says: ETag, or size and time of change.

    Args:
        name: what the source is to the stage.

    Raises:
        WrongInput, Retryable: as `find_files`.
    """
    files = find_files(uri, volume, selection)
    paths = {volume.relative(file.path): file.path for file in files if file.path is not None}
    value = fingerprint_files(paths) if paths else join_values({file.name: file.version for file in files})
    return InputFingerprint(name=name, uri=uri, value=value)
