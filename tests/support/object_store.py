"""An S3 object store on loopback with one bucket: as much of its API as reading takes."""

import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from xml.sax.saxutils import escape

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Handler(BaseHTTPRequestHandler):
    """The API; a subclass says what is stored, and whose key may read it."""

    protocol_version = "HTTP/1.1"
    bucket: str
    objects: Mapping[str, bytes]
    access_key: str

    def do_GET(self) -> None:
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

    def do_HEAD(self) -> None:
        self.do_GET()

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
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})

    def _object(self, content: bytes) -> None:
        headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"0"'}
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            self._answer(206, content[start:end], headers)
        else:
            self._answer(200, content, headers)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), {})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def object_store(stored_in: str, stored: Mapping[str, bytes], readable_with: str) -> Iterator[str]:
    """Serve a bucket; gives the endpoint's URL."""

    class Bound(Handler):
        bucket, objects, access_key = stored_in, stored, readable_with

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
