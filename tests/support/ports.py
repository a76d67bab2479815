"""Ports for tests that must name one before it is used."""

import random
import socket

_BELOW_EPHEMERAL = range(20_000, 32_768)
"""Ports that the kernel gives to no socket which does not ask for them (net.ipv4.ip_local_port_range)."""


def unused_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on, and that nobody is given by chance."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
