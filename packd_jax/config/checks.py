"""The error of a configuration, and the check that raises it."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration value that cannot be used; the message says which, and what would be."""


def require(condition: bool, key: str, given: object, expected: str) -> None:
    """Raises ConfigError unless `condition`; `key` is the field's place below `config.`."""
    if not condition:
        raise ConfigError(f"config.{key} = {given!r}: expected {expected}")
