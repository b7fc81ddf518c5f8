"""The command `relu-pipeline ask`: send images or texts to a running service and print the predictions."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from relu_pipeline.config import TaskName
from relu_pipeline.errors import ArtifactError, ServiceError

TIMEOUT_S = 60


def ask(url: str, task: TaskName, items: list[str]) -> str:
    """Return a line for each item, followed by its most probable classes. `RELU_API_KEY` is sent if it is set.

    Raises ArtifactError for a missing file, ServiceError if the service rejects the request or all items.
    """
    url = url.rstrip("/")
    answer = _post_images(url, items) if task == "image" else _post(f"{url}/classify_texts", json={"texts": items})
    model = answer["model"]
    if all("error" in entry for entry in answer["predictions"]):
        raise ServiceError("; ".join(map(_shown, items, answer["predictions"])))
    lines = [_shown(item, entry) for item, entry in zip(items, answer["predictions"], strict=True)]
    return "\n".join([*lines, f"model: {model['name']} {model['version']}"])


def _post_images(url: str, paths: list[str]) -> dict[str, Any]:
    with ExitStack() as opened:
        try:
            files = [("images", (path, opened.enter_context(Path(path).open("rb")))) for path in paths]
        except OSError as error:
            raise ArtifactError(f"{error.filename}: {error.strerror}; give PNG, JPEG or WebP files") from error
        return _post(f"{url}/classify_images", files=files)


def _post(url: str, **content: Any) -> dict[str, Any]:
    key = os.environ.get("RELU_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = requests.post(url, headers=headers, timeout=TIMEOUT_S, **content)
        answer = response.json()
    except requests.ConnectionError as error:
        raise ServiceError(f"{url}: no connection; start the service with `make serve`, or change --url") from error
    except requests.Timeout as error:
        raise ServiceError(f"{url}: no response within {TIMEOUT_S} s; see the service's log") from error
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema) as error:
        raise ServiceError(f"{url}: no URL; --url begins with http:// or https://") from error
    except (requests.RequestException, ValueError) as error:
        raise ServiceError(f"{url} is not this project's service ({error}); change --url") from error
    match answer:
        case {"predictions": _, "model": _}:
            return dict(answer)
        case {"error": {"message": message}}:
            raise ServiceError(f"{url}: {message}")
    raise ServiceError(f"{url} is not this project's service (status {response.status_code}); change --url")


def _shown(item: str, entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{item}: {entry['error']['message']}"
    return "\n".join([f"{item}: {entry['label']}", *(f"  {s['probability']:7.2%}  {s['label']}" for s in entry["top"])])
