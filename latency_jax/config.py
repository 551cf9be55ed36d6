"""What a collection measures: module kinds, what is drawn for them, conditions, and how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from latency_jax.customization import spec_text
from latency_jax.modules import customized_parameters, get_kind, kinds
from latency_jax.parameters import ParameterError, check_known
from packd_jax.config import ConfigError, from_config_dict
from packd_jax.config.checks import require

MODES = ("fast", "careful")


@dataclass(frozen=True)
class ConditionsConfig:
    """What is drawn for each condition: `"on"`, `"off"`, or as `latency_jax.customization` says."""

    batch_size: str = "on"
    dtype: str = "off"
    cpu_utilization: str = "off"
    memory_pressure: str = "off"
    threads: str = "off"


@dataclass(frozen=True)
class CollectConfig:
    """A collection of measurements.

    Conditions and customizations are texts here, which a command line can override:
    `"off"`, `"8"`, `"1,3,5"`, `"1:64"` or `"1:64:log"`; `read_config` turns other spellings
    into them. Raises ConfigError for what cannot be drawn.
    """

    kinds: tuple[str, ...] = ()  # empty: all of them
    conditions: ConditionsConfig = ConditionsConfig()
    customizations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by kind
    configurations: int = 300  # of each kind, at most
    minutes: float = 10.0  # shared by all kinds
    repeat_after_minutes: float = 10.0  # second measurements; two thirds of `minutes` if less
    mode: str = "fast"  # fast: many configurations | careful: repeatable ones
    windows: int = 0  # in which each module is timed; 0: as many as the mode has
    size_limit: float = 1.0  # times the work and the bytes that suit two CPU cores
    seed: int = 0

    def __post_init__(self) -> None:
        require(len(set(self.kinds)) == len(self.kinds), "kinds", self.kinds, "distinct kinds")
        require(self.configurations >= 1, "configurations", self.configurations, "at least 1")
        require(self.minutes > 0, "minutes", self.minutes, "more than 0")
        after = self.repeat_after_minutes
        require(after >= 0, "repeat_after_minutes", after, "0 or more")
        require(self.mode in MODES, "mode", self.mode, f"one of {MODES}")
        require(self.windows >= 0, "windows", self.windows, "0 or more")
        require(self.size_limit > 0, "size_limit", self.size_limit, "more than 0")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        with _refusing("kinds", self.kinds):
            for kind in self.kinds:
                get_kind(kind)
        with _refusing("conditions", asdict(self.conditions)):
            customized_parameters(self.measured_kinds[0], asdict(self.conditions))
        with _refusing("customizations", dict(self.customizations)):
            for kind, specs in self.customizations.items():
                check_known(kind, self.measured_kinds, "a kind that is measured")
                customized_parameters(kind, specs)

    @property
    def measured_kinds(self) -> tuple[str, ...]:
        """The names of the kinds that are measured."""
        return self.kinds or kinds()

    def customizations_of(self, kind: str) -> dict[str, str]:
        """What is drawn for the kind, conditions included, as `sample_config` takes it.

        A condition that the kind customizes itself is drawn as the kind says.
        """
        return {**asdict(self.conditions), **self.customizations.get(kind, {})}


def read_config(values: Any) -> CollectConfig:
    """The collection that a `ConfigDict`, a plain dict or parsed JSON describes.

    What is drawn may be a value, a list, a group with `low`, `high` and `scale`, or text.
    Missing keys keep their defaults. Raises ConfigError for an unknown key, naming the nearest,
    and for values of a wrong type or out of range.
    """
    plain = dict(values.items())
    if hasattr(plain.get("conditions"), "items"):
        plain["conditions"] = _texts(plain["conditions"], "config.conditions")
    if hasattr(plain.get("customizations"), "items"):
        plain["customizations"] = {
            kind: _texts(specs, f"config.customizations.{kind}")
            for kind, specs in plain["customizations"].items()
        }
    return from_config_dict(CollectConfig, plain)


def _texts(specs: Any, where: str) -> Any:
    if not hasattr(specs, "items"):
        return specs  # from_config_dict says what is wrong with it
    try:
        return {name: spec_text(spec, f"{where}.{name}") for name, spec in specs.items()}
    except ParameterError as error:
        raise ConfigError(str(error)) from None


@contextmanager
def _refusing(key: str, given: object) -> Iterator[None]:
    try:
        yield
    except ParameterError as error:
        raise ConfigError(f"config.{key} = {given!r}: {error}") from None
