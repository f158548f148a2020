"""Look at the local storage of podman.

It needs Python 3.6 and the standard library alone.
"""

import json
import os
import re

import podman


class Storage:
    """The local storage of podman."""

    def __init__(self, timeout):
        self.timeout = timeout
        self.root = self.driver = ""

    def has_all(self, images):
        """Whether all these images are there for sure, with their names.

        The file of the storage is read: podman takes 0.3 s to list the images
        of a deployment. False also means that the file does not tell.
        """
        name = images[0]["name"] if images else ""
        words = ["--log-level=debug", "image", "exists", name]
        try:
            _, log = podman.run(words, self.timeout)
        except podman.Failed:
            return False
        self.learn(log)
        try:
            layers = {
                layer["id"]
                for layer in self.read("layers")
                if not (layer.get("flags") or {}).get("incomplete")
            }
            there = {
                entry["digest"]: [entry["id"], set(entry["names"])]
                for entry in self.read("images")
                if entry.get("names") and entry.get("layer") in layers
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        return all(
            image["digest"] in there and named(image, there[image["digest"]])
            for image in images
        )

    def read(self, kind):
        """The entries of a file of the storage."""
        parent = os.path.join(self.root, "%s-%s" % (self.driver, kind))
        with open(os.path.join(parent, kind + ".json")) as stream:
            return json.load(stream)

    def learn(self, log):
        """Take the place of the storage from a log."""
        # `podman info` takes longer than all else, as it asks the package
        # manager for versions.
        told = re.search(r'"Using graph root ([^"\\]+)"', log)
        self.root = told.group(1) if told else ""
        told = re.search(r'"Using graph driver (\w+)"', log)
        self.driver = told.group(1) if told else ""

    def images(self):
        """Tags and identifier of the images by their digests."""
        found = {}
        words = ["--log-level=debug", "images", "--format", "json"]
        text, log = podman.run(words, self.timeout)
        for image in json.loads(text or "[]"):
            digests = [
                name.rpartition("@")[2]
                for name in image.get("RepoDigests") or ()
            ]
            names = set(image.get("RepoTags") or image.get("Names") or ())
            for digest in {*digests, image.get("Digest", "")}:
                entry = found.setdefault(digest, [image["Id"], set()])
                entry[1].update(names)
        self.learn(log)
        return found

    def missing(self, images):
        """Sizes of the blobs that have to come for these images, bytes that
        are free, and where.

        Layers that other images brought are there already.
        """
        if not self.root or not self.driver:
            text, _ = podman.run(["info", "--format", "json"], self.timeout)
            store = json.loads(text)["store"]
            self.root = store["graphRoot"]
            self.driver = store["graphDriverName"]
        root = self.root
        try:
            layers = self.read("layers")
        except OSError:
            layers = []  # a storage without layers
        there = {layer.get("compressed-diff-digest") for layer in layers}
        blobs = {}
        for image in images:
            for digest, size in image["blobs"]:
                if digest not in there:
                    blobs[digest] = size
        while not os.path.exists(root):
            root = os.path.dirname(root)
        disk = os.statvfs(root)
        return blobs, disk.f_bavail * disk.f_frsize, root


def named(image, there):
    """Whether an image of the storage has the name that it is to have."""
    return "@" in image["name"] or image["name"] in there[1]
