"""An image table of the user's own: a jinja2 template that makes YAML.

The YAML has one key, ``container_images_template``, a list of images with
``imagename``, ``image_source``, ``params`` and ``services``. Includes are
looked for in the template's own directory.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Self

from imageprep_client import errors
from imageprep_client.catalog.table_image import TableImage
from imageprep_client.heat import document
from imageprep_client.heat.value import Value
from imageprep_client.host import inputs

#: A rendered table may have this many characters; a release has 30,000.
MAX_RENDERED = 4 * 1024 * 1024
#: And a template file this many bytes.
MAX_FILE = 1024 * 1024
#: Seconds that rendering may take, with all that it waits for.
PATIENCE = 30.0

_RENDERER = str(pathlib.Path(__file__).with_name("rendering.py"))
#: Statements by which other files have variables, too.
_OTHER_FILES = re.compile(r"\{%[-+]?\s*(include|import|from|extends)\s")
_ROOT = "container_images_template"
_KEYS = ("imagename", "image_source", "params", "services")


@dataclasses.dataclass(frozen=True, slots=True)
class TemplateTable:
    """A `catalog.table_image.ImageTable` of the user's own.

    :ivar path: the template file, as the user named it.
    """

    path: str
    _text: str

    @classmethod
    def read(cls, path: str) -> Self:
        """Read a template; nothing of it is evaluated yet.

        :raises InvalidFile: when it cannot be read or is no text.
        """
        content = inputs.load(path, MAX_FILE)
        try:
            return cls(path, content.decode())
        except UnicodeDecodeError:
            raise errors.InvalidFile(path, "is not UTF-8 text") from None

    def knows(self, variable: str) -> bool:
        """See `ImageTable.knows`; other files may use any variable."""
        return bool(
            _OTHER_FILES.search(self._text)
            or re.search(rf"\b{re.escape(variable)}\b", self._text)
        )

    def render(self, values: Mapping[str, object]) -> tuple[TableImage, ...]:
        """See `ImageTable.render`.

        :raises InvalidFile: when it cannot be evaluated with these values
            within bounds of time and memory, does something that the sandbox
            forbids, or makes no table. The message has the line.
        """
        text = self._rendered(values)
        try:
            data = document.parse(text.encode(), self.path)
        except errors.InvalidFile as error:
            raise errors.InvalidFile(
                self.path, f"makes no table: {error.problem}", hint=error.hint
            ) from None
        images = data.get(_ROOT) if isinstance(data, dict) else None
        if not isinstance(images, list):
            raise errors.InvalidFile(
                self.path,
                "makes no list of images",
                key=_ROOT,
                hint=f"each is a mapping with {', '.join(_KEYS)}",
            )
        return tuple(
            _image(element)
            for element in Value(images, self.path, _ROOT).elements()
        )

    def _rendered(self, values: Mapping[str, object]) -> str:
        """The text that it makes, in a process that can be stopped."""
        request = {
            "path": self.path,
            "text": self._text,
            "values": dict(values),
            "limit": MAX_RENDERED,
        }
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                [sys.executable, "-P", _RENDERER],
                input=json.dumps(request).encode(),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            result = json.loads(done.stdout or b"{}")
        except subprocess.TimeoutExpired:
            raise errors.InvalidFile(
                self.path,
                f"cannot be rendered within {PATIENCE:.0f} s",
                hint="does it loop, or include a pipe?",
            ) from None
        if "text" in result:
            return str(result["text"])
        problem = result.get("problem") or (
            "cannot be rendered: it takes too much processor time or memory"
        )
        raise errors.InvalidFile(self.path, problem)


def _image(element: Value) -> TableImage:
    fields = dict(element.items())
    for name, value in fields.items():
        if name not in _KEYS:
            hint = f"an image has {', '.join(_KEYS)}"
            raise value.error("unknown key", hint)

    def texts(name: str) -> tuple[str, ...]:
        value = fields.get(name)
        return () if value is None or value.data is None else value.texts()

    image = fields.get("imagename") or element.child("imagename", None)
    source = fields.get("image_source")
    return TableImage(
        image=image.text().removeprefix("docker://"),
        source=source.text() if source else "",
        parameters=texts("params"),
        services=frozenset(texts("services")),
    )
