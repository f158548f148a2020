"""Archives: all images of a run in one file, to be carried somewhere else.

An archive is an OCI image layout in a tar: every blob once, whatever the
number of images that have it, and an ``index.json`` whose entries are named
``repository:tag``. ``carried.json`` lists the images and the blobs that were
left out, ``SHA256SUMS`` has the checksums of all members. It may be cut into
numbered parts.
"""

from imageprep_client.stores.archive.reading import Archive
from imageprep_client.stores.archive.writing import NewArchive

__all__ = ["Archive", "NewArchive"]
