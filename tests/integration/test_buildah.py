"""The layer over buildah, with buildah."""

from __future__ import annotations

from tests.local_storage import LocalStorage


def test_a_command_is_run(local_storage: LocalStorage) -> None:
    """A container has what its image has."""
    base = local_storage.base()
    local_storage.build("localhost/nova:1", {"/motd": b"hi"}, base=base)
    with local_storage.buildah.container("localhost/nova:1") as container:
        assert container.run("cat", "/motd") == "hi"
