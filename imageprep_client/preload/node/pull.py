"""Pull the images that a storage lacks, and give them their names.

It needs podman, Python 3.6 and the standard library.
"""

import contextlib
import os
import shutil
import time

import pacing
import podman
import storage
import tags
import watch

#: Attempts for an image, and seconds before the second one.
ATTEMPTS, PAUSE = 3, 1.0
#: Images that one process of podman pulls: its start takes as long as a small
#: image. With a rate it may have to pause between processes.
BATCH, PACED = 32, 8
#: Images in a row that fail for want of a connection before the rest is left.
UNREACHED = 2
#: Messages of errors that another attempt does not change.
PERMANENT = (
    "manifest unknown",
    "unauthorized",
    "authentication required",
    "denied",
    "x509",
    "does not match",
    "mismatch",
    "no space left",
)
CONNECTION = (
    "connection refused",
    "no route to host",
    "no such host",
    "network is unreachable",
    "i/o timeout",
    "took longer",
)


def run(job, directory, local, say, there, blobs):
    """Bring what is missing; returns the exit status.

    :param directory: of this job, for its files.
    :param there: the images of the storage.
    :param blobs: the sizes of those that it lacks.
    """
    directory = os.path.join(directory, "podman")
    os.mkdir(directory, 0o700)
    try:
        return Pull(job, directory, local, say, blobs).run(there)
    finally:
        shutil.rmtree(directory)


class Pull:
    """Brings the images of a job."""

    def __init__(self, job, directory, local, say, blobs):
        self.job = job
        self.directory = directory
        self.storage = local
        self.say = say
        self.blobs = blobs
        self.watch = watch.Watch(job["registry"])
        self.tags = tags.Tags(directory, job["timeout"])
        self.environment = dict(os.environ)
        # A pull is short: a tenth of its processor time collects garbage.
        self.environment.setdefault("GOGC", "400")
        self.unreached = 0
        self.failed = False
        self.pulled = []
        told = os.path.join(os.path.dirname(directory), "told")
        self.pacer = pacing.Pace(job["rate"], told)
        self.due = time.time()

    def run(self, there):
        """Bring what is missing; returns the exit status."""
        images = self.job["images"]
        words = self.files()
        lacking = []
        with self.tags:
            for image in images:
                if image["digest"] in there:
                    self.name(image, there[image["digest"]])
                else:
                    lacking.append(image)
            if lacking:
                with self.watch:
                    self.pull_all(lacking, words)
                self.verify()
        return 1 if self.failed else 0

    def pull_all(self, images, words):
        """Pull images that are missing."""
        self.due = time.time()
        size = PACED if self.job["rate"] else BATCH
        for first in range(0, len(images), size):
            self.batch(images[first : first + size], words)
            self.pace(images[first : first + size])

    def files(self):
        """Write the files that podman needs; returns its options."""
        words = ["pull", "--quiet"]
        if self.job["rate"]:
            self.environment.update(pacing.Proxy(self.pacer).variables)
        for name, option in (
            ("auth.json", "--authfile"),
            ("registries.conf", None),
        ):
            text = self.job["files"].get(name)
            if text:
                path = os.path.join(self.directory, name)
                write(path, text)
                if option:
                    words += [option, path]
                else:
                    self.environment["CONTAINERS_REGISTRIES_CONF"] = path
        if self.job["files"].get("ca.crt"):
            certificates = os.path.join(self.directory, "certs")
            os.mkdir(certificates, 0o700)
            write(
                os.path.join(certificates, "ca.crt"),
                self.job["files"]["ca.crt"],
            )
            words += ["--cert-dir", certificates]
        return words

    def batch(self, images, words):
        """Pull some images by one process; those that fail, by their own."""
        began = time.time()
        pulled = set()

        def note(identifier):
            # Two names may be of one image.
            for image in images:
                if image["id"] == identifier and image["name"] not in pulled:
                    pulled.add(image["name"])
                    self.tag(image, identifier, began)

        if len(images) > 1 and not self.unreached:
            command = words + [image["pull"] for image in images]
            # The cause of a failure is told image by image.
            with contextlib.suppress(podman.Failed):
                self.podman(command, note)
        for image in images:
            if image["name"] not in pulled:
                self.bring(image, words)

    def pace(self, images):
        """Pause until what came is what the rate lets come.

        Programs use no proxy for a registry on their own host.
        """
        if not self.job["rate"]:
            return
        for image in images:
            for digest, _ in image["blobs"]:
                self.due += self.blobs.pop(digest, 0) / self.pacer.rate
        self.pacer.look()
        time.sleep(max(0.0, self.due - time.time()))

    def bring(self, image, words):
        """Pull one image by its digest, and tag it."""
        if self.unreached >= UNREACHED or self.watch.lost:
            self.say(
                image=image["name"], outcome="left", error=self.watch.lost
            )
            self.failed = True
            return
        began = time.time()
        try:
            identifier = self.pull(image, words)
        except podman.Failed as error:
            self.fail(image, str(error), began)
        else:
            self.unreached = 0
            self.tag(image, identifier, began)

    def tag(self, image, identifier, began):
        """Give an image that was pulled the name that it is to have."""
        try:
            if "@" not in image["name"]:
                self.tags.add(identifier, image["name"])
        except podman.Failed as error:
            self.fail(image, str(error), began)
        else:
            self.pulled.append(image)
            self.say(
                image=image["name"],
                outcome="pulled",
                seconds=round(time.time() - began, 3),
            )

    def podman(self, words, note=None):
        """Run podman with the files of the job."""
        timeout = self.job["timeout"]
        return podman.run(words, timeout, self.environment, self.watch, note)[
            0
        ]

    def pull(self, image, words):
        """Pull one image; returns its identifier."""
        pause = PAUSE
        for attempt in range(ATTEMPTS):
            try:
                out = self.podman([*words, image["pull"]])
            except podman.Failed as error:
                told = str(error).lower()
                permanent = any(text in told for text in PERMANENT)
                last = attempt == ATTEMPTS - 1
                if permanent or last or self.watch.lost:
                    raise
                time.sleep(pause)
                pause *= 3
            else:
                return out.split()[-1]

    def fail(self, image, reason, began):
        """Tell that an image failed."""
        self.failed = True
        told = reason.lower()
        if any(text in told for text in CONNECTION):
            self.unreached += 1
        spent = round(time.time() - began, 3)
        self.say(
            image=image["name"], outcome="failed", error=reason, seconds=spent
        )

    def name(self, image, there):
        """Tag an image that is in the storage."""
        identifier = there[0]
        if storage.named(image, there):
            self.say(image=image["name"], outcome="present")
            return
        try:
            self.tags.add(identifier, image["name"])
        except podman.Failed as error:
            self.fail(image, str(error), time.time())
        else:
            self.say(image=image["name"], outcome="tagged")

    def verify(self):
        """See that the storage has what was pulled, by name and digest."""
        there = self.storage.images()
        for image in self.pulled:
            entry = there.get(image["digest"])
            if not entry or not storage.named(image, entry):
                self.say(
                    image=image["name"],
                    outcome="failed",
                    error="not in the storage after all",
                )
                self.failed = True


def write(path, text):
    """Write a file that only this user can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w") as stream:
        stream.write(text)
