"""Data sets on the Hugging Face hub, or on a mirror of it, read as they are downloaded.

Whatever is read after a data set was opened is of the commit that its revision stood for then: a push in between must
not mix two contents.

`hf://owner/name`, with `@revision` behind it if that matters, and a path below it if the split is one file. The hub's
own variables are honoured: HF_ENDPOINT for a mirror, HF_TOKEN for what is not public, HF_HUB_OFFLINE.
"""

import os
from collections.abc import Mapping
from typing import Any, cast

from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.sources.files import ROW_SUFFIXES, DataFile, split_suffixes
from distill_runtime.sources.layout import Selection, choose_files
from distill_runtime.sources.remote import open_remote

SCHEME = "hf://"
_DATASETS = "datasets/"


def hub_files(uri: str, selection: Selection) -> tuple[DataFile, ...]:
    """Find the files of a data set on the hub.

    Raises:
        WrongInput: SourceMissing, EmptySource, SubsetMissing, SplitMissing, or HubOffline.
        Retryable: HubUnreachable.
    """
    import huggingface_hub  # noqa: PLC0415 - 0.3 s, for this scheme only
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    # A new one each time: fsspec would give back an old one with its listings and its token.
    file_system = huggingface_hub.HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT"), skip_instance_cache=True)
    repository, revision, path = split_uri(uri)
    try:
        commit = huggingface_hub.HfApi(os.environ.get("HF_ENDPOINT")).dataset_info(repository, revision=revision).sha
        root = f"{_DATASETS}{repository}@{commit}"
        found = cast("dict[str, Any]", file_system.find(f"{root}/{path}".rstrip("/"), detail=True))
        names = {
            name.removeprefix(f"{root}/"): info or file_system.info(name)  # of a path that is a file, find says nothing
            for name, info in sorted(found.items())
        }
        rows = [name for name in names if name == path or split_suffixes(name)[0] in ROW_SUFFIXES]
        if not path:
            readme = file_system.read_bytes(f"{root}/README.md") if "README.md" in names else b""
            rows = choose_files(uri, rows, readme.decode(errors="replace"), selection) if rows else []
        for name in rows[:1]:  # the names of a gated data set's files are public, their content is not
            file_system.read_block(f"{root}/{name}", 0, 1)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise _unavailable(uri, error) from error
    if path and not names:
        raise WrongInput("SourceMissing", f"{uri} does not exist, although {repository} does; correct the path")
    if not rows:
        raise WrongInput("EmptySource", f"{uri} has no file that ends in {', '.join(ROW_SUFFIXES)}")

    def data_file(name: str) -> DataFile:
        suffix, compression = split_suffixes(name)
        shown = f"{SCHEME}{repository}/{name}"
        open_raw = open_remote(
            lambda: file_system.open(f"{root}/{name}", "rb"),
            names[name]["size"],
            lambda error: _unavailable(shown, error),
        )
        return DataFile(shown, suffix, open_raw, compression, _content_id(names[name]))

    return tuple(data_file(name) for name in rows)


def _content_id(info: Mapping[str, Any]) -> str:
    """Give what the hub tells a file's content by, which stays when a commit changes others, such as the card."""
    large = info.get("lfs")
    return f"sha256:{large['sha256']}" if large else f"git blob {info['blob_id']}"


def _unavailable(uri: str, error: Exception) -> StageError:
    """Judge why nothing can be read from the hub."""
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return WrongInput(
                "SourceMissing", f"{uri} is gated: accept its terms on the hub, and give HF_TOKEN of that account"
            )
        case FileNotFoundError() | RepositoryNotFoundError() | RevisionNotFoundError() | HFValidationError():
            return WrongInput(
                "SourceMissing", f"{uri} does not exist, or is not public and HF_TOKEN does not give access to it"
            )
        case OfflineModeIsEnabled():
            return WrongInput(
                "HubOffline",
                f"{uri} cannot be read with HF_HUB_OFFLINE set; copy it to the claim and name its path there",
            )
        case _:
            return Retryable("HubUnreachable", f"the hub does not answer for {uri}: {error}")


def split_uri(uri: str) -> tuple[str, str | None, str]:
    """Split `hf://datasets/owner/name@revision/path` into `owner/name`, `revision` if there is one, and `path`."""
    rest = uri.removeprefix(SCHEME).removeprefix(_DATASETS).strip("/")
    owner, _, rest = rest.partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise WrongInput(
            "SourceMissing", f"{uri} must be of the form hf://owner/name, hf://owner/name@revision or …/path"
        )
    return f"{owner}/{name}", revision or None, path
