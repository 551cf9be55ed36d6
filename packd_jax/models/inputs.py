"""What a model is fed: the shapes of a batch, and the front that turns it into floats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from packd_jax.config import FeatureConfig, ModelConfig
from packd_jax.config.features import CONFIDENCES, POPULARITIES, POPULARITY_BLOCKS
from packd_jax.models.layers import Embedding

SEGMENTS = 10  # six-bit segments of a block number
PAGE_BLOCKS = 64
ACCESS_INPUTS = ("segments", "delta", "pc")  # of every access; the others are of the window


@dataclass(frozen=True)
class InputSpec:
    """The inputs and the outputs of a model, apart from the batch size B.

    A batch is a dict of u8 arrays. Encoding "segments": `segments [B, L, 10]`, values 0 to 63.
    Encoding "tokens": `delta [B, L]`, `pc [B, L]`, oldest access first, and `offset [B]`, the
    block of the current access in its page; with `local_deltas` = P > 0 also `local [B, P]`, with
    `local_confidence` `confidence [B]`, with `popularity` `popularity [B, 4]`. With `clusters` =
    K > 0 also `cluster [B]`.
    """

    encoding: str = "tokens"  # segments | tokens
    look_back: int = 10  # accesses L in a window
    label_bits: int = 256  # logits D
    delta_vocabulary: int = 89
    pc_tokens: int = 56
    clusters: int = 0  # K; 0: the cluster is no input
    local_deltas: int = 0  # P
    local_confidence: bool = False
    popularity: bool = False
    dtype: str = "float32"  # of the front's floats, and so of all layers after it

    def __post_init__(self) -> None:
        if self.encoding not in ("segments", "tokens"):
            raise ValueError(f"encoding = {self.encoding!r}: expected 'segments' or 'tokens'")
        for name in ("look_back", "label_bits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected at least 1")
        for name in ("delta_vocabulary", "pc_tokens"):
            if not 1 <= getattr(self, name) <= 256:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 1 to 256 (u8 tokens)")
        if not 0 <= self.clusters <= 256:
            raise ValueError(f"clusters = {self.clusters}: expected 0 to 256")

    @classmethod
    def of(cls, features: FeatureConfig, clusters: int = 0, dtype: str = "float32") -> InputSpec:
        """The inputs that `features` produces, with the id of one of `clusters` if above 0."""
        tokens = features.encoding == "tokens"
        return cls(
            encoding=features.encoding,
            look_back=features.look_back,
            label_bits=features.label_bits,
            delta_vocabulary=features.delta_vocabulary,
            pc_tokens=features.pc_tokens,
            clusters=clusters,
            local_deltas=features.local_deltas if tokens else 0,
            local_confidence=tokens and features.local_confidence,
            popularity=tokens and features.popularity_entries > 0,
            dtype=dtype,
        )

    def shapes(self, batch_size: int) -> dict[str, tuple[int, ...]]:
        """The shape of every array of a batch; all are u8."""
        rows, steps = batch_size, self.look_back
        shapes: dict[str, tuple[int, ...]]
        if self.encoding == "segments":
            shapes = {"segments": (rows, steps, SEGMENTS)}
        else:
            shapes = {"delta": (rows, steps), "pc": (rows, steps), "offset": (rows,)}
            shapes |= {"local": (rows, self.local_deltas)} if self.local_deltas else {}
            shapes |= {"confidence": (rows,)} if self.local_confidence else {}
            shapes |= {"popularity": (rows, len(POPULARITY_BLOCKS))} if self.popularity else {}
        return shapes | ({"cluster": (rows,)} if self.clusters else {})

    def zeros(self, batch_size: int = 1) -> dict[str, jax.Array]:
        """A batch of zeros: what `model.init` needs to know."""
        return {k: jnp.zeros(s, jnp.uint8) for k, s in self.shapes(batch_size).items()}

    def check(self, inputs: Mapping[str, jax.Array]) -> None:
        """Raises ValueError unless `inputs` is a batch of this kind."""
        given = {k: (v.shape, jnp.dtype(v.dtype).name) for k, v in inputs.items()}
        rows = next((v.shape[0] for v in inputs.values() if v.ndim), 0)
        expected = {k: (s, "uint8") for k, s in self.shapes(rows).items()}
        if given != expected:
            raise ValueError(
                f"inputs = {given}: expected {expected}; "
                f"encode the trace with the FeatureConfig that the model was built for ({self})"
            )


class WindowEncoder(nn.Module):
    """The front that all families share: u8 inputs to floats.

    Every access has features; so has the window as a whole (page offset, cluster). The cluster
    enters as a one-hot vector: the layer that follows adds one learnt vector per cluster.
    """

    config: ModelConfig
    spec: InputSpec

    def setup(self) -> None:
        if self.spec.encoding == "tokens":
            self.delta = Embedding(self.spec.delta_vocabulary, self.config.delta_width)
            self.pc = Embedding(self.spec.pc_tokens, self.config.pc_width)
            self.offset = Embedding(PAGE_BLOCKS, self.config.offset_width)
            if self.spec.local_deltas:
                self.local = Embedding(self.spec.delta_vocabulary, self.config.delta_width)
            if self.spec.local_confidence:
                self.confidence = Embedding(CONFIDENCES, self.config.pc_width)
            if self.spec.popularity:
                self.popularity = Embedding(POPULARITIES, self.config.pc_width)

    def parts(self, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        """Features of the accesses f32[B, L, F], and those of the window, each f32[B, W]."""
        self.spec.check(inputs)
        if self.spec.encoding == "segments":
            accesses, window = inputs["segments"].astype(self.spec.dtype) / 64, []
        else:
            embedded = [self.delta(inputs["delta"]), self.pc(inputs["pc"])]
            accesses, window = jnp.concatenate(embedded, -1), [self.offset(inputs["offset"])]
            if self.spec.local_deltas:
                local = self.local(inputs["local"])
                window.append(local.reshape(len(local), -1))
            if self.spec.local_confidence:
                window.append(self.confidence(inputs["confidence"]))
            if self.spec.popularity:
                popularity = self.popularity(inputs["popularity"])
                window.append(popularity.reshape(len(popularity), -1))
        if self.spec.clusters:
            window = [
                *window,
                jax.nn.one_hot(inputs["cluster"], self.spec.clusters, dtype=self.spec.dtype),
            ]
        return accesses, window

    def flat(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """One vector per window, f32[B, L * F + W]: accesses oldest first, then the window."""
        accesses, window = self.parts(inputs)
        return jnp.concatenate([accesses.reshape(len(accesses), -1), *window], -1)

    def sequence(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """One vector per access, f32[B, L, F + W]: the window's features repeat."""
        accesses, window = self.parts(inputs)
        repeated = [jnp.repeat(w[:, None], accesses.shape[1], axis=1) for w in window]
        return jnp.concatenate([accesses, *repeated], -1)
