"""From a pod's and an image's configuration to an OCI runtime config."""
