"""Have the images of a job in the local storage of podman.

It runs on a node beside ``pacing.py``, and needs podman, Python 3.6 and the
standard library. Each line that it prints is a JSON object: one about what is
missing, then one for each image.
"""

import contextlib
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pacing

#: Attempts for an image, and seconds before the second one.
ATTEMPTS, PAUSE = 3, 1.0
#: Images that one process of podman pulls: its start takes as long as a small
#: image.
BATCH = 8
#: Images in a row that fail for want of a connection before the rest is left.
UNREACHED = 2
#: Seconds between two connections that see whether the registry is there, and
#: for one of them; so many in a row may fail.
WATCH, MISSED = 5, 3
#: Seconds that a service of podman may take to start and to answer; without
#: requests it ends.
START, IDLE = 10, "--time=60"
#: The disk must have this multiple of the missing bytes: layers are unpacked.
ROOM = 2
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


class Failed(Exception):
    """A command failed; its reason is the text."""


def say(**line):
    """Print a line for the controller."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def podman(words, timeout, environment=None, watch=None, note=None):
    """The output of a podman command, and its log.

    It is ended with all that it started when it says nothing for longer, or a
    registry that is watched is gone. ``note`` is called with each line.
    """
    try:
        process = subprocess.Popen(
            ["podman", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise Failed("podman: %s" % error.strerror.lower()) from error
    lines = queue.Queue()
    log = []
    readers = [
        threading.Thread(target=read, args=(process.stdout, lines.put)),
        threading.Thread(target=read, args=(process.stderr, log.append)),
    ]
    for reader in readers:
        reader.daemon = True
        reader.start()
    out = []
    end = time.time() + timeout
    while True:
        try:
            line = lines.get(timeout=WATCH)
        except queue.Empty:
            reason = watch.lost if watch else ""
            if time.time() > end:
                reason = "took longer than %d seconds" % timeout
            if reason:
                kill(process)
                raise Failed(reason) from None
            continue
        if line is None:
            break
        out.append(line)
        end = time.time() + timeout
        if note:
            note(line.strip())
    process.wait()
    readers[1].join()
    told = "".join(filter(None, log))
    if process.returncode:
        lines = told.strip().splitlines()
        lines = [line for line in lines if not line.startswith("time=")]
        reason = lines[-1] if lines else "status %d" % process.returncode
        raise Failed(reason[:1000])
    return "".join(out), told


def read(stream, put):
    """Pass on the lines of a stream, and None at its end."""
    with stream:
        for line in stream:
            put(line.decode("utf-8", "replace"))
    put(None)


def kill(process):
    """End a process, and all that it started."""
    for number in [*children(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()


def children(parent):
    """The processes that a process has started, and that these have."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as stream:
                stat = stream.read()
        except OSError:
            continue  # it has ended
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            found += [int(name), *children(int(name))]
    return found


class Watch:
    """Sees whether a registry takes connections.

    ``lost`` is why it is given up, or empty. A registry
    behind a proxy of the site is not watched.
    """

    def __init__(self, registry):
        self.lost = ""
        self.registry = registry
        self.ended = threading.Event()
        host, _, port = registry.rpartition(":")
        # Without a port it may be either of two.
        self.address = None
        if host and port.isdigit():
            self.address = (host.strip("[]"), int(port))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        if self.address and not self.is_proxied():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()

    def is_proxied(self):
        """Whether the environment has a proxy for the registry."""
        host = self.address[0]
        return bool(
            urllib.request.getproxies_environment()
        ) and not urllib.request.proxy_bypass_environment(host)

    def run(self):
        """Connect now and then, until the end."""
        missed = 0
        while missed < MISSED and not self.ended.wait(WATCH):
            try:
                socket.create_connection(self.address, WATCH).close()
                missed = 0
            except OSError as error:
                missed += 1
                reason = error.strerror or str(error)
        if missed:
            self.lost = "%s takes no connections: %s" % (
                self.registry,
                reason.lower(),
            )


