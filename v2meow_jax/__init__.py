"""V2Meow on JAX: music for a video, in stages of sequence models."""

__version__ = '0.1.0'
