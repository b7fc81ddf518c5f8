from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.data.prepare import fit_tokenizer


def tokenizer() -> None:
    raw, out = artifacts.raw_dir("ag_news"), artifacts.models_dir("text") / artifacts.TOKENIZER
    print(f"tokenizer: {fit_tokenizer(raw, load_params().text.prepare, out):,} words")


if __name__ == "__main__":
    run(tokenizer)