class Storage:
    """The local storage of podman."""

    def __init__(self, timeout):
        self.timeout = timeout
        self.root = self.driver = ""

    def images(self):
        """Tags and identifier of the images by their digests."""
        found = {}
        words = ["--log-level=debug", "images", "--format", "json"]
        text, log = podman(words, self.timeout)
        for image in json.loads(text or "[]"):
            digests = [
                name.rpartition("@")[2]
                for name in image.get("RepoDigests") or ()
            ]
            names = set(image.get("RepoTags") or image.get("Names") or ())
            for digest in {*digests, image.get("Digest", "")}:
                entry = found.setdefault(digest, [image["Id"], set()])
                entry[1].update(names)
        # `podman info` takes longer than all else, as it asks the package
        # manager for versions.
        told = re.search(r'"Using graph root ([^"\\]+)"', log)
        self.root = told.group(1) if told else ""
        told = re.search(r'"Using graph driver (\w+)"', log)
        self.driver = told.group(1) if told else ""
        return found

    def missing(self, images):
        """Sizes of the blobs that have to come for these images, bytes that
        are free, and where.

        Layers that other images brought are there already.
        """
        if not self.root or not self.driver:
            text, _ = podman(["info", "--format", "json"], self.timeout)
            store = json.loads(text)["store"]
            self.root = store["graphRoot"]
            self.driver = store["graphDriverName"]
        root = self.root
        path = os.path.join(root, self.driver + "-layers", "layers.json")
        there = set()
        try:
            with open(path) as stream:
                for layer in json.load(stream):
                    there.add(layer.get("compressed-diff-digest"))
        except OSError:
            pass  # a storage without layers
        blobs = {}
        for image in images:
            for digest, size in image["blobs"]:
                if digest not in there:
                    blobs[digest] = size
        while not os.path.exists(root):
            root = os.path.dirname(root)
        disk = os.statvfs(root)
        return blobs, disk.f_bavail * disk.f_frsize, root


