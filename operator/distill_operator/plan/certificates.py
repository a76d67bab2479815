"""Certificates of one's own authority in stage Pods, so that teachers, hubs and stores behind it are believed."""

from typing import Any, Final

from distill_operator.settings import CaBundle

Manifest = dict[str, Any]

CA_VOLUME: Final = "ca-bundle"
CA_FOLDER: Final = "/etc/npu-distill-ca"
CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
"""By which OpenSSL (aiohttp, httpx), requests and botocore find them."""


def add_ca_bundle(pod: Manifest, bundle: CaBundle) -> None:
    """Have all containers of a Pod that is being built read the bundle, where nothing else is configured for them."""
    if not bundle.config_map_name:
        return
    file = f"{CA_FOLDER}/ca.crt"
    items = [{"key": bundle.key, "path": "ca.crt"}]
    pod["volumes"].append({"name": CA_VOLUME, "configMap": {"name": bundle.config_map_name, "items": items}})
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        configured = {variable["name"] for variable in container["env"]}
        container["env"] += [{"name": name, "value": file} for name in CA_VARIABLES if name not in configured]
        container["volumeMounts"].append({"name": CA_VOLUME, "mountPath": CA_FOLDER, "readOnly": True})
