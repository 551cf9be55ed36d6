"""What a configuration is made of: parameters, what can be drawn for them, and drawn values."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Value = bool | int | float | str
SCALES = ("linear", "log", "powers_of_two", "sizes")


class ParameterError(ValueError):
    """A parameter, or a value for one, that cannot be used: which, what was given, expected."""

    def __init__(self, name: str, given: object, expected: str) -> None:
        super().__init__(f"{name} = {given!r}: expected {expected}")


@dataclass(frozen=True)
class Parameter:
    """One input of a module kind, or one condition, and how values are drawn for it.

    Values are drawn from `choices` evenly (one that is listed twice is drawn twice as often),
    else from `low` to `high`, both included, on a scale:

        linear         evenly
        log            evenly in the logarithm
        powers_of_two  evenly among the powers of two
        sizes          whole numbers: log, half of them rounded to a multiple of eight, as most
                       widths of networks are

    Where both choices and a range are given, draws come from the choices and any value of the
    range is allowed. Values are whole numbers if `default` is. A table without a column for the
    parameter is read as if every row had `default`. Raises ParameterError.
    """

    name: str
    default: Value
    choices: tuple[Value, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    scale: str = "linear"

    def __post_init__(self) -> None:
        if not self.choices and (self.low is None or self.high is None):
            raise ParameterError(self.name, (self.low, self.high), "choices, or low and high")
        if self.low is not None and self.high is not None:
            self._check_range(self.low, self.high)
        for value in (*self.choices, self.default):
            if not self.contains(value):
                raise ParameterError(self.name, value, self.expected)

    def _check_range(self, low: int | float, high: int | float) -> None:
        if not (self._has_type(low) and self._has_type(high) and low <= high):
            raise ParameterError(self.name, (low, high), f"low <= high, of type {self._type}")
        if self.scale not in SCALES:
            raise ParameterError(f"{self.name}: scale", self.scale, f"one of {SCALES}")
        if self.scale != "linear" and low <= 0:
            raise ParameterError(f"{self.name}: low", low, f"above 0, as the scale is {self.scale}")
        if self.scale == "sizes" and self._type != "int":
            raise ParameterError(self.name, (low, high), "whole numbers, as the scale is sizes")
        if self.scale == "powers_of_two" and not _powers_of_two(low, high):
            raise ParameterError(self.name, (low, high), "a range that holds a power of two")

    @property
    def is_input(self) -> bool:
        """Whether it varies, and so is an input of regressors."""
        return len(set(self.choices)) > 1 if self.choices else self.low != self.high

    @property
    def expected(self) -> str:
        """What `contains` accepts, in words."""
        if self.low is None:
            return f"one of {tuple(dict.fromkeys(self.choices))}"
        return f"{self._type} from {self.low} to {self.high}"

    @property
    def _type(self) -> str:
        return type(self.default).__name__

    def _has_type(self, value: object) -> bool:
        if isinstance(self.default, float):
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        return type(value) is type(self.default)

    def contains(self, value: object) -> bool:
        """Whether the parameter can have this value (a Python or NumPy scalar)."""
        value = plain_value(value)
        if not self._has_type(value):
            return False
        if self.low is None or self.high is None:
            return value in self.choices
        return self.low <= value <= self.high  # type: ignore[operator]  # numbers, by their type

    def sample(self, rng: np.random.Generator) -> Value:
        """Draws a value."""
        if self.choices:
            return self.choices[rng.integers(len(self.choices))]
        low, high = self.low, self.high
        assert low is not None and high is not None  # __post_init__ demands one or the other
        if self.scale == "powers_of_two":
            powers = _powers_of_two(low, high)
            return type(low)(powers[rng.integers(len(powers))])
        if self._type == "float":
            if self.scale == "log":
                drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
                return min(max(drawn, low), high)
            return float(rng.uniform(low, high))
        if self.scale == "linear":
            return int(rng.integers(int(low), int(high) + 1))
        # Every whole number stands for the interval up to the next, so `high` is no rarity.
        size = math.floor(math.exp(rng.uniform(math.log(low), math.log(high + 1))))
        if self.scale == "sizes" and rng.random() < 0.5 and low <= 8 * round(size / 8) <= high:
            size = 8 * round(size / 8)
        return min(max(size, int(low)), int(high))


@dataclass(frozen=True)
class ModuleConfig:
    """What one measurement measures: a module kind, its parameters, and the conditions."""

    kind: str
    parameters: Mapping[str, Value]
    conditions: Mapping[str, Value]

    def __post_init__(self) -> None:
        for field in ("parameters", "conditions"):
            plain = {name: plain_value(value) for name, value in getattr(self, field).items()}
            object.__setattr__(self, field, plain)

    @property
    def values(self) -> dict[str, Value]:
        """Parameters and conditions in one mapping."""
        return {**self.parameters, **self.conditions}

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that stand for the configuration, whatever the order of names."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`."""
        return {
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "conditions": dict(self.conditions),
        }

    @classmethod
    def from_json(cls, values: Any) -> ModuleConfig:
        """The configuration that `to_json` gave. Raises ParameterError for anything else."""
        fields = {"kind": str, "parameters": dict, "conditions": dict}
        if not isinstance(values, dict) or {k: type(v) for k, v in values.items()} != fields:
            raise ParameterError("module configuration", values, "kind, parameters, conditions")
        for name, value in (values["parameters"] | values["conditions"]).items():
            if not isinstance(value, (bool, int, float, str)):
                raise ParameterError(name, value, "a number, a boolean or text")
        return cls(**values)


def check_known(name: str, known: Iterable[str], what: str) -> None:
    """Raises ParameterError that names the nearest of `known` unless `name` is one of them."""
    names = tuple(known)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ParameterError(what, name, f"one of {names}{hint}")


def plain_value(value: Any) -> Any:
    """A NumPy scalar as the Python value that it is; other things as they are."""
    return value.item() if isinstance(value, np.generic) else value


def _powers_of_two(low: int | float, high: int | float) -> list[int | float]:
    exponents = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    return [2**exponent for exponent in exponents]


# What a measurement is taken under. Every kind has these beside its own parameters.
CONDITIONS = (
    Parameter("batch_size", default=1, low=1, high=256, scale="sizes"),
    Parameter("dtype", default="float32", choices=("float32", "bfloat16")),
    Parameter("cpu_utilization", default=0.0, low=0.0, high=1.0),  # load on the measured cores
    Parameter("memory_pressure", default=0.0, low=0.0, high=1.0),  # memory-bound load
    Parameter("threads", default=0, low=0, high=1024),  # 0: as many as the process may use
)
