"""The service as an image, in Compose and in Kubernetes; `python -m deploy.check_image` tries the image."""
