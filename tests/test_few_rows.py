import numpy as np
import pytest
from made_up_devices import measured

from latency_jax.fitting.few_rows import NAMES, chosen, fit_few, names_for
from latency_jax.scores import score
from latency_jax.table import make_table

FEW, TEST = measured("slow", 20, 0), measured("slow", 100, 1)


def test_names_are_those_that_a_kind_can_have():
    assert names_for("dense") == NAMES
    assert names_for("generic") == ("linear", "knn", "svr", "hist_gb")


@pytest.mark.parametrize("name", NAMES)
def test_all_can_be_fitted_to_ten_rows(name):
    found = fit_few(name, FEW.take(slice(10)), 0).predict(TEST)
    assert np.isfinite(found).all() and (found > 0).all()


def test_the_one_that_these_rows_choose_is_a_good_one():
    best = chosen(("roofline", "knn", "hist_gb"), FEW, 0)
    assert best == "roofline"
    assert score(TEST.latency, fit_few(best, FEW, 0).predict(TEST)).mape < 0.3


def test_a_line_is_found_where_there_is_one():
    x = np.arange(1, 25)
    rows = make_table("generic", {"x": x}, np.exp(0.3 * x))
    assert chosen(("linear", "knn"), rows, 0) == "linear"
