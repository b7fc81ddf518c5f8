"""Tasks by name."""

from typing import Any

from relu_pipeline.config import TaskName
from relu_pipeline.task import Task
from relu_pipeline.tasks.image import ImageTask
from relu_pipeline.tasks.text import TextTask

TASKS: dict[TaskName, Task[Any]] = {task.name: task for task in (ImageTask(), TextTask())}
