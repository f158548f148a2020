"""Where the files of a tree's repositories are, as absolute paths."""

from __future__ import annotations

from pathlib import Path

from imageprep_client.stores.imageserve import ImageServeStore


class OnDisk:
    """The paths of a store's repository."""

    def __init__(self, store: ImageServeStore) -> None:
        self._paths = store.paths
        self._top = Path(store.registry.removeprefix("image-serve:"))
        self.home = self._top / self._paths.home
        self.blobs = self._top / self._paths.blobs
        self.manifests = self._top / self._paths.manifests
        self.tags = self._top / self._paths.tags
        self.tags_list = self._top / self._paths.tags_list
        self.referrers = self._top / self._paths.referrers

    def blob(self, digest: str) -> Path:
        return self._top / self._paths.blob(digest)

    def blob_candidates(self, digest: str) -> list[Path]:
        paths = self._paths.blob_candidates(digest)
        return [self._top / path for path in paths]

    def manifest_directory(self, digest: str) -> Path:
        return self._top / self._paths.manifest_directory(digest)

    def manifest(self, digest: str) -> Path:
        return self._top / self._paths.manifest(digest)

    def htaccess(self, digest: str) -> Path:
        return self._top / self._paths.htaccess(digest)

    def type_map(self, tag: str) -> Path:
        return self._top / self._paths.type_map(tag)

    def tag_link(self, tag: str) -> Path:
        return self._top / self._paths.tag_link(tag)

    def referrers_of(self, digest: str) -> Path:
        return self._top / self._paths.referrers_of(digest)
