"""The service as an image, behind nginx, in Compose, Kubernetes and KServe."""
