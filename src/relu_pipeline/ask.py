"""`relu-pipeline ask`: a running service asked by HTTP, its answer as text."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from relu_pipeline.config import TaskName
from relu_pipeline.errors import ArtifactError, ServiceError

TIMEOUT_S = 60


def ask(url: str, task: TaskName, items: list[str]) -> str:
    """A line an item, and the best classes of each under it. `RELU_API_KEY` is sent where it is set.

    Raises ArtifactError for a file that is missing, ServiceError for what the service refuses or if it classifies none.
    """
    answer = _post_images(url, items) if task == "image" else _post(f"{url}/classify_texts", json={"texts": items})
    model = answer["model"]
    if all("error" in entry for entry in answer["predictions"]):
        raise ServiceError("; ".join(map(_shown, items, answer["predictions"])))
    lines = [_shown(item, entry) for item, entry in zip(items, answer["predictions"], strict=True)]
    return "\n".join([*lines, f"answered by {model['name']} {model['version']}"])


def _post_images(url: str, paths: list[str]) -> dict[str, Any]:
    with ExitStack() as opened:
        try:
            files = [("images", (path, opened.enter_context(Path(path).open("rb")))) for path in paths]
        except OSError as error:
            raise ArtifactError(f"{error.filename}: {error.strerror}; name PNG, JPEG or WebP files") from error
        return _post(f"{url}/classify_images", files=files)


def _post(url: str, **content: Any) -> dict[str, Any]:
    key = os.environ.get("RELU_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = requests.post(url, headers=headers, timeout=TIMEOUT_S, **content)
        answer = response.json()
    except requests.ConnectionError as error:
        raise ServiceError(f"{url}: no connection; start the service with `make serve`, or name it by --url") from error
    except requests.Timeout as error:
        raise ServiceError(f"{url}: no answer within {TIMEOUT_S} s; look at the service's log") from error
    except (requests.RequestException, ValueError) as error:
        raise ServiceError(f"{url}: not this project's service ({error}); name another by --url") from error
    match answer:
        case {"predictions": _, "model": _}:
            return dict(answer)
        case {"error": {"message": message}}:
            raise ServiceError(f"{url}: {message}")
    raise ServiceError(f"{url}: not this project's service (status {response.status_code}); name another by --url")


def _shown(item: str, entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{item}: {entry['error']['message']}"
    return "\n".join([f"{item}: {entry['label']}", *(f"  {s['probability']:7.2%}  {s['label']}" for s in entry["top"])])
