"""MLServer with a custom runtime. `mlserver start FOLDER`, with all settings in the environment."""

import json

from answer import load_classifier
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Classify(MLModel):
    async def load(self) -> bool:
        self.classifier = load_classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify one BYTES tensor; the output is a BYTES tensor of JSON, as by MLServer's string codec."""
        answer = json.dumps(self.classifier.answer_json(payload.inputs[0].data[0]))
        output = ResponseOutput(name="answer", shape=[1], datatype="BYTES", data=[answer])
        return InferenceResponse(model_name=self.name, outputs=[output])
