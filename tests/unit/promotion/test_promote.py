"""Against a real MLflow store in SQLite."""

import json
import multiprocessing
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, PreparedMeta
from relu_pipeline.config import Params, load_params
from relu_pipeline.errors import ArtifactError, PromotionError
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.promotion.promote import promote, pull, rollback, status
from relu_pipeline.promotion.trace import trace
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run, start_run
from relu_pipeline.tracking.run import NullRun
from tests.reports import write_reports

ROOT = Path(__file__).resolve().parents[3]
NAME = "relu-pipeline-text"
COMMIT = "a" * 40


@pytest.fixture(scope="module")
def folders(models: Path, trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`models/text/` of a model, a worse one, both of a user's own data as they say, and one of demo data."""
    root = tmp_path_factory.mktemp("folders")
    good = Path(shutil.copytree(models / "text", root / "good"))
    checkpoint, reports = root / "best.ckpt", root / "reports"
    content = torch.load(trained / "text/best.ckpt", weights_only=True)
    content["weights"]["head.weight"][0] *= -1  # it hardly answers the first class any more
    torch.save(content, checkpoint)
    artifacts.copy(trained / "text" / artifacts.HEALTH_MAP, reports / artifacts.HEALTH_MAP)
    params, task = load_params(ROOT / "params.yaml"), TASKS["text"]
    evaluate(task, checkpoint, prepared / "text", params.evaluate, NullRun(), reports)
    write_reports(prepared / "text", reports)
    export(task, checkpoint, reports, prepared / "text", params, NullRun(), root / "worse")
    found = {"good": good, "worse": root / "worse", "demo": models / "text"}
    for folder in (good, root / "worse"):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"data_source": "own"}))
    return found


@pytest.fixture
def params() -> Params:
    """What a model of the small built-in data can pass."""
    found = load_params(ROOT / "params.yaml")
    limits = {"max_calibration_error": 0.5, "max_latency_ratio": 100.0}
    health = found.health.model_copy(update={"max_zero_share": 1.0})
    return found.model_copy(update={"promote": found.promote.model_copy(update=limits), "health": health})


@pytest.fixture
def register(
    folders: dict[str, Path], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Registers one of `folders` as candidate of an empty project."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prepared / "text", tmp_path / "data/prepared/text")
    meta = artifacts.read(prepared / "text/meta.json", PreparedMeta)

    def register(kind: str | Path, commit: str = COMMIT, different: int = 0) -> None:
        models = folders[kind] if isinstance(kind, str) else kind
        tags = {"mlflow.note.content": "To repeat it: `dvc repro`"}
        with start_run("text", commit, "train@text", tags=tags) as run:
            run.log_params({"text.train.max_epochs": 2})
            run.log_metrics({"parity/different_top1": different})
            run.log_datasets(meta, "test")
            run.register(models, meta)
            manifest = artifacts.read(models / "manifest.json", Manifest)
            run.log_tags({"relu.checkpoint": manifest.checkpoint_sha256})

    return register


def champion() -> str | None:
    number = mlflow.MlflowClient().get_registered_model(NAME).aliases.get("champion")
    return number and str(number)


def test_the_better_model_becomes_champion_the_worse_does_not_and_back_again(
    register: Callable[..., None], params: Params
) -> None:
    with pytest.raises(PromotionError, match=r"no relu-pipeline-text@candidate; `dvc repro`"):
        promote("text", params, None)
    register("worse")
    assert "no champion yet" in promote("text", params, None)
    assert "champion already" in promote("text", params, None)
    register("good")
    said = promote("text", params, None)
    assert "gained" in said
    assert "in capitals" in said
    assert re.search(r"latency \d+\.\d\d times the champion's", said)
    assert champion() == "2"
    register("worse")  # the same bytes: no third version
    ((gained, lost),) = re.findall(r"(\d+) gained, (\d+) lost", said)
    with pytest.raises(
        PromotionError, match=f"stays candidate: it is right on {int(gained) - int(lost)} fewer examples"
    ):
        promote("text", params, None)
    assert champion() == "2"
    assert "relu-pipeline-text 1" in rollback("text")
    assert champion() == "1"
    assert "text champion: relu-pipeline-text 1" in status()
    assert "image candidate: none" in status()
    with pytest.raises(PromotionError, match="has no previous champion"):
        rollback("text")


def test_rollbacks_go_back_along_all_promotions_and_are_recorded(
    register: Callable[..., None], params: Params, folders: dict[str, Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folders["good"], tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"data_source": "published"}))
    for kind in ("worse", "good", other, "worse", "good"):
        register(kind)
        promote("text", params, "it is its turn")
    assert champion() == "2"
    assert "2 (" in status()
    assert "it is its turn; replaced 1, 3, 2, 1" in status()
    mlflow.MlflowClient().delete_model_version(NAME, "3")
    went_back_to = []
    for _ in range(3):
        rollback("text")
        went_back_to.append(champion())
    assert went_back_to == ["1", "2", "1"]  # not 3, which was deleted
    (shown,) = [line for line in status().splitlines() if line.startswith("text champion")]
    assert shown.endswith(": rollback from 2")
    with pytest.raises(PromotionError, match="has no previous champion"):
        rollback("text")


