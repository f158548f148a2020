"""The static registry tree that a plain web server serves.

`tree.ImageServeTree` is the tree, `store.ImageServeStore` one repository in
it.
"""

from imageprep_client.stores.imageserve.store import ImageServeStore
from imageprep_client.stores.imageserve.tree import ImageServeTree

__all__ = ["ImageServeStore", "ImageServeTree"]
