"""The Kubernetes Container Runtime Interface: translates, decides nothing."""
