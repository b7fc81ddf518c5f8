"""The `relu-pipeline` command. Heavy imports are inside the commands."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relu_pipeline.artifacts import Source
from relu_pipeline.config import TASK_NAMES
from relu_pipeline.errors import PipelineError, in_one_line
from relu_pipeline.models.teaching import TEACHING

SHOWN_CLASSES = 5
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def main() -> None:
    arguments = _parser().parse_args()
    try:
        print(arguments.command(arguments))
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed; the extra `train` has it: install relu-pipeline[train]")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relu-pipeline", description="What stands beside `dvc repro`.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    use = commands.add_parser("use", help="your own images or texts in place of CIFAR-10 and AG News")
    tasks = use.add_subparsers(required=True, metavar="{image,text}")
    images = tasks.add_parser("image", help="a folder of images, one folder a class, or an archive of it")
    images.add_argument("location", type=Path, metavar="FOLDER", help="or .zip, .tar.gz; below train, val, test or not")
    images.set_defaults(command=_use_images)
    texts = tasks.add_parser("text", help="a table with columns for text and label")
    texts.add_argument("location", type=Path, metavar="TABLE", help=".csv .tsv .jsonl .parquet, or a folder of them")
    texts.add_argument("--text", action="append", metavar="COLUMN", help="several are joined; default: text")
    texts.add_argument("--label", default="label", metavar="COLUMN", help="default: %(default)s")
    texts.add_argument("--val", type=Path, metavar="TABLE", help="default: a part of the training rows")
    texts.add_argument("--test", type=Path, metavar="TABLE", help="default: a part of the rows")
    texts.set_defaults(command=_use_texts)
    recipe = commands.add_parser("recipe", help="write a recipe of configs/recipes/ into params.yaml")
    recipe.add_argument("name", help="file name without .yaml; `git checkout params.yaml` takes it back")
    recipe.set_defaults(command=_recipe)
    describe = commands.add_parser("describe", help="layers, parameters and output shapes of a network")
    describe.add_argument("network", help=f"{', '.join(TEACHING)}, or a trained best.ckpt")
    describe.set_defaults(command=_describe)
    search = commands.add_parser("search", help="look for better hyper-parameters on the validation split")
    search.add_argument("task", choices=TASK_NAMES)
    search.add_argument("--trials", type=int, default=30, metavar="N", help="trainings in all; default: %(default)s")
    search.add_argument("--timeout", type=_seconds, metavar="TIME", help="after it no trial begins: 90s, 20m, 2h")
    search.set_defaults(command=_search)
    prune = commands.add_parser("prune", help="cut the units that no training or validation input activates")
    prune.add_argument("model", type=Path, metavar="MODEL.onnx")
    prune.add_argument("--prepared", type=Path, help="default: data/prepared/ of the task that the graph's input tells")
    prune.add_argument("--output", type=Path, help="default: MODEL.pruned.onnx beside it")
    prune.set_defaults(command=_prune)
    predict = commands.add_parser("predict", help="classify a folder of images or a table of texts, without a service")
    tasks = predict.add_subparsers(required=True, metavar="{image,text}")
    images = tasks.add_parser("image", help="every image below a folder or in an archive, or one image")
    images.add_argument("location", type=Path, metavar="FOLDER", help="with metrics where folders are named as classes")
    _add_predict_options(images, _predict_images)
    texts = tasks.add_parser("text", help="every row of a table")
    texts.add_argument("table", type=Path, metavar="TABLE", help=".csv .tsv .txt .jsonl .ndjson .parquet")
    texts.add_argument("--text", action="append", metavar="COLUMN", help="several are joined; default: text")
    texts.add_argument("--label", metavar="COLUMN", help="of the true labels, for metrics; default: none")
    _add_predict_options(texts, _predict_texts)
    ask = commands.add_parser("ask", help="ask a running service")
    ask.add_argument("task", choices=TASK_NAMES)
    ask.add_argument("item", nargs="+", metavar="ITEM", help="image files, or texts")
    ask.add_argument("--url", default="http://127.0.0.1:3000", help="default: %(default)s")
    ask.set_defaults(command=_ask)
    swap = commands.add_parser("swap", help="put other model files in the place of those that a service answers with")
    swap.add_argument("task", choices=TASK_NAMES)
    swap.add_argument("folder", type=Path, help="as models/TASK/ of another `dvc repro`")
    swap.add_argument("--models", type=Path, default=Path("models"), help="the service's; default: %(default)s")
    swap.set_defaults(command=_swap)
    _add_registry_commands(commands)
    send = commands.add_parser("send-metrics", help="send what runs could not log because MLflow's server was away")
    send.set_defaults(command=_send_metrics)
    return parser


def _add_registry_commands(commands: Any) -> None:
    promote = commands.add_parser("promote", help="make MLflow's candidate the champion, if it is better")
    promote.add_argument("task", choices=TASK_NAMES)
    promote.add_argument("--force", metavar="REASON", help="promote one that does not pass, and record why")
    promote.set_defaults(command=_promote)
    rollback = commands.add_parser("rollback", help="bring back the champion that the present one replaced")
    rollback.add_argument("task", choices=TASK_NAMES)
    rollback.set_defaults(command=_rollback)
    status = commands.add_parser("status", help="candidates and champions of MLflow's registry")
    status.set_defaults(command=_status)
    pull = commands.add_parser("pull", help="fill models/TASK/ from MLflow's registry")
    pull.add_argument("model", metavar="TASK@ALIAS", help="as image@champion")
    pull.add_argument("--models", type=Path, default=Path("models"), help="default: %(default)s")
    pull.set_defaults(command=_pull)
    trace = commands.add_parser("trace", help="what made the model that gave an answer")
    trace.add_argument("model", metavar="MODEL", help="its sha256 or version, as answers bear them, or a run of MLflow")
    trace.set_defaults(command=_trace)


def _add_predict_options(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], str]) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    parser.add_argument("--models", type=Path, default=Path("models"), help="default: %(default)s")
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help="default: %(default)s")
    parser.set_defaults(command=command)


def _use_images(arguments: argparse.Namespace) -> str:
    from relu_pipeline.use import use

    return _used(use("image", arguments.location, {}))


def _use_texts(arguments: argparse.Namespace) -> str:
    from relu_pipeline.use import link_tables, use

    files = {"train": arguments.location, "val": arguments.val, "test": arguments.test}
    given = {split: file for split, file in files.items() if file}
    location = link_tables(given) if len(given) > 1 else arguments.location
    return _used(use("text", location, {"text": arguments.text or ["text"], "label": arguments.label}))


def _used(source: Source) -> str:
    rows = ", ".join(f"{rows:,} {split}" for split, rows in source.rows.items())
    more = ", ..." if len(source.labels) > SHOWN_CLASSES else ""
    names = ", ".join(in_one_line(label) for label in source.labels[:SHOWN_CLASSES])
    classes = f"{len(source.labels)} classes ({names}{more})"
    return f"{source.name}: {rows} examples of {classes}; next: `dvc repro`"


def _recipe(arguments: argparse.Namespace) -> str:
    from relu_pipeline.config import PARAMS
    from relu_pipeline.recipes import apply_recipe, recipe_path

    apply_recipe(recipe_path(arguments.name))
    return f"{PARAMS} now follows the recipe {arguments.name}; next: `dvc repro`"


def _describe(arguments: argparse.Namespace) -> str:
    from relu_pipeline.describe import describe

    return describe(arguments.network)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smh])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 20m or 2h")
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
    return f"{target} now holds version {version}; a service that runs takes it into use, or says in /info why not"


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
