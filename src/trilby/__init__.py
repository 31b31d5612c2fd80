"""Trilby: a small container runtime for Kubernetes on Fedora.

Rooms, from the ground up; an import goes down, never up:

* ``oci``      what the OCI specifications say: digests, manifests, image and runtime config
* ``system``   the only door to the kernel and to processes
* ``storage``  layers, images and containers on disk, in the containers/storage format
* ``image``    names, registries, transports, copying, trust
* ``pods``     sandboxes and containers: engine, state, network, monitor, logs
* ``cli``      the ``trilby`` command, the only room that prints
"""
