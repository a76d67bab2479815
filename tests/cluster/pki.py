"""Certificates and kubeconfigs: one authority for a life of the cluster, made with openssl."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import run

# Without a configuration of its own openssl reads the machine's, which marks what it signs as an authority.
CONFIGURATION = "[req]\ndistinguished_name = name\n[name]\n"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365")


@dataclass(frozen=True)
class Certificate:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """The cluster's certificate authority, kept in a folder."""

    folder: Path

    @property
    def root(self) -> Certificate:
        return Certificate(self.folder / "ca.crt", self.folder / "ca.key")

    def create(self) -> None:
        """Makes the authority's own certificate and key."""
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "openssl.cnf").write_text(CONFIGURATION)
        self._request(self.root, "/CN=npu-distill-ca", ["basicConstraints=critical,CA:TRUE"])

    def issue(self, name: str, subject: str, alternative_names: str = "") -> Certificate:
        """Issues a certificate for servers and clients: `subject` is `/O=GROUP/CN=USER`, as Kubernetes reads it."""
        issued = Certificate(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if alternative_names:
            extensions.append(f"subjectAltName={alternative_names}")
        self._request(issued, subject, extensions, signer=self.root)
        return issued

    def kubeconfig(self, name: str, subject: str, server: str) -> Path:
        """Writes a kubeconfig, with everything it needs inside, for a user named by `subject`."""
        client = self.issue(name, subject)
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(kubeconfig(server, self.root.certificate, client), indent=1))
        return path

    def _request(
        self, wanted: Certificate, subject: str, extensions: list[str], signer: Certificate | None = None
    ) -> None:
        signed = ["-CA", str(signer.certificate), "-CAkey", str(signer.key)] if signer else []
        added = [word for extension in extensions for word in ("-addext", extension)]
        output = ["-keyout", str(wanted.key), "-out", str(wanted.certificate)]
        configuration = ["-config", str(self.folder / "openssl.cnf")]
        run(["openssl", "req", "-x509", *configuration, *NEW_KEY, "-subj", subject, *added, *signed, *output])


def kubeconfig(server: str, authority: Path, client: Certificate) -> dict[str, Any]:
    """Returns a kubeconfig, which is YAML and so may be JSON, for one cluster and one user."""

    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    user = {"client-certificate-data": inline(client.certificate), "client-key-data": inline(client.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "npu-distill", "cluster": {"server": server, "certificate-authority-data": inline(authority)}}
        ],
        "users": [{"name": "npu-distill", "user": user}],
        "contexts": [{"name": "npu-distill", "context": {"cluster": "npu-distill", "user": "npu-distill"}}],
        "current-context": "npu-distill",
    }
