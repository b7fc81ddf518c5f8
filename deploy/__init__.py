"""Deployment of the service: container image, nginx, Compose, Kubernetes and KServe."""
