"""``image-prepare hotfix``: packages installed into images."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from osc_lib.cli import format_columns

from imageprep_client import errors, wording
from imageprep_client.cli import base, options, output, report

if TYPE_CHECKING:
    from imageprep_client.client.hotfixes import HotfixRequest, HotfixResult

_COLUMNS = ("Image", "New image", "Packages")


class Hotfix(base.Lister):
    """Install RPM packages into images and create new local images.

    The packages of a directory are installed if the image has an older
    version of them, together with the packages that they require. Nothing
    else in the image changes, and the original image is kept: the new image
    is named <image>-<tag>, in the local storage of buildah and podman.

    The packages are checked before anything is changed. The packages of the
    new image are read back and compared before it gets its name. The next
    steps are printed at the end.

    Exit status: 0 if all images are ready, 1 if some failed, 2 if there is no
    new image.
    """

    columns = _COLUMNS

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--image",
            metavar="<image>",
            action="append",
            dest="images",
            required=True,
            help="Image to install packages into,"
            " [<registry>/]<repository>[:<tag>] (repeatable). It is read from"
            " local storage or, if there is no image of this name, from its"
            " registry; with the prefix docker:// always from its registry",
        )
        parser.add_argument(
            "--rpms-path",
            metavar="<directory>",
            required=True,
            help="Directory with the packages, files whose names end in .rpm",
        )
        parser.add_argument(
            "--tag",
            metavar="<text>",
            help="Suffix of the new tags after a hyphen (default:"
            " hotfix-<time>)",
        )
        parser.add_argument(
            "--rpm-timeout",
            metavar="<seconds>",
            type=options.positive,
            default=3600,
            help="Maximum time for one call of the rpm program of the image,"
            " including the scriptlets of the packages (default: %(default)s)",
        )
        options.add_image_timeout_option(parser)
        _add_parameters(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import hotfixes

        request = options.request(hotfixes.HotfixRequest, parsed_args)
        with self.observing() as observer:
            result = hotfixes.hotfix_images(
                request,
                options.registry_options(parsed_args),
                observer,
                header=self.header(),
            )
        self.report = {
            "images": list(map(dataclasses.asdict, result.images)),
            "parameters": result.parameters,
        }
        if not result.images:
            # Nothing is left of what was pulled: the exit status is 2.
            self.work = None
            raise _all_failed(result.failures)
        if result.failures:
            self.failure = errors.PartialFailure(
                f"{len(result.failures)} of"
                f" {len(result.failures) + len(result.images)} images failed",
                result.failures,
            )
        for line in next_steps(result, request):
            self.tell(line)
        failed = f", {len(result.failures)} failed" if result.failures else ""
        images = wording.counted(len(result.images), "new image")
        self.summary = f"{images} in local storage{failed}"
        if parsed_args.output_env_file and result.parameters:
            self.next_step = (
                f"parameters written to {parsed_args.output_env_file}"
            )
        made = result.images
        return _COLUMNS, zip(
            output.image_names([image.image for image in made]),
            output.image_names([image.result for image in made]),
            [format_columns.ListColumn(list(i.changes)) for i in made],
            strict=True,
        )


def next_steps(result: HotfixResult, request: HotfixRequest) -> Iterable[str]:
    """The next steps with new images, each with its commands."""
    place = shlex.join(
        ["--registry-url", request.registry_url]
        if request.registry_url
        else []
    )
    yield "Next steps:"
    yield "1. Look at the new images:"
    for image in result.images:
        yield f"   buildah inspect --type image {image.result}"
    yield "2. Push them to where the nodes pull from:"
    for image in result.images:
        words = ("push --local", place, image.result)
        yield f"   openstack image-prepare {' '.join(filter(None, words))}"
    if request.output_env_file and result.parameters:
        path = shlex.quote(request.output_env_file)
        yield "3. Deploy again, with the parameters last:"
    else:
        path = "hotfix.yaml"
        yield f"3. Name them in an environment file, such as {path}:"
        yield "   parameter_defaults:"
        named = {
            f"<parameter of {image.result}>": image.target
            for image in result.images
            if not image.parameters
        }
        for name, target in {**result.parameters, **named}.items():
            yield f"     {name}: {target}"
        yield "   and deploy again, with it last:"
    yield f"   openstack overcloud deploy --templates ... -e {path}"
    yield "4. On a node, look at what runs:"
    for image in result.images:
        yield f"   sudo podman ps --filter ancestor={image.target}"
        names = " ".join(image.packages)
        yield f"   sudo podman exec <container> rpm -q {names}"


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output-env-file",
        metavar="<file>",
        help="File to write the heat parameters to that name the new images"
        " after they are pushed; an existing file is kept as <file>.backup",
    )
    parser.add_argument(
        "--registry-url",
        metavar="<host:port>",
        help="Registry to which the new images will be pushed, for the"
        " parameters and the next steps (default: the registry of the"
        " undercloud)",
    )
    parser.add_argument(
        "--release",
        metavar="<release>",
        help="OpenStack release whose parameters are written, queens to zed"
        " or master (default: the release that the header of an environment"
        " file names, else master)",
    )
    options.add_environment_option(
        parser,
        "Heat environment file of the deployment, whose header may name the"
        " release; a warning names the parameters of roles that override those"
        " of the new images (repeatable)",
    )


def _all_failed(
    failures: Sequence[errors.ImagePrepError],
) -> errors.ImagePrepError:
    if len(failures) == 1:
        return failures[0]
    hints = dict.fromkeys(failure.hint for failure in failures if failure.hint)
    return errors.ModifyError(
        "; ".join(map(str, failures)), hint="; ".join(hints) or None
    )
