"""The cluster that a host is part of, as its API server, its etcd and its own files tell it."""
