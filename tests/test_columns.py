import numpy as np
import pytest

from latency_jax.columns import needed_column, number_columns, text_columns
from latency_jax.table import TableError, make_table


def test_texts_and_codes_of_texts_are_categories_and_names_of_devices_are_neither():
    columns = {"in_features": [1, 2], "activation": [0, 1], "device": ["a", "b"]}
    table = make_table("dense", columns, np.ones(2))
    assert text_columns(table) == ["activation"] and number_columns(table) == ("in_features",)
    generic = make_table("generic", {"x": ["a", "b"], "activation": [0, 1]}, np.ones(2))
    assert text_columns(generic) == ["x"] and number_columns(generic) == ("activation",)


def test_a_column_that_is_missing_is_named():
    table = make_table("generic", {"x": [1, 2]}, np.ones(2))
    assert needed_column(table, "x").tolist() == [1, 2]
    with pytest.raises(TableError, match="no column 'y': expected x and y"):
        needed_column(table, "y")
