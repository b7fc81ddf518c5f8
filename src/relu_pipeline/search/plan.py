"""The plan of a search: configuration, search space and study name."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.config import Params, TaskName
from relu_pipeline.search.space import SECTIONS, Config, Space, read_space, with_values
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.training.plan import Training, plan

NAME_DIGITS = 12


@dataclass(frozen=True)
class SearchPlan:
    """Plan of a search. `config` is the task's section of params.yaml, `shipped` the training with its values."""

    config: Config
    shipped: Training
    space: Space

    @property
    def task(self) -> TaskName:
        return self.shipped.task.name

    @property
    def score(self) -> str:
        """Return the name of the validation metric that the search maximises."""
        return f"val/{self.shipped.config.train.monitor}"

    @property
    def study_name(self) -> str:
        """Return a name with a digest of everything that determines the scores: data, seed, ranges, parameters."""
        causes = {
            "config": self.shipped.config.model_dump(include=set(SECTIONS)),
            "seed": self.shipped.seed,
            "data": [self.shipped.meta.digests[split] for split in ("train", "val")],
            "weights": self.shipped.weights_sha256,
            "space": [str(parameter) for parameter in self.space.parameters],
        }
        digest = hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()
        return f"{self.task}-{digest[:NAME_DIGITS]}"

    def training(self, values: dict[str, Any]) -> Training:
        """Return the training with these values. Raises ConfigError."""
        shipped = self.shipped
        config = with_values(self.config, values)
        return plan(shipped.task, config, shipped.health, shipped.seed, shipped.prepared)


def plan_search(params: Params, task: TaskName) -> SearchPlan:
    """Return the plan: each trial trains in this process.

    Raises ConfigError for an invalid section `search`, ArtifactError for missing data.
    """
    config = getattr(params, task)
    config = config.model_copy(update={"train": config.train.model_copy(update={"devices": 1, "num_nodes": 1})})
    settle = partial(plan, TASKS[task], health=params.health, seed=params.seed, prepared=artifacts.prepared_dir(task))
    space = read_space(params.search, task, config, lambda changed: settle(config=changed).config)
    return SearchPlan(config, settle(config=config), space)
