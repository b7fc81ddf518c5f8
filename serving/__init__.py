"""The BentoML service. It reads only `models/<task>/` and runs on ONNX Runtime, without torch, mlflow or dvc."""
