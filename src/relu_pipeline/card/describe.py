"""The model card: all sections in order."""

from collections.abc import Callable, Mapping

from relu_pipeline.card import exported, measured, origin
from relu_pipeline.card.facts import Facts
from relu_pipeline.card.section import Card, Section, bullets, listed, paragraphs, percent
from relu_pipeline.config import TaskName
from relu_pipeline.markdown import table

DEMO = """> **Demo data.** This model was trained on the small data set that is built into the pipeline, to show that
> all stages work. Do not use its predictions, and do not compare its metrics with those of other models."""
REPEAT = """1. Run `relu-pipeline trace` with the SHA-256 of model.onnx: it prints the commit and the parameters.
2. Check out this commit in a clone of the project, and install the environment from its lock file.
3. Provide the same data. The card of the new model shows whether their SHA-256 is the same.
4. Run `dvc repro`.

On the CPU of one machine, the same code, parameters and data give the same weights and the same graph, bit for bit.
Another machine or a GPU may give different ones."""


def describe(facts: Facts) -> Card:
    return Card(
        title=f"Model card: {facts.task} classifier",
        lead=_lead(facts),
        sections=[
            Section("Intended use", _use(facts)),
            origin.data(facts),
            origin.recipe(facts),
            measured.metrics(facts),
            measured.calibration(facts),
            measured.confusion(facts),
            measured.mistakes(facts),
            exported.relu_health(facts),
            exported.drift(facts),
            exported.graphs(facts),
            Section("Limitations", _limits(facts)),
            Section("How to reproduce", REPEAT),
        ],
    )


def _lead(facts: Facts) -> str:
    source, accuracy = facts.meta.source, facts.intervals["accuracy"]
    rows = [
        ("Task", f"classification of {INPUTS[facts.task](facts)} into {len(facts.labels):,} classes"),
        ("Classes", listed(facts.labels)),
        (
            "Test accuracy",
            f"{percent(facts.metrics.accuracy)} (95 % confidence interval {percent(accuracy.low)} to "
            f"{percent(accuracy.high)}) on {facts.parity.rows:,} examples",
        ),
        ("Network", f"{facts.settled.model.name}, {facts.pruning.after.parameters:,} parameters"),
        ("Data", origin.data_name(source)),
        ("SHA-256 of the graph", facts.model_sha256),
    ]
    summary = table(("Model", ""), rows)
    return paragraphs(DEMO, summary) if source.source == "demo" else summary


def _image_input(facts: Facts) -> str:
    _, height, width, channels = facts.pruning.input_shape
    grey = "greyscale " if channels == 1 else ""
    return f"{grey}images, cropped to the central square and scaled to {width}x{height} pixels,"


def _text_input(facts: Facts) -> str:
    return f"texts, truncated to {facts.params.text.prepare.max_tokens:,} tokens,"


INPUTS: Mapping[TaskName, Callable[[Facts], str]] = {"image": _image_input, "text": _text_input}


def _use(facts: Facts) -> str:
    kind = facts.task
    return bullets(
        f"Intended for {kind}s of these classes from sources similar to the training data.",
        f'Not intended for {kind}s of other classes. There is no class "none of these": the model assigns every {kind} '
        "to one of its classes, possibly with a high probability.",
        "Not intended for decisions about people. The metrics below are not broken down by groups of people.",
    )


def _limits(facts: Facts) -> str:
    kind = facts.task
    return bullets(
        f"The model was trained on {facts.meta.rows['train']:,} {kind}s"
        f"{', from pretrained weights' if _is_pretrained(facts) else ''}.",
        *origin.shared_examples(facts),
        "The variation of the metrics between trainings was not measured: this is one training with one seed.",
        f"The accuracy on {kind}s from other sources, or of another time than the test split, was not measured.",
        f"The robustness against adversarial {kind}s was not measured.",
        "Latency and memory depend on the machine and are not reported here.",
    )


def _is_pretrained(facts: Facts) -> bool:
    return bool(facts.settled.model.settings.get("pretrained"))
