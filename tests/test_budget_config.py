"""The grid of a search: what it holds, and what it refuses."""

import dataclasses

import pytest

from packd_jax.config import ConfigError, from_config_dict
from packd_jax.prefetch.budget_config import SMOKE, BudgetConfig, Design


def test_the_grid_is_every_combination_with_the_first_arm():
    found = list(SMOKE.designs())
    assert len(set(found)) == len(found) == 2 * 2 * 2  # embeddings, widths, bits
    assert {design.arm for design in found} == {"no_kd"}
    assert Design(3, 8, 0, (8, 3, 4), (2, 1, 2), 16, 1, 4, 64, "no_kd") in found


def test_every_field_of_a_design_reaches_the_training():
    usual = next(SMOKE.designs())
    changes = {
        "look_back": 4,
        "delta_bound": 12,
        "local_deltas": 2,
        "vocabulary": (9, 2, 5),
        "embedding": (3, 4, 5),
        "width": 7,
        "depth": 2,
    }
    for name, value in changes.items():
        changed = dataclasses.replace(usual, **{name: value})
        assert SMOKE.entry(changed) != SMOKE.entry(usual), name
    entry = SMOKE.entry(dataclasses.replace(usual, **changes))
    features, student = entry.features, entry.student
    assert (features.delta_exact, features.delta_log_buckets, features.pc_vocabulary) == (9, 2, 5)
    assert (student.delta_width, student.pc_width, student.offset_width) == (3, 4, 5)
    assert (features.horizon, features.miss_labels) == (SMOKE.horizon, True)


@pytest.mark.parametrize(
    "values, problem",
    [
        ({"widths": ()}, r"axis.widths = \(\): expected at least one value"),
        ({"widths": (4, 4)}, r"axis.widths = \(4, 4\): expected distinct values"),
        ({"widths": (0,)}, "axis.width = 0: expected at least 1"),
        ({"look_backs": (300,)}, "axis.look_back = 300: expected 1 to 256"),
        ({"vocabularies": ((120, 20, 8),)}, "axis.delta_exact = 120"),
        ({"vocabularies": ((8, 4),)}, "axis.vocabularies.* expected 3 values"),
        ({"filter_blocks": (100,)}, "axis.filter_blocks = 100"),
        ({"weight_bits": (2,)}, "axis.weight_bits = .*expected 8 and 4"),
        ({"arms": ("cluster_input",)}, "axis.arms = .*expected names out of"),
        ({"draws": 0}, "axis.draws = 0"),
        ({"seed": -1}, "axis.seed = -1"),
        ({"width": (4,)}, "axis.width: no such key; did you mean axis.widths"),
    ],
)
def test_what_cannot_be_searched(values, problem):
    with pytest.raises(ConfigError, match=problem):
        from_config_dict(BudgetConfig, values, "axis", SMOKE)
