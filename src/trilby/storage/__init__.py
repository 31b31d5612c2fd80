"""Layers, images and containers on disk, in the containers/storage format."""