class Tags:
    """Gives images names, by a service of podman where that can be.

    A process for each name would take as long as a sixth of a small image.
    """

    def __init__(self, directory, timeout):
        self.path = os.path.join(directory, "service")
        self.timeout = timeout
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            kill(self.process)

    def add(self, identifier, name):
        """Give an image a name."""
        try:
            self.start()
            self.ask(identifier, name)
        except (OSError, ValueError, http.client.HTTPException):
            podman(["tag", identifier, name], self.timeout)

    def start(self):
        """Start the service, unless it runs; it ends when it is idle."""
        if self.process and self.process.poll() is None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.process = subprocess.Popen(
            ["podman", "system", "service", IDLE, "unix://" + self.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.time() + START
        while time.time() < end and self.process.poll() is None:
            if os.path.exists(self.path):
                return
            time.sleep(0.02)

    def ask(self, identifier, name):
        """Have the service give an image a name."""
        repository, _, tag = name.rpartition(":")
        query = urllib.parse.urlencode({"repo": repository, "tag": tag})
        connection = http.client.HTTPConnection("node")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(START)
            connection.sock.connect(self.path)
            connection.request(
                "POST", "/v1.24/images/%s/tag?%s" % (identifier, query)
            )
            status = connection.getresponse().status
        if status != 201:
            raise ValueError("status %d" % status)


class Pull:
    """Brings the images of a job."""

    def __init__(self, job, directory):
        self.job = job
        self.directory = directory
        self.storage = Storage(job["timeout"])
        self.watch = Watch(job["registry"])
        self.tags = Tags(directory, job["timeout"])
        self.environment = dict(os.environ)
        # A pull is short: a tenth of its processor time collects garbage.
        self.environment.setdefault("GOGC", "400")
        self.unreached = 0
        self.failed = False
        self.pulled = []
        self.blobs = {}
        self.began = time.time()
        self.taken = 0

    def run(self):
        """Bring what is missing; returns the exit status."""
        images = self.job["images"]
        there = self.storage.images()
        lacking = [i for i in images if i["digest"] not in there]
        untagged = [
            image
            for image in images
            if image["digest"] in there
            and not named(image, there[image["digest"]])
        ]
        needed = free = 0
        if lacking:
            self.blobs, free, root = self.storage.missing(lacking)
            needed = sum(self.blobs.values())
        say(
            missing=needed,
            free=free,
            lacking=len(lacking),
            untagged=len(untagged),
        )
        if needed * ROOM > free:
            sys.stderr.write(
                "%s: %d bytes free, and %d images of %d bytes need twice"
                " as much\n" % (root, free, len(lacking), needed)
            )
            return 1
        if self.job["only_look"]:
            return 0
        words = self.files()
        with self.tags:
            for image in images:
                if image["digest"] in there:
                    self.name(image, there[image["digest"]])
            if lacking:
                with self.watch:
                    self.pull_all(lacking, words)
                self.verify()
        return 1 if self.failed else 0

    def pull_all(self, images, words):
        """Pull images that are missing."""
        self.began = time.time()
        for first in range(0, len(images), BATCH):
            self.batch(images[first : first + BATCH], words)
            self.pace(images[first : first + BATCH])

    def files(self):
        """Write the files that podman needs; returns its options."""
        words = ["pull", "--quiet"]
        if self.job["rate"]:
            self.environment.update(pacing.Proxy(self.job["rate"]).variables)
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
            with contextlib.suppress(Failed):
                self.podman(command, note)
        for image in images:
            if image["name"] not in pulled:
                self.bring(image, words)

    def pace(self, images):
        """Pause until what came is what the rate lets come.

        Programs use no proxy for a registry on their own host.
        """
        for image in images:
            for digest, _ in image["blobs"]:
                self.taken += self.blobs.pop(digest, 0)
        if self.job["rate"]:
            due = self.began + self.taken / self.job["rate"]
            time.sleep(max(0.0, due - time.time()))

    def bring(self, image, words):
        """Pull one image by its digest, and tag it."""
        if self.unreached >= UNREACHED or self.watch.lost:
            say(image=image["name"], outcome="left", error=self.watch.lost)
            self.failed = True
            return
        began = time.time()
        try:
            identifier = self.pull(image, words)
        except Failed as error:
            self.fail(image, str(error), began)
        else:
            self.unreached = 0
            self.tag(image, identifier, began)

    def tag(self, image, identifier, began):
        """Give an image that was pulled the name that it is to have."""
        try:
            if "@" not in image["name"]:
                self.tags.add(identifier, image["name"])
        except Failed as error:
            self.fail(image, str(error), began)
        else:
            self.pulled.append(image)
            say(
                image=image["name"],
                outcome="pulled",
                seconds=round(time.time() - began, 3),
            )

    def podman(self, words, note=None):
        """Run podman with the files of the job."""
        timeout = self.job["timeout"]
        return podman(words, timeout, self.environment, self.watch, note)[0]

    def pull(self, image, words):
        """Pull one image; returns its identifier."""
        pause = PAUSE
        for attempt in range(ATTEMPTS):
            try:
                out = self.podman([*words, image["pull"]])
            except Failed as error:
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
        say(image=image["name"], outcome="failed", error=reason, seconds=spent)

    def name(self, image, there):
        """Tag an image that is in the storage."""
        identifier = there[0]
        if named(image, there):
            say(image=image["name"], outcome="present")
            return
        try:
            self.tags.add(identifier, image["name"])
        except Failed as error:
            self.fail(image, str(error), time.time())
        else:
            say(image=image["name"], outcome="tagged")

    def verify(self):
        """See that the storage has what was pulled, by name and digest."""
        there = self.storage.images()
        for image in self.pulled:
            entry = there.get(image["digest"])
            if not entry or not named(image, entry):
                say(
                    image=image["name"],
                    outcome="failed",
                    error="not in the storage after all",
                )
                self.failed = True


def named(image, there):
    """Whether an image of the storage has the name that it is to have."""
    return "@" in image["name"] or image["name"] in there[1]


def write(path, text):
    """Write a file that only this user can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w") as stream:
        stream.write(text)


def main(path):
    """Do the job of a file; returns the exit status."""
    with open(path) as stream:
        job = json.load(stream)
    os.unlink(path)
    os.umask(0o077)
    directory = os.path.join(os.path.dirname(path), "podman")
    os.mkdir(directory, 0o700)
    try:
        return Pull(job, directory).run()
    except Failed as error:
        sys.stderr.write("%s\n" % error)
        return 1
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
