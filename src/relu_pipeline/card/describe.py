"""The card of a model: all of its sections, in order."""

from collections.abc import Callable, Mapping

from relu_pipeline.card import exported, measured, origin
from relu_pipeline.card.facts import Facts
from relu_pipeline.card.section import Card, Section, bullets, listed, paragraphs, percent
from relu_pipeline.config import TaskName
from relu_pipeline.markdown import table

DEMO = """> **Demo data.** This model was trained on the small data set that is built into the pipeline, to show that
> all stages work. Do not use its predictions, and do not compare its metrics with those of other models."""
REPEAT = """1. `relu-pipeline trace` with the SHA-256 of model.onnx names the commit of the code and the parameters.
2. Check out this commit in a clone of the project, and install the environment from its lock file.
3. Make the same data available. The card of the new model shows whether their SHA-256 is the same.
4. Run `dvc repro`.

On the CPU of one machine the same code, parameters and data give the same weights and the same graph, byte for byte.
On another machine or on a GPU they may differ."""


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
            Section("Limits", _limits(facts)),
            Section("How to repeat it", REPEAT),
        ],
    )


def _lead(facts: Facts) -> str:
    source, accuracy = facts.meta.source, facts.intervals["accuracy"]
    rows = [
        ("Task", f"assigns {INPUTS[facts.task](facts)} to one of {len(facts.labels):,} classes"),
        ("Classes", listed(facts.labels)),
        (
            "Test accuracy",
            f"{percent(facts.metrics.accuracy)}, 95 % interval {percent(accuracy.low)} to {percent(accuracy.high)}, "
            f"{facts.parity.rows:,} examples",
        ),
        ("Network", f"{facts.settled.model.name}, {facts.pruning.after.parameters:,} parameters"),
        ("Data", origin.data_name(source)),
        ("SHA-256 of the graph", facts.model_sha256),
    ]
    summary = table(("Model", ""), rows)
    return paragraphs(DEMO, summary) if source.source == "demo" else summary


def _image_input(facts: Facts) -> str:
    _, height, width, channels = facts.pruning.input_shape
    return f"the middle square of an image, scaled to {width}x{height} pixels{' of grey' if channels == 1 else ''},"


def _text_input(facts: Facts) -> str:
    return f"a text, of which it reads the first {facts.params.text.prepare.max_tokens:,} tokens,"


INPUTS: Mapping[TaskName, Callable[[Facts], str]] = {"image": _image_input, "text": _text_input}


def _use(facts: Facts) -> str:
    kind = facts.task
    return bullets(
        f"For {kind}s of these classes from the same kind of source as the data below.",
        f'Not for {kind}s of other classes. There is no class "none of these": the model assigns each {kind} to one of '
        "its classes, possibly with a high probability.",
        "Not for decisions about people. The metrics below are not broken down by groups of people.",
    )


def _limits(facts: Facts) -> str:
    kind = facts.task
    return bullets(
        f"The model learned from the {facts.meta.rows['train']:,} {kind}s of its training split"
        f"{' and from the data behind its pretrained weights' if _is_pretrained(facts) else ''}.",
        *origin.shared_examples(facts),
        "Not measured: how much the metrics vary between trainings. This is one training with one seed.",
        f"Not measured: accuracy on {kind}s from other sources, or from another time than the test split.",
        f"Not measured: {kind}s that were made to deceive the model.",
        "Not in this card: latency and memory, which depend on the machine.",
    )


def _is_pretrained(facts: Facts) -> bool:
    return bool(facts.settled.model.settings.get("pretrained"))
