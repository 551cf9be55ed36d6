"""The medium LSTM language model of Zaremba et al. 2014: two layers of 650, 10,000 words.

--model=experiments.models.lstm:lstm_medium --input=1,35:int32
"""

from __future__ import annotations

import flax.linen as nn
import jax


class LanguageModel(nn.Module):
    features: int
    layers: int
    vocabulary: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """i32[B, T] -> logits f32[B, T, vocabulary]"""
        x = nn.Embed(self.vocabulary, self.features)(tokens)
        for _ in range(self.layers):
            x = nn.RNN(nn.OptimizedLSTMCell(self.features))(x)
        return nn.Dense(self.vocabulary)(x)


def lstm_medium() -> nn.Module:
    return LanguageModel(features=650, layers=2, vocabulary=10_000)
