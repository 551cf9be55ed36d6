"""Configurations as plain nested dicts, and back with every key and type checked."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from packd_jax.config.checks import ConfigError


def to_json_dict(config: Any) -> dict[str, Any]:
    """The plain nested dict of a configuration dataclass (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_config_dict(
    cls: type, values: Mapping[str, Any], where: str = "config", default: Any = None
) -> Any:
    """Builds the dataclass `cls` from a mapping (`ConfigDict`, parsed JSON, plain dict).

    Missing keys keep their values in `default`, else the defaults of `cls`. Raises ConfigError
    for an unknown key (naming the nearest one), a value of the wrong type, or a value that the
    class refuses.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    arguments = {}
    for key, value in dict(values).items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = (
                f"did you mean {where}.{near[0]}?"
                if near
                else f"known keys: {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{where}.{key}: no such key; {hint}")
        usual = getattr(cls if default is None else default, key, None)
        arguments[key] = _convert(hints[key], value, f"{where}.{key}", usual)
    try:
        return cls(**arguments) if default is None else dataclasses.replace(default, **arguments)
    except ConfigError as error:
        # A class refuses a field of its own, but only its parents know the whole path to it.
        key, problem = str(error).split(" ", 1)
        raise ConfigError(f"{where}.{key.rpartition('.')[2]} {problem}") from None


def _convert(hint: Any, value: Any, where: str, default: Any = None) -> Any:
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not hasattr(value, "items"):
            raise ConfigError(f"{where} = {value!r}: expected a group of keys")
        return from_config_dict(hint, value, where, default)
    if origin in (Mapping, dict):
        if not hasattr(value, "items"):
            raise ConfigError(f"{where} = {value!r}: expected named groups")
        item = typing.get_args(hint)[1]
        return {str(k): _convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{where} = {value!r}: expected a list of values")
        items, values = typing.get_args(hint), tuple(value)
        if items[-1] is not Ellipsis and len(items) != len(values):
            raise ConfigError(f"{where} = {value!r}: expected {len(items)} values")
        kinds = [items[0]] * len(values) if items[-1] is Ellipsis else items
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, values)))
    if origin in (typing.Union, types.UnionType):
        raise TypeError(f"{where}: optional fields are not used in configurations")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not hint:
        raise ConfigError(
            f"{where} = {value!r}: expected {hint.__name__}, given {type(value).__name__}"
        )
    return value
