"""The cloud, for commands that need it with some of their options only."""

from imageprep_client.cloud.connection import connect

__all__ = ["connect"]
