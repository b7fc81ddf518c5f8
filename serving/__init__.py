"""The BentoML service. It reads only `models/<task>/`, and runs on ONNX Runtime: no torch, lightning, mlflow or dvc."""
