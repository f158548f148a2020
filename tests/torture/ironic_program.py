"""Ironic's own functions, run by the Python that has Ironic.

``python ironic_program.py pick REFERENCE`` prints which disk Ironic takes by
download source and processor; ``accept FILE FORMAT`` whether it takes a file
that is declared so; ``whole IMAGE`` whether an image in Glance, as its API
has it, is one of a whole disk; ``boot FILE COPY`` fetches a file as Ironic
fetches the kernel or ramdisk of a node; ``parse LINE`` prints a kernel command
line as it reads it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from ironic.common import (
    exception,
    image_service,
    images,
    kernel_parameters,
    pxe_utils,
)
from ironic.common.glance_service import service_utils
from ironic.conf import CONF
from openstack.image.v2.image import Image


def pick(reference: str) -> list[list[object]]:
    """The values that are taken for a reference, ``oci://...``."""
    rows = []
    for source in ("http", "local"):
        for processor in ("x86_64", "aarch64"):
            service = image_service.OciImageService()
            chosen = service.identify_specific_image(
                reference, source, processor
            )
            rows.append(
                [
                    *(source, processor, chosen["image_disk_format"]),
                    chosen["image_checksum"],
                ]
            )
    return rows


def accept(path: str, declared: str) -> str:
    """The format that is found in a file, or what is wrong with it."""
    try:
        found = str(images.safety_check_image(path))
        images.check_if_image_format_is_permitted(found, declared)
    except exception.IronicException as error:
        return f"{type(error).__name__}: {error}"
    return found


def whole(document: str) -> object:
    """Whether an image in Glance is one of a whole disk."""
    fields = json.loads(document)
    # The SDK, by which Ironic asks, leaves it out of answers.
    fields.pop("self")
    image = service_utils.translate_from_glance(Image.new(**fields))
    with mock.patch.object(
        images,
        "get_image_properties",
        autospec=True,
        return_value=image["properties"],
    ):
        return images.is_whole_disk_image(None, {"image_source": image["id"]})


def boot(path: str, copy: str) -> str | None:
    """Fetch a kernel or ramdisk; return what is wrong with it, or None."""
    directory = Path(path).parent
    CONF.set_override("file_url_allowed_paths", [directory], "conductor")
    CONF.set_override("tftp_master_path", f"{copy}.cache", "pxe")
    try:
        pxe_utils.TFTPImageCache().fetch_image(f"file://{path}", copy)
    except exception.IronicException as error:
        return f"{type(error).__name__}: {error}"
    return None


def parse(line: str) -> str:
    """The command line, as Ironic writes it again."""
    return str(kernel_parameters.KernelCommandLine.parse(line))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    CONF([], project="ironic", version="tests", default_config_files=[])
    CONF.set_override("permit_fallback_to_http_transport", True, group="oci")
    commands: dict[str, Callable[..., object]] = {
        "pick": pick,
        "accept": accept,
        "boot": boot,
        "parse": parse,
        "whole": whole,
    }
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
