"""How many requests are answered: token buckets, in memory, of a bounded number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """Lets ``burst`` requests through at once and ``rate`` a second after that."""

    rate: float
    burst: float
    level: float = field(init=False)
    seen: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, at: float) -> bool:
        """Whether a request at time ``at`` (seconds, never decreasing) may pass."""
        if self.seen:
            self.level = min(self.burst, self.level + (at - self.seen) * self.rate)
        self.seen = at
        if self.level < 1:
            return False
        self.level -= 1
        return True


@dataclass
class Limits:
    """One bucket for everybody together, one for each participant, and one for requests with an unknown link.

    Participants are few and known, so their buckets are few; guessing a link of 256 bits is hopeless at any rate, and
    its own bucket keeps it from using up everybody's.
    """

    everybody: Bucket = field(default_factory=lambda: Bucket(1000, 4000))
    unknown: Bucket = field(default_factory=lambda: Bucket(20, 60))
    each: tuple[float, float] = (20, 80)
    clock: Callable[[], float] = time.monotonic
    _participants: dict[int, Bucket] = field(default_factory=dict)

    def any_request(self) -> bool:
        return self.everybody.take(self.clock())

    def unknown_link(self) -> bool:
        return self.unknown.take(self.clock())

    def participant(self, number: int) -> bool:
        return self._participants.setdefault(number, Bucket(*self.each)).take(self.clock())
