"""What takes in the bytes of uploads that go on: clients' uploads and other nodes' pushes alike."""

from __future__ import annotations

from dataclasses import dataclass

from agent.index.uploads import UploadIndex
from agent.resumable.completion import Completion
from agent.resumable.staging import StagedUploads
from agent.settings import Settings
from agent.telemetry.health import NodeHealth
from agent.telemetry.progress import ProgressLog
from agent.uploads.admission import Admission


@dataclass(frozen=True, slots=True)
class Intake:
    """Rows, staging files, admission and the end of such uploads on one node."""

    settings: Settings
    uploads: UploadIndex
    admission: Admission
    health: NodeHealth
    staged: StagedUploads
    finisher: Completion
    progress: ProgressLog
