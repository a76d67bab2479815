"""Files at a URL, read as they arrive."""

import io
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

from distill_runtime.contract.parameters import URL_SCHEMES
from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.sources.files import ROW_SUFFIXES, DataFile, Stream, split_suffixes

_BUFFER_BYTES = 1 << 20
_SCHEME_END = "://"
_VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "mtime", "LastModified", "last_modified", "updated")
"""What stores say of a file that changes with its content, by the names that fsspec hands on, best first."""


class RemoteStream(io.RawIOBase):
    """A file of another machine, whose errors say which file it is and whether it may work the next time.

    Args:
        stream: as its library opens it.
        size: bytes that it has, if that is known: what ends before is cut off.
        judge: makes of the library's error what it means.
    """

    def __init__(self, stream: Any, size: int | None, judge: Callable[[Exception], StageError]) -> None:
        self._stream = stream
        self._size = size
        self._judge = judge

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Whether places other than the next can be read."""
        return bool(self._stream.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place."""
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """Give the place."""
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as there are, at most as many as fit.

        Raises:
            StageError: as `judge`.
        """
        try:
            content = self._stream.read(len(buffer))
            if not content and len(buffer) and self._size is not None and self._stream.tell() < self._size:
                raise EOFError(f"it ends after {self._stream.tell()} of {self._size} bytes")
        except Exception as error:  # each scheme's library has its own errors
            raise self._judge(error) from error
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Give up the connection."""
        self._stream.close()
        super().close()


def open_remote(
    open_stream: Callable[[], Any], size: int | None, judge: Callable[[Exception], StageError]
) -> Callable[[], Stream]:
    """Give a function that opens a file as a `RemoteStream`."""

    def open_raw() -> Stream:
        try:
            stream = open_stream()
        except Exception as error:  # as above
            raise judge(error) from error
        return cast("Stream", io.BufferedReader(RemoteStream(stream, size, judge), _BUFFER_BYTES))

    return open_raw


def url_files(uri: str) -> tuple[DataFile, ...]:
    """Find the files at a URL: a file, or all below a directory, in the order of their names.

    s3:// is read by Arrow, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for other object stores,
    AWS_ENDPOINT_URL; everything else by the fsspec implementation that is installed for its scheme.

    Raises:
        WrongInput: SourceMissing or SchemeUnsupported.
        Retryable: SourceUnreachable.
    """
    try:
        file_system, path = _open_file_system(uri)
        if split_suffixes(path)[0] in ROW_SUFFIXES or file_system.isfile(path):
            found = {path: file_system.info(path)}
        else:
            listed = file_system.find(path, on_error="raise", detail=True)
            names = sorted(name for name in listed if split_suffixes(name)[0] in ROW_SUFFIXES)
            # A listing of a web server has names only. It shows too whether the first file can be read.
            found = {name: file_system.info(name) for name in names}
    except OSError as error:
        raise _unavailable(uri, error) from error
    if not found:
        raise _nothing_at(uri)
    return tuple(_remote_file(file_system, name, info) for name, info in found.items())


def _open_file_system(uri: str) -> tuple[Any, str]:
    """Give what opens the files of a URL, and the path in it.

    Raises:
        WrongInput: SchemeUnsupported.
    """
    import fsspec  # noqa: PLC0415 - only remote sources need it

    # Not by fsspec.core.url_to_fs: by that, simplecache::file:///etc/passwd is a URL too.
    scheme, _, rest = uri.partition(_SCHEME_END)
    if scheme not in URL_SCHEMES:
        raise WrongInput(
            "SchemeUnsupported",
            f"{uri} cannot be opened: a source is a path on the claim, or a URL that begins with one of "
            f"{', '.join(URL_SCHEMES)}",
        )
    if scheme == "s3":
        return _open_s3(), rest
    try:
        kind = fsspec.get_filesystem_class(scheme)
        return kind(**kind._get_kwargs_from_urls(uri)), kind._strip_protocol(uri)
    except (ImportError, ValueError) as error:
        raise WrongInput("SchemeUnsupported", f"{uri} cannot be opened: {error}") from error


def _open_s3() -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper  # noqa: PLC0415
    from pyarrow.fs import S3FileSystem  # noqa: PLC0415

    store = S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"), region=os.environ.get("AWS_REGION"))
    return ArrowFSWrapper(store)


def _remote_file(file_system: Any, path: str, info: Mapping[str, Any]) -> DataFile:
    suffix, compression = split_suffixes(path)
    name = path if _SCHEME_END in path else file_system.unstrip_protocol(path)
    size = info.get("size")
    open_raw = open_remote(lambda: file_system.open(path, "rb"), size, lambda error: _unavailable(name, error))
    told = next((str(info[key]) for key in _VERSIONS if info.get(key)), "") or _last_modified(file_system, path)
    return DataFile(name, suffix, open_raw, compression, f"{size} bytes, {told}" if told else f"{size} bytes")


def _last_modified(file_system: Any, url: str) -> str:
    """Ask a web server that gives no ETag when a file was changed; empty if it does not say that either."""
    from fsspec.asyn import sync  # noqa: PLC0415
    from fsspec.implementations.http import HTTPFileSystem  # noqa: PLC0415

    if not isinstance(file_system, HTTPFileSystem):
        return ""

    async def head() -> str:
        session = await file_system.set_session()
        async with session.head(file_system.encode_url(url), allow_redirects=True) as response:
            return str(response.headers.get("Last-Modified", ""))

    return str(sync(file_system.loop, head))


def _unavailable(uri: str, error: Exception) -> StageError:
    """Judge why nothing can be read at a URL."""
    # fsspec calls whatever an http server does a file that is not found; the cause is what happened.
    what = error.__cause__ or error
    status = getattr(what, "status", None)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or "ACCESS_DENIED" in str(what):
        return WrongInput("SourceMissing", f"no permission to read {uri}: {what}")
    if isinstance(what, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return _nothing_at(uri)
    return Retryable("SourceUnreachable", f"{uri} cannot be reached: {what or type(what).__name__}")


def _nothing_at(uri: str) -> WrongInput:
    return WrongInput("SourceMissing", f"there is nothing to read at {uri}; correct the uri")
