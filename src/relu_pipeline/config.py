"""Pydantic models of `params.yaml` and `configs/data/`, strict and frozen. A stage parses them once, at its start."""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.errors import ConfigError

TaskName = Literal["image", "text"]
PublishedFormat = Literal["cifar10", "ag_news"]
DataFormat = Literal[PublishedFormat, "image_folder", "table"]
TokenizerKind = Literal["auto", "word", "bpe"]

TASK_NAMES: tuple[TaskName, ...] = ("image", "text")

# Network classes by name, imported when a network is built. `image.model.name` is a key of IMAGE_NETWORKS.
IMAGE_NETWORKS = {
    "residual_cnn": "relu_pipeline.models.residual_cnn:ResidualCNN",
    "plain_cnn": "relu_pipeline.models.plain_cnn:PlainCNN",
    "mlp": "relu_pipeline.models.mlp:MLP",
    "resnet18": "relu_pipeline.models.resnet18:ResNet18",
    "timm": "relu_pipeline.models.timm_network:TimmNetwork",
}
NETWORKS = IMAGE_NETWORKS | {"text_mlp": "relu_pipeline.models.text_mlp:TextMLP"}

MAX_CHARS = 100  # of an invalid value in an error message


def one_of(names: Collection[str]) -> AfterValidator:
    """Return a validator that accepts only `names`; its error is that of a Literal."""
    *others, last = map(repr, names)

    def check(name: str) -> str:
        if name not in names:
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
        return name

    return AfterValidator(check)


