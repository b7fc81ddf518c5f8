import shutil
import subprocess
from pathlib import Path

import pytest

from relu_pipeline.config import load_params
from relu_pipeline.search.plan import SearchPlan, plan_search
from tests.params import set_param

RATE, POOR_RATE = "text.train.learning_rate", 1e-5
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a git checkout with the built-in data, on which a training takes a second.

    The learning rates of its params.yaml are so low that nothing is learnt.
    """
    monkeypatch.delenv("DVC_ROOT", raising=False)
    # Absolute, as all projects of this process share MLflow's connections.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    rates = {"learning_rate": POOR_RATE, "embedding_learning_rate": POOR_RATE}
    for key, value in ({"max_epochs": 3, "batch_size": 256} | rates).items():
        set_param(tmp_path / "params.yaml", f"text.train.{key}", value)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/prepared").symlink_to(prepared)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "params.yaml"], ["commit", "--quiet", "--message", "params"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(project: Path) -> SearchPlan:
    """A search of the learning rate."""
    set_param(project / "params.yaml", "search", {RATE: {"low": POOR_RATE, "high": 1.0, "log": True}})
    return plan_search(load_params(), "text")