@pytest.mark.parametrize(
    ("registered", "reason"),
    [
        ({"kind": "demo"}, "trained on demo data"),
        ({"kind": "good", "commit": f"{COMMIT}-dirty"}, "sources were not committed"),
        ({"kind": "good", "different": 1}, "does not record that the graph and the network predict the same classes"),
    ],
)
def test_what_cannot_be_trusted_is_promoted_for_a_recorded_reason_alone(
    register: Callable[..., None], params: Params, registered: dict[str, object], reason: str
) -> None:
    register(**registered)
    with pytest.raises(PromotionError, match=reason):
        promote("text", params, None)
    assert champion() is None
    promote("text", params, "a demonstration")
    assert champion() == "1"
    assert "a demonstration" in status()


def test_limits_of_params_yaml_hold(register: Callable[..., None], params: Params) -> None:
    register("good")
    strict = params.promote.model_copy(update={"max_calibration_error": 0.0})
    health = params.health.model_copy(update={"max_zero_share": 0.0})
    with pytest.raises(PromotionError, match=r"max_calibration_error.*max_zero_share"):
        promote("text", params.model_copy(update={"promote": strict, "health": health}), None)


def test_rows_of_other_data_compare_nothing(register: Callable[..., None], params: Params) -> None:
    register("good")
    meta = json.loads(Path("data/prepared/text/meta.json").read_text())
    meta["source"]["sha256"] = "0" * 64
    Path("data/prepared/text/meta.json").write_text(json.dumps(meta))
    with pytest.raises(PromotionError, match="does not have the test split"):
        promote("text", params, "even so")


def test_a_server_gets_its_models_from_the_registry_alone(
    register: Callable[..., None], params: Params, folders: dict[str, Path], tmp_path: Path
) -> None:
    register("good")
    promote("text", params, None)
    target = tmp_path / "elsewhere"
    assert "now has relu-pipeline-text 1" in pull("text@champion", target)
    manifest = artifacts.read_manifest(target / "text", "text")
    for name, digest in manifest.files.items():
        assert artifacts.sha256_of(target / "text" / name) == digest
    with pytest.raises(PromotionError, match="is not TASK@ALIAS"):
        pull("champion", target)
    (stored,) = Path("mlartifacts").rglob("tokenizer.json")
    stored.write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        pull("text@champion", target)
    assert artifacts.sha256_of(target / "text/tokenizer.json") == manifest.files["tokenizer.json"]


def test_an_answer_is_traced_to_what_made_its_model(register: Callable[..., None], folders: dict[str, Path]) -> None:
    register("good")
    register("worse")
    manifest = artifacts.read(folders["good"] / "manifest.json", Manifest)
    ways = (manifest.files["model.onnx"], manifest.checkpoint_sha256[:10], manifest.version, f"{NAME}/1")
    told = {trace(way) for way in ways}
    (said,) = told
    assert f"model: {NAME}/2" in trace(f"{NAME}/2")
    for part in (
        f"model: {NAME}/1",
        f"model.onnx: {manifest.files['model.onnx']}",
        f"model.int8.onnx: {manifest.files['model.int8.onnx']}",
        COMMIT,
        manifest.data_sha256,
        "text.train.max_epochs: 2",
        "headlines-test",
        "dvc repro",
    ):
        assert part in said
    for unknown in ("f" * 64, "", manifest.version[:3]):
        with pytest.raises(PromotionError, match=r"matches no registered model; give NAME/NUMBER"):
            trace(unknown)


def test_of_models_with_the_same_weights_the_newest_is_traced(
    register: Callable[..., None], folders: dict[str, Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folders["good"], tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"data_source": "published"}))
    register("good")
    register(other)
    assert f"model: {NAME}/2" in trace(manifest["files"]["model.onnx"])
    assert f"model: {NAME}/1" in trace(f"{NAME}/1")


def test_sources_that_were_not_committed_when_the_model_was_exported_count(
    register: Callable[..., None], params: Params, folders: dict[str, Path]
) -> None:
    register("good")
    manifest = artifacts.read(folders["good"] / "manifest.json", Manifest)
    with reopen_run(manifest.checkpoint_sha256, "text", f"{COMMIT}-dirty", "export@text"):
        pass
    with pytest.raises(PromotionError, match=r"sources were not committed \(export\)"):
        promote("text", params, None)


def test_a_commit_after_the_training_makes_its_bytes_known(register: Callable[..., None], params: Params) -> None:
    register("good", commit=f"{COMMIT}-dirty")
    register("good", commit=COMMIT)
    assert "is the champion now" in promote("text", params, None)


def test_promotions_at_once_leave_the_better_model(register: Callable[..., None], params: Params) -> None:
    register("worse")
    promote("text", params, None)
    register("good")
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=promote, args=("text", params, None)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert champion() == "2"