def or_auto(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Accept "auto" besides valid values; `Task.settle` replaces it by a value derived from the data."""
    if is_auto(value):
        return value
    try:
        return validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["loc"]:  # an item of a list
            raise
        raise PydanticCustomError("or_auto", "{problem}, or auto", {"problem": problem["msg"]}) from error


def is_auto(value: object) -> bool:
    """Return whether the value of an `OrAuto` field is still "auto". The type of such a field is the settled type."""
    return value == "auto"


ValueT = TypeVar("ValueT")
OrAuto = Annotated[ValueT, WrapValidator(or_auto), PlainSerializer(lambda value: value)]
ActivationName = Annotated[str, one_of(CATALOGUE), Field(json_schema_extra={"enum": list(CATALOGUE)})]
PARAMS = Path("params.yaml")
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


SectionT = TypeVar("SectionT", bound=Section)


class DataConfig(Section):
    """How the user's own data are read. Without a test split, `test_fraction` of the examples becomes one."""

    test_fraction: Annotated[float, Field(gt=0, le=0.5)]


class ImageDataConfig(DataConfig):
    pass


class TextDataConfig(DataConfig):
    """`text`: the columns that make up a text, joined by a space; `label`: the column with the class."""

    text: Annotated[list[str], Field(min_length=1)]
    label: str


class PrepareConfig(Section):
    val_fraction: Annotated[float, Field(gt=0, le=0.5)]


class ImagePrepareConfig(PrepareConfig):
    """`size`: height and width of the prepared images, in pixels."""

    size: OrAuto[Annotated[int, Field(ge=8, le=512)]]


class TextPrepareConfig(PrepareConfig):
    tokenizer: TokenizerKind
    vocab_size: Annotated[int, Field(ge=256, le=1_000_000)]
    max_tokens: Annotated[int, Field(ge=8, le=4096)]


class ResidualCNNConfig(Section):
    widths: Annotated[list[Count], Field(min_length=1, max_length=4)]
    stem_kernel: Annotated[int, Field(ge=2, le=8)]
    stem_stride: Annotated[int, Field(ge=1, le=4)]
    stem_components: Count

    @model_validator(mode="after")
    def as_many_components_as_a_patch_has(self) -> Self:
        if self.stem_components > (most := 3 * self.stem_kernel**2):
            raise ValueError(f"stem_components must be at most {most} where stem_kernel is {self.stem_kernel}")
        return self


class PlainCNNConfig(Section):
    widths: Annotated[list[Count], Field(min_length=1, max_length=3)]
    hidden_dims: list[Count]
    activation: ActivationName


class MLPConfig(Section):
    hidden_dims: Annotated[list[Count], Field(min_length=1)]
    activation: ActivationName


class TimmConfig(Section):
    """A timm model. `weights` is a file with its pretrained weights; None downloads them from the hub of timm."""

    # No prefix such as `hf-hub:`: it would query the hub whenever a checkpoint is loaded.
    name: Annotated[str, Field(pattern=r"^\w+(\.\w+)?$")]
    pretrained: bool
    freeze: bool
    weights: str | None

    @model_validator(mode="after")
    def pretrained_where_it_matters(self) -> Self:
        if self.weights and not self.pretrained:
            raise ValueError("weights needs pretrained: true")
        if self.freeze and not self.pretrained:
            raise ValueError("freeze needs pretrained: true, or it would freeze random weights")
        return self


class ModelConfig(Section):
    @property
    def weights_file(self) -> Path | None:
        """Return the file with the initial weights, or None."""
        return None

    @property
    def used(self) -> dict[str, Any]:
        """Return the section without the settings of the networks that are not chosen."""
        return self.model_dump()


class ImageModelConfig(ModelConfig):
    """`name` chooses the network; the section of the same name, if there is one, has its hyperparameters."""

    name: Annotated[str, one_of(IMAGE_NETWORKS), Field(json_schema_extra={"enum": list(IMAGE_NETWORKS)})]
    residual_cnn: ResidualCNNConfig
    plain_cnn: PlainCNNConfig
    mlp: MLPConfig
    timm: TimmConfig

    @property
    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments that are hyperparameters."""
        section = getattr(self, self.name, None)
        return section.model_dump() if section else {}

    @property
    def used(self) -> dict[str, Any]:
        return {"name": self.name} | ({self.name: self.settings} if self.settings else {})

    @property
    def weights_file(self) -> Path | None:
        return Path(self.timm.weights) if self.name == "timm" and self.timm.weights else None


class TextModelConfig(ModelConfig):
    embedding_dim: OrAuto[Count]
    hidden_dims: OrAuto[Annotated[list[Count], Field(min_length=1)]]
    dropout: Fraction

    @property
    def name(self) -> str:
        return "text_mlp"

    @property
    def settings(self) -> dict[str, Any]:
        return self.model_dump()


class TrainConfig(Section):
    """`learning_rate` is the peak: linear warm-up over `warmup_fraction` of all steps, then linear decay to 0."""

    max_epochs: OrAuto[Count]
    batch_size: OrAuto[Annotated[int, Field(ge=2)]]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    label_smoothing: Fraction
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    num_nodes: Count
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"]
    in_memory: OrAuto[bool]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    early_stopping_patience: Annotated[int, Field(ge=0)]
    monitor: Literal["accuracy", "f1_macro"]
    class_weights: Literal["none", "balanced"]


class ImageTrainConfig(TrainConfig):
    optimiser: Literal["sgd", "muon"]
    muon_learning_rate: Positive
    crop_padding: Annotated[float, Field(ge=0, le=0.5)]
    horizontal_flip: bool
    erasing: Fraction
    colour: Fraction


class TextTrainConfig(TrainConfig):
    embedding_learning_rate: Positive
    word_dropout: OrAuto[Fraction]


class ValidationConfig(Section):
    """Limits on the data: `max_imbalance` causes a warning, the others an error. Fractions are from 0 to 1."""

    min_class_rows: Count
    max_left_out: Annotated[float, Field(ge=0, le=1)]
    max_shared: Annotated[float, Field(ge=0, le=1)]
    max_contradicting: Annotated[float, Field(ge=0, le=1)]
    max_imbalance: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class HealthConfig(Section):
    """Thresholds above (for `min_gradient_ratio`: below) which training warns; fractions from 0 to 1."""

    max_dead_share: Annotated[float, Field(ge=0, le=1)]
    max_zero_share: Annotated[float, Field(ge=0, le=1)]
    max_saturated_share: Annotated[float, Field(ge=0, le=1)]
    max_growth: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    min_gradient_ratio: Annotated[float, Field(ge=0, le=1)]


class StudyConfig(Section):
    """The first of `depths` is the shallow network, the last the deep one.

    The first of `learning_rates` is the usual one, the last the excessive one.
    """

    rows: Annotated[int, Field(ge=100)]
    val_rows: Annotated[int, Field(ge=100)]
    epochs: Count
    batch_size: Count
    width: Count
    depths: Annotated[list[Count], Field(min_length=2)]
    learning_rates: Annotated[list[Positive], Field(min_length=2)]
    seeds: Count
    pruned_width: Count
    pruned_learning_rate: Positive


class EvaluateConfig(Section):
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    gallery_size: Annotated[int, Field(ge=1, le=100)]


class ExportConfig(Section):
    opset: Annotated[int, Field(ge=18, le=25)]
    max_probability_difference: Positive
    prune: bool
    int8: bool
    max_int8_accuracy_loss: Annotated[float, Field(ge=0, le=1)]


class PromoteConfig(Section):
    """Limits that a candidate must keep for promotion; relative ones are compared with the champion."""

    max_calibration_error: Annotated[float, Field(ge=0, le=1)]
    max_latency_ratio: Positive
    max_changed_answers: Annotated[float, Field(ge=0, le=1)]


class SearchRange(Section):
    """Search space of one parameter for `relu-pipeline search`: `choices`, or numbers from `low` to `high`.

    `log`: sample on a logarithmic scale.
    """

    low: Finite | None = None
    high: Finite | None = None
    log: bool = False
    choices: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def numbers_or_choices(self) -> Self:
        if self.low is None or self.high is None or self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError("takes either low, high and optionally log, or choices alone")
        elif self.low >= self.high:
            raise ValueError(f"low must be below high, but {self.low} is not below {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, but it is {self.low}")
        return self


class ImageConfig(Section):
    data: ImageDataConfig
    prepare: ImagePrepareConfig
    model: ImageModelConfig
    train: ImageTrainConfig


class TextConfig(Section):
    data: TextDataConfig
    prepare: TextPrepareConfig
    model: TextModelConfig
    train: TextTrainConfig


class Params(Section):
    """`params.yaml`.

    `tasks`: for each task a file of `configs/data/` or the path of the user's own data.
    `search`: search spaces by dotted parameter name.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    tasks: Annotated[dict[TaskName, str], Field(min_length=1)]
    image: ImageConfig
    text: TextConfig
    validation: ValidationConfig
    health: HealthConfig
    study: StudyConfig
    evaluate: EvaluateConfig
    export: ExportConfig
    promote: PromoteConfig
    search: dict[str, SearchRange]


class PublishedFile(Section):
    """A file of a published data set; `checksum` is `md5:HEX` or `sha256:HEX`, `mirror` its path in a mirror."""

    url: str
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]
    mirror: str


