"""The few requests that bringing up a cluster makes of its API server, over the standard library's HTTP client."""

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import ClusterError

SECONDS = 10


class Api:
    """An API server, reached as the user of a kubeconfig that `pki` wrote."""

    def __init__(self, kubeconfig: Path) -> None:
        if not kubeconfig.exists():
            raise ClusterError(f"no cluster is up ({kubeconfig} does not exist): run `make cluster-up`")
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads a client's certificate from files only
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def ready(self) -> bool:
        """Tells if the API server answers and is ready."""
        try:
            return self._send("GET", "/readyz", None, {})[0] == http.client.OK
        except OSError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        return self._expect("GET", path, None, {})

    def apply(self, path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Applies a manifest at its path by server-side apply."""
        query = "?fieldManager=npu-distill-cluster&force=true"
        return self._expect("PATCH", path + query, manifest, {"Content-Type": "application/apply-patch+yaml"})

    def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merges a patch into the object at a path."""
        return self._expect("PATCH", path, patch, {"Content-Type": "application/merge-patch+json"})

    def _expect(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            status, text = self._send(method, path, body, headers)
        except OSError as error:
            raise ClusterError(
                f"the API server at {self._address} does not answer ({error}): see `make cluster-status`"
            ) from error
        answer: dict[str, Any] = json.loads(text)
        if status >= http.client.BAD_REQUEST:
            raise ClusterError(f"{method} {path}: {status} {answer.get('message', text)}")
        return answer

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(self._address, timeout=SECONDS, context=self._tls)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
