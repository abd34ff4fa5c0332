"""V2Meow on JAX: music for a video, in three stages of sequence models."""

__version__ = '0.1.0'
