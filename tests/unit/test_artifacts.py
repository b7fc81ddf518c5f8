from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import DataReport, Finding, Format, Source, atomic
from relu_pipeline.errors import ArtifactError


class Counted(Format):
    name: str
    rows: int


def test_a_written_artifact_is_read_back(tmp_path: Path) -> None:
    counted = Counted(name="ä", rows=3)
    artifacts.write(tmp_path / "deep" / "counted.json", counted)
    assert artifacts.read(tmp_path / "deep" / "counted.json", Counted) == counted


def test_a_failed_write_leaves_the_earlier_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(ZeroDivisionError), artifacts.atomic_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "earlier").touch()
    with pytest.raises(ZeroDivisionError), artifacts.atomic_dir(path) as partial:
        (partial / "half").touch()
        raise ZeroDivisionError
    assert [entry.name for entry in path.iterdir()] == ["earlier"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_the_earlier_one_and_of_a_killed_try(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (tmp_path / ".folder.partial").mkdir()
    (tmp_path / ".folder.partial" / "of a killed try").touch()
    for name in ("first", "second"):
        with artifacts.atomic_dir(path) as partial:
            (partial / name).touch()
    assert [entry.name for entry in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_with_and_without_an_exchange(
    tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.mkdir()
    if exchanges:
        (tmp_path / "other").mkdir()
        (path / "mark").touch()
        assert atomic.exchange(path, tmp_path / "other"), "tests run where folders can be exchanged"
        assert (tmp_path / "other/mark").exists()
        (tmp_path / "other/mark").unlink()
        (tmp_path / "other").rmdir()
    else:
        monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    with artifacts.atomic_dir(path) as partial:
        (partial / "new").touch()
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_stop_between_two_renames_left_is_put_back(tmp_path: Path) -> None:
    path, old = tmp_path / "out", tmp_path / ".out.old"
    old.mkdir()
    (old / "earlier").touch()
    with pytest.raises(ZeroDivisionError), artifacts.atomic_dir(path):
        assert (path / "earlier").exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_and_the_next_command(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    reads = (
        lambda: artifacts.read(missing, Counted),
        lambda: artifacts.read_lines(missing),
        lambda: artifacts.read_table(missing),
        lambda: artifacts.copy(missing, tmp_path / "copy"),
    )
    for read in reads:
        with pytest.raises(ArtifactError, match="missing: no such file; check the path, or make it with `dvc repro`"):
            read()
    (tmp_path / "altered").write_text('{"rows": 1')
    with pytest.raises(ArtifactError, match="altered: not a valid Counted"):
        artifacts.read(tmp_path / "altered", Counted)
    with pytest.raises(ArtifactError, match="altered: not JSON lines"):
        artifacts.read_lines(tmp_path / "altered")


def test_a_model_is_read_for_its_own_task_alone(models: Path) -> None:
    assert artifacts.read_manifest(models / "text", "text").task == "text"
    with pytest.raises(ArtifactError, match=r"text: the model is of the task text; name a folder .* of the task image"):
        artifacts.read_manifest(models / "text", "image")


def test_written_lines_and_tables_are_read_back(tmp_path: Path) -> None:
    lines = [{"name": "ä\nb", "rows": 3}, {"name": "", "rows": None}]
    artifacts.write_lines(tmp_path / "lines.jsonl", lines)
    assert artifacts.read_lines(tmp_path / "lines.jsonl") == lines
    assert (tmp_path / "lines.jsonl").read_text(encoding="utf-8").count("\n") == 2
    artifacts.write_table(tmp_path / "table.csv", ["name", "rows"], [{"name": 'a,"b"\n', "rows": 3}, {"name": "ä"}])
    expected = [{"name": 'a,"b"\n', "rows": "3"}, {"name": "ä", "rows": ""}]
    assert artifacts.read_table(tmp_path / "table.csv") == expected


def test_the_errors_of_a_data_report_are_its_findings_of_that_level() -> None:
    levels = ("warning", "error", "warning", "error")
    findings = [Finding(level=level, message=f"number {number}") for number, level in enumerate(levels)]
    facts = {"name": "data", "format": "image_folder", "source": "own", "sha256": "0" * 64, "files": []}
    source = Source.model_validate(facts | {"labels": ["a"], "rows": {"train": 1}})
    empty = {"sizes": {}, "duplicates": [], "contradictions": [], "left_out": []}
    report = DataReport(source=source, rows={"train": {"a": 1}}, findings=findings, **empty)
    assert [finding.message for finding in report.errors] == ["number 1", "number 3"]
