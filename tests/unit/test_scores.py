import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from relu_pipeline.scores import classification_scores

CLASSES = 4
Rows = list[tuple[int, int]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_the_scores_are_those_of_scikit_learn(rows: Rows) -> None:
    predicted, labels = torch.tensor(rows).T
    scores = classification_scores(predicted, labels, CLASSES)
    assert {name: score.item() for name, score in scores.items()} == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predicted),
            "balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "f1_macro": f1_score(labels, predicted, average="macro", zero_division=0),
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(("enabled", "warn_only"), [(False, False), (True, False), (True, True)])
def test_the_deterministic_mode_of_pytorch_stays_as_it_was(enabled: bool, warn_only: bool) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        classification_scores(torch.tensor([0, 1]), torch.tensor([0, 1]), 2)
        assert torch.are_deterministic_algorithms_enabled() == enabled
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_many_classes_take_little_memory_in_the_deterministic_mode() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        labels = torch.arange(200_000) % 1000  # 200,000 times 1000 squared would be 200 GB even as bytes
        assert classification_scores(labels, labels, 1000)["accuracy"] == 1
    finally:
        torch.use_deterministic_algorithms(False)
