from pathlib import Path

from relu_pipeline.drift.pictures import SIGNALS, draw_drift


def test_an_alarm_before_the_first_shifted_row_is_not_drawn_as_none(tmp_path: Path) -> None:
    for name, delay in (("at once", 0), ("never", None)):
        row = {"shift": "noise"}
        for signal in SIGNALS:
            row |= {f"auroc_{signal}": 0.9, f"rows_until_alarm_{signal}": 100, f"alarms_{signal}": 10}
        row["rows_until_alarm_zero_shares"] = delay
        draw_drift([row], 2000, tmp_path / f"{name}.png")
    assert (tmp_path / "at once.png").read_bytes() != (tmp_path / "never.png").read_bytes()
