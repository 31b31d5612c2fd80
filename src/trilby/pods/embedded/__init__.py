"""A Pod run by the command itself: what a kubelet does for one pod, without a kubelet."""
