"""Transforms: small frozen values that wrap a model, most of which hide gradients rather than resist an adversary."""
