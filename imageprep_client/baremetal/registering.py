"""Registering files in Glance, in the formats that Glance and Ironic accept.

The ID of an image is computed from its project, name, role and a count. Glance
refuses a second image with the same ID, so of two concurrent runs one uploads
and the other waits for it.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Self

from imageprep_client import errors
from imageprep_client.baremetal import records
from imageprep_client.baremetal.glance import Glance, GlanceImage
from imageprep_client.baremetal.registration import (
    Part,
    RegisterRequest,
    parts_of,
)
from imageprep_client.host import inputs
from imageprep_client.host.processes import Claim
from imageprep_client.observer import Observer
from imageprep_client.retry import RetryPolicy

#: Glance's default, and what Ironic's agent checks.
_HASH = "sha512"
_CHUNK = 1024 * 1024
_NAMESPACE = uuid.UUID("5d0b2f3a-6c1e-4f7b-9a84-2e9d7c51b360")
#: Seconds between two checks of an image that another run uploads.
_INTERVAL = 1.0
#: Seconds after which an image without data counts as abandoned, if no
#: process is known to upload it.
_PATIENCE = 60.0
#: Seconds that an upload may take where nobody can tell whether its process
#: still runs.
_LONGEST = 3600.0
#: For uploads that fail for now: each is repeated from the start.
_UPLOADS = RetryPolicy(attempts=4, base=2.0)


@dataclasses.dataclass(frozen=True, slots=True)
class RegisteredImage:
    """An image that is in Glance, or would be.

    :ivar outcome: ``uploaded``, ``present``, ``kept`` (with other content)
        or ``planned``.
    """

    name: str
    role: str
    id: str
    outcome: str
    size: int


def register(
    request: RegisterRequest, service: Callable[[], Glance], observer: Observer
) -> list[RegisteredImage]:
    """Register files in Glance as a set of images.

    :param service: connects to Glance; called when the files are checked.
    :raises InputError: nothing was done.
    :raises PartialFailure: some images are there, not all.
    """
    request.check()
    parts = parts_of(request, observer)
    glance = service()
    records.check_kind(glance, request.name, {part.role for part in parts})
    registrar = _Registrar(request, glance, observer)
    done: list[RegisteredImage] = []
    ids: dict[str, str] = {}
    try:
        for part in parts:
            links = {
                f"{role}_id": ids[role]
                for role in ("kernel", "ramdisk")
                if part.role == records.ROOT and role in ids
            }
            registered = registrar.ensure(part, links)
            ids[part.role] = registered.id
            done.append(registered)
        registrar.retire()
    except errors.StoreError as error:
        if not any(image.outcome == "uploaded" for image in done):
            raise
        raise errors.PartialFailure(
            f"{request.name}: {len(done)} of {len(parts)} images are in place"
            "; repeat the command to continue",
            [error],
        ) from error
    return done


class _Registrar:
    """Registers the images of one request."""

    def __init__(
        self, request: RegisterRequest, service: Glance, observer: Observer
    ) -> None:
        self._request = request
        self._service = service
        self._observer = observer
        self._claim = str(Claim.own())
        #: Images that others take the place of.
        self._retired: list[GlanceImage] = []

    def ensure(self, part: Part, links: Mapping[str, str]) -> RegisteredImage:
        """The image of a part, uploaded if need be."""
        fields = {**part.fields, **links}
        waited = 0.0
        queued: dict[str, float] = {}
        used: set[str] = set()
        attempts = _UPLOADS.begin()
        while True:
            own = self._own(part)
            whole = [image for image in own if image.status == "active"]
            # Runs at once only take the place of older images, so that the
            # newest one stays.
            newest = max(whole, key=records.generation, default=None)
            if newest and self._is_same(part, newest, fields):
                return self._present(part, newest, whole, fields)
            if newest and self._request.existing == "keep":
                return self._kept(part, newest)
            if self._request.dry_run:
                return self._result(part, "", "planned")
            busy = [
                image
                for image in own
                if image.status != "active"
                and not self._is_over(image, queued, waited)
            ]
            if busy:
                self._wait(busy[0], waited)
                waited += _INTERVAL
                continue
            count = max(map(records.generation, own), default=-1) + 1
            while (identity := self._identity(part, count)) in used:
                count += 1
            try:
                is_new = self._upload(part, fields, identity, count)
            except errors.StoreError as error:
                attempts.rest(error, self._observer.retrying)
                continue
            if is_new:
                self._retired += whole
                return self._result(part, identity, "uploaded")
            if all(image.id != identity for image in self._own(part)):
                # It was deleted, or has another name now, or is hidden.
                used.add(identity)

    def retire(self) -> None:
        """Delete or rename the images that others took the place of."""
        # All get the same addition, also when this is interrupted: they stay
        # a set. The last one is that which names the others.
        when = "".join(
            c for i in self._retired[-1:] for c in i.created if c.isdigit()
        )[:14]
        for image in self._retired:
            if self._request.existing == "rename":
                names = {
                    "name": f"{image.name}_{when}",
                    records.NAME: f"{self._request.name}_{when}",
                }
                self._service.update(image.id, names)
            else:
                self._service.delete(image.id)

    def _own(self, part: Part) -> list[GlanceImage]:
        images = self._service.images(
            **{records.NAME: self._request.name, records.ROLE: part.role}
        )
        known = {image.status for image in images} - {"active"}
        # Others, such as deactivated ones, are the operator's business.
        passing = {"queued", "saving", "uploading", "importing", "killed"}
        if stray := known - passing - {"deleted", "pending_delete"}:
            raise errors.Refused(
                f"{part.name}: there is an image that is {sorted(stray)[0]}",
                hint="reactivate or delete it first",
            )
        return [i for i in images if i.status in passing | {"active"}]

    def _is_same(
        self, part: Part, image: GlanceImage, fields: Mapping[str, str]
    ) -> bool:
        forms = (image.disk_format, image.container_format)
        wanted = (fields["disk_format"], fields["container_format"])
        if image.size != part.size or forms != wanted:
            return False
        return _digest(part.path, image.hash_algorithm) == image.hash_value

    def _present(
        self,
        part: Part,
        image: GlanceImage,
        whole: Sequence[GlanceImage],
        fields: Mapping[str, str],
    ) -> RegisteredImage:
        if not self._request.dry_run:
            changes = {
                k: v
                for k, v in {
                    **fields,
                    "visibility": self._request.visibility,
                }.items()
                if k not in ("disk_format", "container_format")
            }
            self._service.update(image.id, changes)
            # A run that was cut had no time to do it.
            if self._request.existing != "keep":
                self._retired += [i for i in whole if i.id != image.id]
            for left in self._own(part):
                if left.status != "active" and self._is_over(left, {}, 0):
                    self._service.delete(left.id)
        return self._result(part, image.id, "present")

    def _kept(self, part: Part, image: GlanceImage) -> RegisteredImage:
        self._observer.warning(
            f"{part.name}: Glance has an image with other content, {image.id};"
            " it is kept (--existing rename or replace changes that)"
        )
        return RegisteredImage(
            image.name, part.role, image.id, "kept", image.size
        )

    def _is_over(
        self, image: GlanceImage, queued: dict[str, float], waited: float
    ) -> bool:
        """Whether nobody uploads an image any more; it is deleted then."""
        text = image.properties.get(records.UPLOAD, "")
        claim = Claim.parse(text)
        alive = claim.is_alive if claim else None
        if image.status == "killed" or text == self._claim:
            over = True
        elif alive is None:
            # Its data come, or are to come in a moment.
            began = queued.setdefault(image.id, waited)
            over = image.status == "queued" and waited - began >= _PATIENCE
        else:
            over = not alive
        if over and not self._request.dry_run:
            self._service.delete(image.id)
        return over

    def _wait(self, image: GlanceImage, waited: float) -> None:
        claim = Claim.parse(image.properties.get(records.UPLOAD, ""))
        uploader = (
            f"process {claim.process} of {claim.host}"
            if claim
            else "another run"
        )
        remedy = f"if it does not run: openstack image delete {image.id}"
        if (claim is None or claim.is_alive is None) and (
            waited > _LONGEST or _age(image) > _LONGEST
        ):
            raise errors.Unreachable(
                f"{image.name}: {uploader} uploads it since {image.updated},"
                " and does not end",
                hint=remedy,
            )
        if waited == 0:
            self._observer.waiting(
                f"{uploader} uploads {image.name} ({image.id}); {remedy}"
            )
        time.sleep(_INTERVAL)

    def _identity(self, part: Part, count: int) -> str:
        words = (self._service.project, self._request.name, part.role, count)
        return str(uuid.uuid5(_NAMESPACE, json.dumps(words)))

    def _upload(
        self, part: Part, fields: Mapping[str, str], identity: str, count: int
    ) -> bool:
        """Make the image and upload its data; it is deleted if that fails.

        :returns: False when its id is, or was, that of another.
        """
        new = {
            **fields,
            "id": identity,
            "name": part.name,
            "visibility": self._request.visibility,
            records.NAME: self._request.name,
            records.ROLE: part.role,
            records.GENERATION: str(count),
            records.UPLOAD: self._claim,
        }
        try:
            if not self._service.create(new):
                return False
            with (
                inputs.open_regular(part.path) as file,
                _HashingReader(file, self._observer, part.size) as reader,
            ):
                self._service.upload(identity, reader, part.size)
                self._check(part, identity, reader)
        except BaseException:
            self._discard(part, identity)
            raise
        return True

    def _discard(self, part: Part, identity: str) -> None:
        """Delete the image of a failed upload, unless another made it."""
        try:
            image = self._service.get(identity)
            if image and image.properties.get(records.UPLOAD) == self._claim:
                self._service.delete(identity)
        except errors.StoreError as error:
            self._observer.warning(
                f"{part.name}: {identity} is not whole and could not be"
                f" deleted; the next call does it: {error}"
            )

    def _check(
        self, part: Part, identity: str, reader: _HashingReader
    ) -> None:
        image = self._service.get(identity)
        if image is None or image.status != "active":
            status = image.status if image else "gone"
            raise errors.ServerFault(
                f"{part.name}: is {status} after its upload"
            )
        digest = reader.digest
        if image.hash_algorithm != _HASH:
            digest = _digest(part.path, image.hash_algorithm)
        if image.size != part.size or image.hash_value != digest:
            raise errors.DigestMismatch(
                f"{part.name}: Glance has {image.size} bytes,"
                f" {image.hash_algorithm} {image.hash_value}, not {part.size}"
                f" bytes, {digest}"
            )

    def _result(
        self, part: Part, identity: str, outcome: str
    ) -> RegisteredImage:
        return RegisteredImage(
            part.name, part.role, identity, outcome, part.size
        )


class _HashingReader:
    """A file that is hashed while it is uploaded.

    The bytes do not count as copied when the block ends with an error.
    """

    def __init__(self, file: IO[bytes], observer: Observer, size: int) -> None:
        self._file = file
        self._observer = observer
        self._hash = hashlib.new(_HASH)
        self._size = size
        self._copied = 0
        observer.bytes_expected(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._observer.bytes_expected(-self._size)
            self._observer.bytes_copied(-self._copied)

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(_CHUNK if size < 0 else max(size, _CHUNK))
        self._hash.update(data)
        self._copied += len(data)
        self._observer.bytes_copied(len(data))
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _age(image: GlanceImage) -> float:
    """Seconds since an image was changed; 0 where that is not known."""
    try:
        changed = datetime.datetime.fromisoformat(image.updated)
        now = datetime.datetime.now(datetime.UTC)
        return (now - changed).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _digest(path: str, algorithm: str) -> str:
    if algorithm not in hashlib.algorithms_available:
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