class PublishedData(Section):
    """A file of `configs/data/`: a published data set to download, or built-in `demo` data."""

    format: PublishedFormat
    source: Literal["published", "demo"]
    labels: Annotated[list[str], Field(min_length=2)]
    files: list[PublishedFile] = []

    @model_validator(mode="after")
    def the_files_of_its_format(self) -> Self:
        names = [PurePosixPath(file.mirror).name for file in self.files]
        if self.source == "published" and self.format == "cifar10" and len(names) != 1:
            raise ValueError(f"files must be one archive where format is cifar10, but has {len(names)} entries")
        if self.source == "published" and self.format == "ag_news" and sorted(names) != ["test.csv", "train.csv"]:
            raise ValueError(
                f"files must be train.csv and test.csv where format is ag_news, but has {', '.join(names)}"
            )
        return self

    @field_validator("labels")
    @classmethod
    def each_once(cls, labels: list[str]) -> list[str]:
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"{', '.join(twice)} appears more than once")
        return labels


def load_params(path: Path = PARAMS) -> Params:
    """Read `params.yaml`. Raises ConfigError, which names each invalid key and the valid choices."""
    return _parse(path, Params)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the parameters with nested keys joined by dots, as `dvc exp run -S` takes them."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def load_published(path: Path) -> PublishedData:
    """Read a file of `configs/data/`. Raises ConfigError, as `load_params`."""
    return _parse(path, PublishedData)


def _parse(path: Path, model: type[SectionT]) -> SectionT:
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {where_to_find(path)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; it must be a YAML file") from error
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, model)}") from error


def where_to_find(path: Path) -> str:
    """Return advice for an error about a missing file of the project."""
    if PARAMS.is_file():
        return f"`git checkout {path}` restores a file of the project"
    return (
        f"this folder is not a relu-pipeline project: run the command in the root of a clone (`git clone`), "
        f"or restore the file with `git checkout {path}`"
    )


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the validation errors in one line, with the key of each invalid value and the valid choices."""
    problems = []
    for detail in error.errors(include_url=False):
        key = ".".join(str(part) for part in detail["loc"]) or "the file"
        if detail["type"] == "extra_forbidden":
            valid = ", ".join(_fields_at(model, detail["loc"][:-1]))
            problems.append(f"{key}: unknown key; valid here: {valid}")
        elif detail["type"] == "missing":
            problems.append(f"{key}: missing")
        elif detail["type"] == "model_type":
            valid = ", ".join(_fields_at(model, detail["loc"]))
            problems.append(f"{key}: takes the keys {valid}, but it is {shortened(detail['input'])}")
        else:
            message = detail["msg"][0].lower() + detail["msg"][1:]
            problems.append(f"{key}: {message}, but it is {shortened(detail['input'])}")
    return "; ".join(problems)


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for name in path:
        if name in model.model_fields:  # skip list indices and mapping keys
            annotation = model.model_fields[name].annotation
            model = [annotation, *get_args(annotation)][-1]
    return list(model.model_fields)


def shortened(value: object) -> str:
    words = repr(value)
    return words if len(words) <= MAX_CHARS else f"{words[:MAX_CHARS]}..."
