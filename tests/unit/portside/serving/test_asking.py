"""What others ask of a service that is served by generations."""

from __future__ import annotations

import threading
from pathlib import Path

from portside.serving import asking, status
from portside.serving.status import Status
from tests.support.loopback import wait_until


def test_nothing_is_left_of_what_a_process_was_asked_for_that_has_ended(tmp_path: Path) -> None:
    """Its number will be another's one day, which would hand back what it has."""
    path = status.runtime_file(tmp_path)
    status.write(path, Status(most=2, serving=1, draining=(7,)))
    answers: list[str | None] = []
    asker = threading.Thread(target=lambda: answers.append(asking.make_room(tmp_path)))
    asker.start()
    wait_until(status.hand_back_file(tmp_path, 7).exists)
    status.write(path, Status(most=2, serving=1))
    asker.join()
    assert answers == [None]
    assert not status.hand_back_file(tmp_path, 7).exists()
