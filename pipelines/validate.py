import sys

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.errors import DataError
from relu_pipeline.validation.validate import validate as validate_data


def validate(task: TaskName) -> None:
    reports = artifacts.reports_dir(task)
    report = validate_data(
        task, artifacts.raw_dir(task), load_params().validation, reports, artifacts.unreadable_file(task)
    )
    for finding in sorted(report.findings, key=lambda finding: finding.level, reverse=True):  # errors last
        print(f"{finding.level}: {finding.message}", file=sys.stderr)
    page = reports / artifacts.DATA_PAGE
    if report.errors:
        raise DataError(f"the data of the task {task} have errors ({len(report.errors)}), listed above and in {page}")
    print(f"{task}: no errors in the data, warnings: {len(report.findings)}; see {page}")


if __name__ == "__main__":
    run(validate, TASK_NAMES)
