"""Parameters as a configuration file or a command line wants them: off, fixed, listed, ranged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from latency_jax.parameters import Parameter, ParameterError, check_known, plain_value


def spec_text(spec: Any, where: str = "spec") -> str:
    """A customization as text: `"off"`, `"8"`, `"1,3,5"`, `"1:64"` or `"1:64:log"`.

    `spec` is such a text already, a value, a list of values, or a mapping with `low`, `high` and
    `scale`; what the mapping leaves out stays as the parameter has it (`":64"`). Raises
    ParameterError for anything else.
    """
    if isinstance(spec, (bool, int, float, str, np.generic)):
        return str(plain_value(spec))
    if hasattr(spec, "items"):  # ml_collections.ConfigDict is no Mapping
        parts = dict(spec.items())
        for key in parts:
            check_known(key, ("low", "high", "scale"), where)
        text = ":".join(str(parts.get(key, "")) for key in ("low", "high", "scale"))
        return text.removesuffix(":") if "scale" not in parts else text
    if isinstance(spec, (list, tuple)) and spec:
        return ",".join(spec_text(value, where) for value in spec)
    raise ParameterError(where, spec, "'off', a value, a list of values, or low, high and scale")


def customized(parameter: Parameter, spec: Any) -> Parameter:
    """The parameter as a configuration wants it; `spec` as for `spec_text`.

    "off" fixes it at its default and a single value fixes it there: it is then no input. A list
    becomes its choices, a range is drawn from, and "on" leaves it as it is. Raises
    ParameterError for values that the parameter cannot have.
    """
    text = spec_text(spec, parameter.name)
    if text == "on":
        return parameter
    if text == "off":
        return replace(parameter, choices=(parameter.default,), low=None, high=None)
    if ":" in text and parameter.low is not None:
        return _ranged(parameter, text)
    choices = tuple(_parsed(parameter, part) for part in text.split(","))
    default = parameter.default if parameter.default in choices else choices[0]
    return replace(parameter, choices=choices, low=None, high=None, default=default)


def _ranged(parameter: Parameter, text: str) -> Parameter:
    """The parameter with the range `low:high` or `low:high:scale`; empty parts stay as they are."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ParameterError(parameter.name, text, "low:high or low:high:scale")
    low: Any = _parsed(parameter, parts[0]) if parts[0] else parameter.low
    high: Any = _parsed(parameter, parts[1]) if parts[1] else parameter.high
    scale = parts[2] if len(parts) == 3 and parts[2] else parameter.scale
    if low > high:
        raise ParameterError(parameter.name, text, "low <= high")
    default: Any = parameter.default
    default = min(max(default, low), high)
    return replace(parameter, default=default, choices=(), low=low, high=high, scale=scale)


def _parsed(parameter: Parameter, text: str) -> Any:
    """The value that `text` is, of the parameter's type and one that it can have."""
    text = text.strip()
    value: Any = text
    try:
        if isinstance(parameter.default, bool):
            value = {"true": True, "false": False}.get(text.lower(), text)
        elif isinstance(parameter.default, (int, float)):
            value = type(parameter.default)(text)
    except ValueError:
        pass  # stays text, which no number parameter contains
    if not parameter.contains(value):
        raise ParameterError(parameter.name, value, parameter.expected)
    return value
