"""Have the images of a job in the local storage of podman.

It runs on a node beside the other modules of its directory, and needs podman,
Python 3.6 and the standard library. Each line that it prints is a JSON object:
one about what is missing, then one for each image.
"""

import json
import os
import sys

import podman
import storage

#: The disk must have this multiple of the missing bytes: layers are unpacked.
ROOM = 2


def say(**line):
    """Print a line for the controller."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(path):
    """Do the job of a file; returns the exit status."""
    with open(path) as stream:
        job = json.load(stream)
    os.unlink(path)
    os.umask(0o077)
    try:
        return run(job, os.path.dirname(path))
    except podman.Failed as error:
        sys.stderr.write("%s\n" % error)
        return 1


def run(job, directory):
    """Look at the storage, and bring what it lacks; returns the status."""
    local = storage.Storage(job["timeout"])
    images = job["images"]
    if job["only_look"] and local.has_all(images):
        say(missing=0, free=0, lacking=0, untagged=0)
        return 0
    there = local.images()
    lacking = [image for image in images if image["digest"] not in there]
    untagged = [
        image
        for image in images
        if image["digest"] in there
        and not storage.named(image, there[image["digest"]])
    ]
    blobs = {}
    needed = free = 0
    if lacking:
        blobs, free, root = local.missing(lacking)
        needed = sum(blobs.values())
    say(
        missing=needed, free=free, lacking=len(lacking), untagged=len(untagged)
    )
    if needed * ROOM > free:
        sys.stderr.write(
            "%s: %d bytes free, and %d images of %d bytes need twice as much\n"
            % (root, free, len(lacking), needed)
        )
        return 1
    if job["only_look"]:
        return 0
    # Its modules take as long to be imported as all that is above.
    import pull

    return pull.run(job, directory, local, say, there, blobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
