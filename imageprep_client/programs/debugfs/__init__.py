"""The program `debugfs` of e2fsprogs: files in ext2, ext3 and ext4."""

from imageprep_client.programs.debugfs.reader import ExtReader

__all__ = ["ExtReader"]
