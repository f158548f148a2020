"""The hook by which ``openstack`` finds the ``image-prepare`` commands.

Every call of ``openstack`` imports this module, whatever its command: it
imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from typing import Any

API_NAME = "image_prepare"
API_VERSION_OPTION = "os_image_prepare_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"

# Words come joined by spaces, so a password ends where an option begins, or
# our command.
_PASSWORD = re.compile(
    r"(--(?:(?:source-)?password|os-[a-z0-9-]*(?:passcode|password|secret"
    r"|token))[ =]).*?(?= -| image-prepare |$)",
    re.DOTALL,
)


def mask_passwords(record: logging.LogRecord) -> bool:
    """Mask passwords and tokens in a log record of the shell's.

    The shell logs its command line before any command is there, and does
    not know all the options that are secret.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(
            _PASSWORD.sub(r"\1***", each)
            if isinstance(each, str) and "image-prepare" in each
            else each
            for each in record.args
        )
    return True


def make_client(instance: Any) -> Any:
    """The client behind ``app.client_manager.image_prepare``.

    :param instance: the shell's ``ClientManager``.
    """
    from imageprep_client import client

    return client.make_client(instance)


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add the global options of the plugin.

    The shell calls it before it logs anything.
    """
    logging.getLogger("osc_lib.shell").addFilter(mask_passwords)
    parser.add_argument(
        "--os-image-prepare-api-version",
        metavar="<image-prepare-api-version>",
        default=os.environ.get("OS_IMAGE_PREPARE_API_VERSION")
        or DEFAULT_API_VERSION,
        help="Version of the image-prepare commands, default="
        f"{DEFAULT_API_VERSION} (Env: OS_IMAGE_PREPARE_API_VERSION)",
    )
    return parser
