"""Checks of single values of the node's configuration; each raises ConfigError that names the key."""

from __future__ import annotations

import ipaddress

from monai_lung.errors import ConfigError


def check(fits: bool, key: str, rule: str) -> None:
    """Raise where a value doesn't fit: the key and its rule."""
    if not fits:
        raise ConfigError(f"{key}: {rule}")


def check_ae_title(title: str) -> None:
    """An AE title as DICOM has it."""
    fits = 1 <= len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title
    check(fits and title == title.strip(), "ae_title", "takes 1 to 16 ASCII characters, no backslash, no outer blanks")


def check_address(address: str) -> None:
    """An IP address to listen on."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(f"address: {address!r} isn't an IP address: 127.0.0.1 is this machine, 0.0.0.0 all") from None


def loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_port(port: int) -> None:
    """A TCP port."""
    check(0 < port < 65536, "port", "must be 1 to 65535")
