"""Prepare images with tripleo-common, as its module for ansible does::

    PYTHON predecessor_program.py ENVIRONMENT COUNT

COUNT is how many images there have to be.
"""

import json
import sys

from tripleo_common.image import kolla_builder
from tripleo_common.utils.locks import processlock


def main(path: str, count: str) -> None:
    with open(path, encoding="utf-8") as file:
        environment = json.load(file)
    parameters = kolla_builder.container_images_prepare_multi(
        environment, [], lock=processlock.ProcessLock()
    )
    prepared = len({v for v in parameters.values() if isinstance(v, str)})
    if prepared != int(count):
        sys.exit(f"{prepared} images were prepared, not {count}")


if __name__ == "__main__":
    main(*sys.argv[1:])
