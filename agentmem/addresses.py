"""Names and addresses of machines, as a server that listens on this one looks at them."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def hostname(url: str) -> str | None:
    """Return the name or address in a URL, in lower case; None where there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_address(name: str) -> bool:
    """Say whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Say whether a name stands for this machine whatever DNS says: "localhost", or an address that never leaves it."""
    return name.lower() == "localhost" or (is_address(name) and ip_address(name).is_loopback)
