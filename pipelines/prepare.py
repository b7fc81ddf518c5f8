from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import DATASET_OF, TASKS, Task, load_params
from relu_pipeline.data.prepare import prepare_images, prepare_texts


def prepare(task: Task) -> None:
    params = load_params()
    raw, out = artifacts.raw_dir(DATASET_OF[task]), artifacts.prepared_dir(task)
    if task == "image":
        meta = prepare_images(raw, params.image.prepare, out)
    else:
        tokenizer = artifacts.models_dir("text") / artifacts.TOKENIZER
        meta = prepare_texts(raw, tokenizer, params.text.prepare, out)
    print(f"{task}: " + ", ".join(f"{rows:,} {split}" for split, rows in meta.rows.items()) + " rows")


if __name__ == "__main__":
    run(prepare, TASKS)
