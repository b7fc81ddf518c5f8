"""The methods of the service, as BentoML's users call them in unit tests: without a server."""

import json
import subprocess
import sys
from pathlib import Path

from relu_pipeline.demo import sample_digit
from serving.predictor import Predictor
from tests.servers import ROOT, service_environment

TEXTS = ["The striker wins the cup final", "Oil prices fall"]
CODE = """
import json, sys
from pathlib import Path
import bentoml
from serving.service import SERVICE, ReluPipeline

service, (image, *texts) = ReluPipeline(), sys.argv[1:]
answers = {
    "classify_image": service.classify_image(Path(image)).model_dump(mode="json"),
    "classify_images": service.classify_images([Path(image)]).model_dump(mode="json"),
    "classify_text": service.classify_text(texts[0]).model_dump(mode="json"),
    "classify_texts": service.classify_texts(texts).model_dump(mode="json"),
}
assert set(SERVICE.apis) == set(answers), SERVICE.apis
try:
    service.classify_text(" ")
except bentoml.exceptions.InvalidArgument as error:
    answers["invalid"] = str(error)
print(json.dumps(answers))
"""


def test_the_methods_answer_as_the_predictor_does(models: Path, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(sample_digit())
    environment = service_environment(models) | {"BENTOML_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "digit.png"), *TEXTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    image = predictor.classify("image", sample_digit())
    assert answers["classify_image"]["label"] == image["label"]
    assert [entry["label"] for entry in answers["classify_images"]["predictions"]] == [image["label"]]
    labels = [predictor.classify("text", text)["label"] for text in TEXTS]
    assert answers["classify_text"]["label"] == labels[0]
    assert [entry["label"] for entry in answers["classify_texts"]["predictions"]] == labels
    assert "text" in answers["invalid"]
