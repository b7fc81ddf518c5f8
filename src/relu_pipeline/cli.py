"""The `relu-pipeline` command. Packages that import slowly are imported inside the commands."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from relu_pipeline.artifacts import Source, Split
from relu_pipeline.config import TASK_NAMES
from relu_pipeline.errors import INTERRUPTED, PipelineError, in_one_line
from relu_pipeline.models.teaching import TEACHING
from relu_pipeline.parser import Parser, add_command

DESCRIPTION = """\
Commands besides `dvc repro`, which builds the data, the models and the service.
`relu-pipeline COMMAND --help` shows the options of a command and an example."""
DOCTOR = """\
Check the project, its data and this machine, and show how to fix each problem.
The exit status is 1 if a check fails. Set NO_COLOR to disable colours."""
ASK = """\
Send images or texts to a running service.
If the service needs a key, set RELU_API_KEY."""
COMPLETION = """\
Print a script for shell completion of commands, options and file names.
bash: add `eval "$(relu-pipeline completion bash)"` to ~/.bashrc.
zsh: add `eval "$(relu-pipeline completion zsh)"` to ~/.zshrc, below `compinit`."""
SHOWN_CLASSES = 5


def main() -> None:
    arguments = build_parser().parse_args()
    try:
        print(arguments.command(arguments), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has ended; Python would fail again when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed; it is in the extra `train`: install relu-pipeline[train]")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def build_parser(files: Mapping[str, Any] | None = None) -> Parser:
    """Return the parser of the command line; `files` as `Parser` takes it."""
    parser = Parser(prog="relu-pipeline", description=DESCRIPTION, example="recipe quick", files=files)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_project_commands(commands)
    _add_model_commands(commands)
    _add_service_commands(commands)
    _add_registry_commands(commands)
    return parser


def _add_project_commands(commands: Any) -> None:
    doctor = add_command(commands, "doctor", "check the project, its data and this machine", "--json", DOCTOR)
    doctor.add_argument("--json", action="store_true", help="print the checks as a JSON array")
    doctor.add_argument("--port", type=int, default=3000, help="port of the service; default: %(default)s")
    doctor.set_defaults(command=_doctor)
    use = add_command(commands, "use", "train on your own images or texts", "image photos")
    tasks = use.add_subparsers(required=True, metavar="{image,text}")
    images = add_command(tasks, "image", "a folder of images, one folder per class, or an archive", "photos")
    images.add_argument("location", type=Path, metavar="FOLDER", help="or .zip, .tar.gz; may contain train, val, test")
    images.set_defaults(command=_use_images)
    example = "reviews.csv --text title --text body --label stars"
    texts = add_command(tasks, "text", "a table with columns for text and label", example)
    texts.add_argument("location", type=Path, metavar="TABLE", help=".csv .tsv .jsonl .parquet, or a folder of them")
    texts.add_argument("--text", action="append", metavar="COLUMN", help="repeat to join columns; default: text")
    texts.add_argument("--label", default="label", metavar="COLUMN", help="default: %(default)s")
    texts.add_argument("--val", type=Path, metavar="TABLE", help="default: a fraction of the training examples")
    texts.add_argument("--test", type=Path, metavar="TABLE", help="default: a fraction of all examples")
    texts.set_defaults(command=_use_texts)
    recipe = add_command(commands, "recipe", "overwrite values of params.yaml with a preset", "quick")
    recipe.add_argument("name", help="file of configs/recipes/, without .yaml; undo: `git checkout params.yaml`")
    recipe.set_defaults(command=_recipe)
    search = add_command(
        commands, "search", "search for better hyper-parameters on the validation split", "text --trials 30"
    )
    search.add_argument("task", choices=TASK_NAMES)
    search.add_argument("--trials", type=_count, default=30, metavar="N", help="trials in total; default: %(default)s")
    search.add_argument("--timeout", type=_seconds, metavar="TIME", help="start no trial after this time: 90s, 20m, 2h")
    search.set_defaults(command=_search)
    completion = add_command(commands, "completion", "print the completion script of a shell", "bash", COMPLETION)
    completion.add_argument("shell", choices=("bash", "zsh"))
    completion.set_defaults(command=_completion)


def _add_model_commands(commands: Any) -> None:
    describe = add_command(
        commands, "describe", "show layers, parameters and output shapes of a network", "cnn_cifar10"
    )
    describe.add_argument("network", help=f"{', '.join(TEACHING)}, or a trained best.ckpt")
    describe.set_defaults(command=_describe)
    prune = add_command(
        commands, "prune", "remove the units that no training example activates", "models/image/model.onnx"
    )
    prune.add_argument("model", type=Path, metavar="MODEL.onnx")
    prune.add_argument("--prepared", type=Path, help="prepared data; default: data/prepared/TASK/ of the graph's task")
    prune.add_argument("--output", type=Path, help="default: MODEL.pruned.onnx in the same folder")
    prune.set_defaults(command=_prune)
    predict = add_command(
        commands, "predict", "classify a folder of images or a table of texts", "image photos --out predictions.csv"
    )
    tasks = predict.add_subparsers(required=True, metavar="{image,text}")
    images = add_command(
        tasks, "image", "all images of a folder or an archive, or one image", "photos --out predictions.csv"
    )
    images.add_argument("location", type=Path, metavar="FOLDER", help="folders named after classes give true labels")
    _add_predict_options(images, _predict_images)
    example = "news.csv --label topic --out predictions.csv"
    texts = add_command(tasks, "text", "all rows of a table", example)
    texts.add_argument("table", type=Path, metavar="TABLE", help=".csv .tsv .txt .jsonl .ndjson .parquet")
    texts.add_argument("--text", action="append", metavar="COLUMN", help="repeat to join columns; default: text")
    texts.add_argument("--label", metavar="COLUMN", help="true labels, to compute metrics; default: none")
    _add_predict_options(texts, _predict_texts)


def _add_predict_options(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], str]) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    parser.add_argument("--models", type=Path, default=Path("models"), help="default: %(default)s")
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help="default: %(default)s")
    parser.set_defaults(command=command)


def _add_service_commands(commands: Any) -> None:
    ask = add_command(commands, "ask", "send images or texts to a running service", "image picture.png", ASK)
    ask.add_argument("task", choices=TASK_NAMES)
    ask.add_argument("item", nargs="+", metavar="ITEM", help="image files, or texts")
    ask.add_argument("--url", default="http://127.0.0.1:3000", help="default: %(default)s")
    ask.set_defaults(command=_ask)
    swap = add_command(commands, "swap", "replace the model of a running service", "image ../other/models/image")
    swap.add_argument("task", choices=TASK_NAMES)
    swap.add_argument("folder", type=Path, help="models/TASK/ of another project")
    swap.add_argument("--models", type=Path, default=Path("models"), help="of the service; default: %(default)s")
    swap.set_defaults(command=_swap)


def _add_registry_commands(commands: Any) -> None:
    promote = add_command(commands, "promote", "make the candidate the champion if it passes the checks", "image")
    promote.add_argument("task", choices=TASK_NAMES)
    promote.add_argument("--force", metavar="REASON", help="promote it even if a check fails, and record the reason")
    promote.set_defaults(command=_promote)
    rollback = add_command(commands, "rollback", "restore the previous champion", "image")
    rollback.add_argument("task", choices=TASK_NAMES)
    rollback.set_defaults(command=_rollback)
    status = add_command(commands, "status", "list candidates and champions in MLflow's registry", "")
    status.set_defaults(command=_status)
    pull = add_command(commands, "pull", "copy a model of the registry to models/TASK/", "image@champion")
    pull.add_argument("model", metavar="TASK@ALIAS", help="such as image@champion")
    pull.add_argument("--models", type=Path, default=Path("models"), help="default: %(default)s")
    pull.set_defaults(command=_pull)
    trace = add_command(commands, "trace", "show the run, data and code that produced a model", "1b2c3d4e5f60")
    trace.add_argument("model", metavar="MODEL", help="sha256 or version of the model, as in predictions, or a run ID")
    trace.set_defaults(command=_trace)
    send = add_command(commands, "send-metrics", "send log entries that MLflow's server did not receive", "")
    send.set_defaults(command=_send_metrics)


def _doctor(arguments: argparse.Namespace) -> str:
    from relu_pipeline.doctor.doctor import doctor

    return doctor(arguments.port, arguments.json)


def _completion(arguments: argparse.Namespace) -> str:
    import shtab

    return shtab.complete(build_parser(shtab.FILE), arguments.shell)


def _use_images(arguments: argparse.Namespace) -> str:
    from relu_pipeline.use import use

    return _used(*use("image", arguments.location, {}))


def _use_texts(arguments: argparse.Namespace) -> str:
    from relu_pipeline.use import linked_tables, use

    settings = {"text": arguments.text or ["text"], "label": arguments.label}
    if not arguments.val and not arguments.test:
        return _used(*use("text", arguments.location, settings))
    files: dict[Split, Path] = {"train": arguments.location, "val": arguments.val, "test": arguments.test}
    with linked_tables({split: file for split, file in files.items() if file}) as folder:
        return _used(*use("text", folder, settings))


def _used(source: Source, left_out: Mapping[str, str]) -> str:
    from relu_pipeline.data.own import first_left_out

    rows = ", ".join(f"{rows:,} {split}" for split, rows in source.rows.items())
    more = ", ..." if len(source.labels) > SHOWN_CLASSES else ""
    names = ", ".join(in_one_line(label) for label in source.labels[:SHOWN_CLASSES])
    classes = f"{len(source.labels)} classes ({names}{more})"
    return f"{source.name}: {rows} examples of {classes}{first_left_out(left_out)}; next: `dvc repro`"


def _recipe(arguments: argparse.Namespace) -> str:
    from relu_pipeline.config import PARAMS
    from relu_pipeline.recipes import apply_recipe, recipe_path

    apply_recipe(recipe_path(arguments.name))
    return f"{PARAMS} now follows the recipe {arguments.name}; next: `dvc repro`"


def _describe(arguments: argparse.Namespace) -> str:
    from relu_pipeline.describe import describe

    return describe(arguments.network)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smh])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 20m or 2h")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _search(arguments: argparse.Namespace) -> str:
    from relu_pipeline.search.search import search

    return search(arguments.task, arguments.trials, arguments.timeout)


def _prune(arguments: argparse.Namespace) -> str:
    from relu_pipeline.pruning.prune_file import prune_file
    from relu_pipeline.tasks.catalogue import TASKS

    tasks = {task.input_name: task for task in TASKS.values()}
    return prune_file(arguments.model, tasks, arguments.prepared, arguments.output)


def _predict_images(arguments: argparse.Namespace) -> str:
    from relu_pipeline.prediction.predict import predict_images

    return predict_images(arguments.location, arguments.out, arguments.models, arguments.precision)


def _predict_texts(arguments: argparse.Namespace) -> str:
    from relu_pipeline.prediction.predict import predict_texts

    return predict_texts(
        arguments.table,
        arguments.text or ["text"],
        arguments.label,
        arguments.out,
        arguments.models,
        arguments.precision,
    )


def _ask(arguments: argparse.Namespace) -> str:
    from relu_pipeline.ask import ask

    return ask(arguments.url, arguments.task, arguments.item)


def _swap(arguments: argparse.Namespace) -> str:
    from relu_pipeline.swap import swap

    target = arguments.models / arguments.task
    version = swap(arguments.task, arguments.folder, target)
    return f"{target} now has version {version}; a running service loads it, or reports in /info why it cannot"


def _promote(arguments: argparse.Namespace) -> str:
    from relu_pipeline.config import load_params
    from relu_pipeline.promotion.promote import promote

    return promote(arguments.task, load_params(), arguments.force)


def _rollback(arguments: argparse.Namespace) -> str:
    from relu_pipeline.promotion.promote import rollback

    return rollback(arguments.task)


def _status(arguments: argparse.Namespace) -> str:
    from relu_pipeline.promotion.promote import status

    return status()


def _pull(arguments: argparse.Namespace) -> str:
    from relu_pipeline.promotion.promote import pull

    return pull(arguments.model, arguments.models)


def _trace(arguments: argparse.Namespace) -> str:
    from relu_pipeline.promotion.trace import trace

    return trace(arguments.model)


def _send_metrics(arguments: argparse.Namespace) -> str:
    from relu_pipeline.tracking.mlflow_run import send_outboxes

    return f"{send_outboxes()} entries sent"


if __name__ == "__main__":
    main()
