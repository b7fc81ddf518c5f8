"""dvc.yaml against the code: DVC does not follow imports, so a dependency that is not listed would not rebuild."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from relu_pipeline.config import load_params

ROOT = Path(__file__).resolve().parents[2]
STAGES = {stage.addressing: stage for stage in Repo(str(ROOT)).stage.collect()}
# Parameters reach a stage by value, through `params`; what remains of these cannot change an out's content.
PLUMBING = {"relu_pipeline", "relu_pipeline.config", "relu_pipeline.errors", "relu_pipeline.artifacts"}
TRACKING = ("", ".run", ".outbox", ".mlflow_run", ".mlflow_store", ".registry", ".senders")
PLUMBING |= {f"relu_pipeline.tracking{part}" for part in TRACKING}
PLUMBING |= {"relu_pipeline.provenance", "pipelines"}


def source(module: str) -> Path | None:
    for root in (ROOT, ROOT / "src"):
        path = root / module.replace(".", "/")
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if source(name)}


def reached_from(module: str) -> set[Path]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = source(name)
        if name in seen or name in PLUMBING or path is None:
            continue
        seen.add(name)
        waiting += imports(path)
    paths = (source(name) for name in seen)
    return {path for path in paths if path and path.name != "__init__.py"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_that_it_imports_and_on_no_other_module(name: str) -> None:
    listed = {ROOT / dep.def_path for dep in STAGES[name].deps}
    imported = reached_from(STAGES[name].cmd.split()[2])
    missing = {path for path in imported if not any(path.is_relative_to(dep) for dep in listed)}
    unused = {
        dep
        for dep in listed
        if dep.is_relative_to(ROOT / "src") and not any(path.is_relative_to(dep) for path in imported)
    }
    assert (missing, unused) == (set(), set())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_builds_networks_by_name_depends_on_all_of_them(name: str) -> None:
    builds = source("relu_pipeline.models.catalogue") in reached_from(STAGES[name].cmd.split()[2])
    listed = {dep.def_path for dep in STAGES[name].deps}
    assert not builds or {"src/relu_pipeline/models", "src/relu_pipeline/activations.py"} <= listed


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_described_and_its_runs_are_cached(name: str) -> None:
    assert STAGES[name].desc
    assert not any(out.persist for out in STAGES[name].outs)  # or DVC would keep no run cache


def test_an_evaluation_edit_reruns_no_training() -> None:
    for task in ("image", "text"):
        listed = [dep.def_path for dep in STAGES[f"train@{task}"].deps]
        assert not any("evaluation" in path or path == "src/relu_pipeline" for path in listed)


def test_a_setting_of_the_service_reruns_no_stage_but_the_package_and_for_the_monitor_the_drift() -> None:
    for name, stage in STAGES.items():
        listed = {dep.def_path: getattr(dep, "params", None) for dep in stage.deps}
        serving = {path: params for path, params in listed.items() if path.startswith(("serving", "configs/serving"))}
        if name.startswith("drift@"):
            monitor = {"serving/drift.py": None, "serving/settings.py": None, "configs/serving.yaml": ["drift"]}
            assert serving == monitor
        else:
            assert name == "package" or not serving


def test_every_parameter_belongs_to_a_stage() -> None:
    tracked = {
        key
        for stage in STAGES.values()
        for params in stage.params
        if params.def_path == "params.yaml"
        for key in params.params
    }
    sections = {"tasks", "seed", "validation", "study", "evaluate", "export"}
    sections |= {f"{task}.{section}" for task in ("image", "text") for section in ("data", "prepare", "model", "train")}
    assert tracked == sections
    sections |= {"health", "promote", "search"}  # what they decide changes no out
    assert set(load_params(ROOT / "params.yaml").model_dump()) == {section.split(".")[0] for section in sections}


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_module_is_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


def test_wrong_words_and_wrong_params_are_one_line_and_a_non_zero_exit(tmp_path: Path) -> None:
    def stage(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words]
        return subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )

    usage = stage("pipelines.download", "audio")
    assert (usage.returncode, usage.stderr) == (1, "usage: python -m pipelines.download {image,text}\n")
    failed = stage("pipelines.package")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: params.yaml: no such file")
    assert failed.stderr.count("\n") == 1
