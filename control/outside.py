"""Does a node's `upload_api_url` answer from here? Asked by HEAD, within two seconds.

A heartbeat shows that a node can speak; this shows that it can be spoken to, by its name and with
its certificate. A node that doesn't answer gets no new files, for longer each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import requests
import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.database import Database
from control.models import Node
from control.node_states import avoid_until

_log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds to connect, and again to the answer."""

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Found:
    """What asking a node found: None when it answered as it should."""

    node_id: str
    problem: str | None


def check(database: Database, ca: Path | None, now: datetime) -> Sequence[Found]:
    """Ask every node that is to take uploads, and note down what was found. DatabaseUnavailable."""
    targets = database.read(
        lambda session: session.execute(
            select(Node.node_id, Node.upload_api_url).where(
                Node.in_roster, Node.wanted != "retired"
            )
        ).all()
    )
    trusted = str(ca) if ca is not None and ca.exists() else True
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(
            threads.map(
                lambda each: Found(each.node_id, _ask(each.upload_api_url, trusted)), targets
            )
        )
    database.write(lambda session: _keep(session, found, now), durable=False)
    return found


def _ask(url: str, trusted: str | bool) -> str | None:
    """What is wrong with the answer, if anything."""
    try:
        # Redirects would lead to another place than uploads go to.
        answer = requests.head(url, timeout=PATIENCE, verify=trusted, allow_redirects=False)
    except requests.exceptions.SSLError:
        return f"{url}: its certificate isn't trusted from here"
    except requests.exceptions.Timeout:
        return f"{url}: no answer within {PATIENCE:.0f} s"
    except requests.exceptions.RequestException as error:
        return f"{url}: {type(error).__name__}"
    if answer.status_code != 204:
        return f"{url}: HEAD was answered with {answer.status_code}"
    return None


def _keep(session: Session, found: Sequence[Found], now: datetime) -> None:
    rows = session.execute(
        select(Node.node_id, Node.outside_problem, Node.failures).order_by(Node.node_id)
    ).all()
    before = {row.node_id: row for row in rows}
    # All that answer as before, in one statement: heartbeats and sessions wait for this one.
    session.execute(
        update(Node)
        .where(
            Node.node_id.in_(each.node_id for each in found if each.problem is None),
            Node.outside_problem.is_(None),
        )
        .values(outside_at=now)
        .execution_options(synchronize_session=False)
    )
    for each in sorted(found, key=lambda each: each.node_id):
        known = before.get(each.node_id)
        if known is None or (each.problem is None and known.outside_problem is None):
            continue
        values: dict[str, object] = {"outside_at": now, "outside_problem": each.problem}
        if each.problem is not None:
            values |= {
                "failures": known.failures + 1,
                "avoid_until": avoid_until(known.failures + 1, now),
            }
            if known.outside_problem is None:
                _log.warning("node unreachable", node=each.node_id, problem=each.problem)
        else:
            # Once it answers it is wanted again; failures of other kinds stay until they pass.
            values |= {"failures": 0, "avoid_until": None}
            _log.info("node reachable again", node=each.node_id)
        session.execute(
            update(Node)
            .where(Node.node_id == each.node_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
