"""The options and the state of a run."""

from __future__ import annotations

import dataclasses

from imageprep_client.observer import Observer
from imageprep_client.transfer.fanout import FanOut
from imageprep_client.transfer.known import Answers, KeepsChecks, KnownContent


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyRun:
    """The state that all copies of a run share.

    :ivar keep_going: whether images are copied after another one failed.
    :ivar dry_run: whether nothing is written.
    :ivar known: content that need not be fetched again.
    :ivar checks: the images that were complete recently; of other images
        that a registry seems to have, all content is checked. None: it is not
        checked.
    :ivar answers: of the sources.
    :ivar fanout: the streams that several destinations share.
    """

    observer: Observer
    concurrency: int
    keep_going: bool
    dry_run: bool
    known: KnownContent
    checks: KeepsChecks | None
    answers: Answers = dataclasses.field(default_factory=Answers)
    fanout: FanOut | None = None
