"""An S3 object store on loopback with one bucket: as much of its API as reading takes."""

import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from xml.sax.saxutils import escape

from support.local_server import LocalHandler, serve

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Handler(LocalHandler):
    """The API; a subclass says what is stored, and whose key may read it."""

    bucket: str
    objects: Mapping[str, bytes]
    access_key: str

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path).strip("/").partition("/")
        if f"Credential={self.access_key}/" not in self.headers.get("Authorization", ""):
            self._error(403, "AccessDenied")
        elif bucket != self.bucket:
            self._error(404, "NoSuchBucket")
        elif not key:
            self._list(dict(urllib.parse.parse_qsl(url.query)))
        elif key in self.objects:
            self._object(self.objects[key])
        else:
            self._error(404, "NoSuchKey")

    def _list(self, query: Mapping[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for key in sorted(self.objects):
            if key.startswith(prefix):
                head, separator, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                if separator:
                    folders.add(prefix + head + separator)
                else:
                    keys.append(key)
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        counted = f"<KeyCount>{len(keys) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
        body = f'<ListBucketResult xmlns="{_NAMESPACE}">{counted}{contents}{prefixes}</ListBucketResult>'
        self.answer(200, body.encode(), {"Content-Type": "application/xml"})

    def _object(self, content: bytes) -> None:
        headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"0"'}
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            self.answer(206, content[start:end], headers)
        else:
            self.answer(200, content, headers)

    def _error(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), {})


@contextmanager
def object_store(stored_in: str, stored: Mapping[str, bytes], readable_with: str) -> Iterator[str]:
    """Serve a bucket; gives the endpoint's URL."""

    class Bound(Handler):
        bucket, objects, access_key = stored_in, stored, readable_with

    with serve(Bound) as url:
        yield url
