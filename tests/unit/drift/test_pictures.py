from pathlib import Path

from relu_pipeline.drift.pictures import SIGNALS, draw_drift
from tests.figures import expect_picture


def row(shift: str, auroc: float, delay: int | None, alarms: int | None = 10) -> dict[str, object]:
    measures: dict[str, object] = {"shift": shift}
    for place, signal in enumerate(SIGNALS):
        later = None if delay is None else delay * (1 + place)
        measures |= {f"auroc_{signal}": auroc - 0.1 * place, f"rows_until_alarm_{signal}": later}
        measures[f"alarms_{signal}"] = alarms
    return measures


def test_the_figure_shows_each_shift_and_a_delay_of_zero_is_not_never(tmp_path: Path) -> None:
    rows = [
        row("noise", 0.9, 350),
        row("blur", 0.7, None),
        row("inverted", 1.0, 0),
        row("other scenes", 0.5, None, alarms=None),
    ]
    draw_drift(rows, 2000, tmp_path / "drift.png")
    expect_picture(tmp_path / "drift.png")
