"""The library libfsxfs, in a process of its own: files in XFS."""

from imageprep_client.programs.fsxfs.reader import XfsReader

__all__ = ["XfsReader"]
