"""Kubernetes Pod manifests: from YAML with positions to the engine's own configuration types."""
