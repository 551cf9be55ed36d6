"""What a study does: frozen dataclasses, one per stage, checked when they are built.

Configurations enter at the edge as `ml_collections.ConfigDict` or JSON; `from_config_dict`
turns either into these classes, names the nearest key for a typo, and refuses wrong types.
"""

from packd_jax.config.checks import ConfigError
from packd_jax.config.convert import from_config_dict, to_json_dict
from packd_jax.config.features import FeatureConfig
from packd_jax.config.model import MODEL_FAMILIES, ModelConfig, TrainConfig
from packd_jax.config.stream import StreamConfig
from packd_jax.config.study import ARMS, Config, DistillConfig, EntryConfig, QuirksConfig
from packd_jax.config.trace import (
    CACHE_PRESETS,
    CacheConfig,
    CacheLevelConfig,
    ClusterConfig,
    TraceConfig,
    WorkloadConfig,
)

__all__ = [
    "ARMS",
    "CACHE_PRESETS",
    "CacheConfig",
    "CacheLevelConfig",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DistillConfig",
    "EntryConfig",
    "FeatureConfig",
    "MODEL_FAMILIES",
    "ModelConfig",
    "QuirksConfig",
    "StreamConfig",
    "TraceConfig",
    "TrainConfig",
    "WorkloadConfig",
    "from_config_dict",
    "to_json_dict",
]
