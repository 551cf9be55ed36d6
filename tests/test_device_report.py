"""Tables of what was found with devices held out."""

from latency_jax.fitting.device_report import by_device, chosen_methods, coverage, means


def test_a_method_is_chosen_by_the_other_devices_alone():
    def row(device, what, mape):
        return {"arm": "recalibrated", "measured": 10, "device": device, "what": what, "mape": mape}

    rows = [row("a", "x", 0.1), row("a", "y", 0.2), row("b", "x", 0.4), row("b", "y", 0.3)]
    found = {r["device"]: r["mape"] for r in chosen_methods(rows)}
    assert found == {"a": 0.2, "b": 0.4}  # each has what is best on the other


def scores(device, arm, what, measured, draw, mape, **more):
    known = {"device": device, "arm": arm, "what": what, "measured": measured, "draw": draw}
    return {**known, "mape": mape, "within_10": 0.5, "r2_log": 0.9, **more}


def test_cells_are_means_over_devices_with_intervals_over_draws():
    rows = [
        scores(device, "scratch", "chosen", 10, draw, mape)
        for draw, mapes in enumerate(((0.1, 0.2), (0.2, 0.3)))
        for device, mape in zip("ab", mapes)
    ]
    rows.append(scores("a", "all_rows", "x", 900, 0, 0.05))
    lines = means(rows).splitlines()
    assert lines[0] == "| | | 10 |" and len(lines) == 5
    # 15 and 25 over the draws: their mean, and 12.7 times the error of it
    assert lines[2] == "| from scratch | chosen | 20.0 ± 63.5 / 50 / 0.90 |"
    assert lines[4] == "all rows of the device, x: 5.0 / 50 / 0.90"
    line = by_device(rows[:1] + rows[2:3] + rows[4:]).splitlines()[2]
    assert line == "| a | from scratch | 15.0 ± 5.0 | 5.0 |"


def test_coverage_is_a_mean_and_a_low_tenth():
    shares = (0.7, 0.9, 1.0)
    rows = [
        scores("a", "recalibrated", "blend", 10, draw, 0.1, coverage=share)
        for draw, share in enumerate(shares)
    ]
    assert coverage({"t": rows}).splitlines()[-1] == "| t | recalibrated | 10 | 87 % | 74 % |"
