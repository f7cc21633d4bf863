"""What resources of the API decide and answer with: one value, made once at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from control.api.requests.authorization import Access
from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """What every request may need. `clock` tells the time, UTC."""

    settings: Settings
    access: Access
    database: Database
    snapshots: Snapshots
    clock: Callable[[], datetime]


class Resource:
    """A resource with the services at hand."""

    def __init__(self, services: Services) -> None:
        self._settings = services.settings
        self._access = services.access
        self._database = services.database
        self._snapshots = services.snapshots
        self._clock = services.clock
