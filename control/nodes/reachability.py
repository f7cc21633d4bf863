"""Does a node's `upload_api_url` answer from here? Asked by HEAD, within two seconds.

A heartbeat shows that a node can speak; this shows that it can be spoken to, by its name and with
its certificate. A node that doesn't answer gets no new files, for longer each time.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import urllib3
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as TookTooLong

from control.cluster.node_states import avoid_until
from control.db.database import Database
from control.db.deferred_log import log_on_commit
from control.db.models import Node

PATIENCE = 2.0
"""Seconds to connect, and again to the answer."""

EVERY = 15.0
"""Seconds between two looks at the same node."""

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Found:
    """What asking a node found: None when it answered as it should."""

    node_id: str
    problem: str | None


def check(
    database: Database,
    trusted: ssl.SSLContext,
    now: datetime,
    every: float = 0.0,
    share: float = 1.0,
) -> Sequence[Found]:
    """Ask nodes that are to take uploads, and note down what was found. DatabaseUnavailable.

    Those that were not asked for `every` seconds, the longest of them first, and no more than this
    `share` of all nodes: asked in many small parts, a thousand of them hold nobody up.
    """
    targets = database.read(lambda session: _due(session, now - timedelta(seconds=every), share))
    if not targets:
        return ()
    with ThreadPoolExecutor(AT_ONCE) as threads, _asking(trusted) as pool:
        found = list(threads.map(lambda each: Found(each[0], _ask(pool, each[1])), targets))
    database.write(lambda session: _keep(session, found, now), durable=False)
    return found


def forget(database: Database) -> None:
    """Let no node be left out for what asking found, where none is asked any more.

    DatabaseUnavailable.
    """
    found = Node.outside_problem.is_not(None)
    answered = {"outside_at": None, "outside_problem": None, "failures": 0, "avoid_until": None}
    database.write(
        lambda session: session.execute(
            update(Node)
            .where(found)
            .values(**answered)
            .execution_options(synchronize_session=False)
        ),
        durable=False,
    )


def _due(session: Session, before: datetime, share: float) -> Sequence[tuple[str, str]]:
    """Node and URL of those whose turn it is."""
    wanted = Node.in_roster, Node.wanted != "retired"
    count = session.scalar(select(func.count()).where(*wanted)) or 0
    rows = session.execute(
        select(Node.node_id, Node.upload_api_url)
        .where(*wanted, or_(Node.outside_at.is_(None), Node.outside_at <= before))
        .order_by(Node.outside_at.nulls_first(), Node.node_id)
        .limit(math.ceil(count * share))
    )
    return [(row.node_id, row.upload_api_url) for row in rows]


def trust(ca: Path | None) -> ssl.SSLContext:
    """Whose certificates count: the cluster's own authority's, else those the system knows.

    Made once: to read what the system knows takes longer than to ask a hundred nodes.
    """
    return ssl.create_default_context(cafile=ca if ca is not None and ca.exists() else None)


def _asking(trusted: ssl.SSLContext) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        num_pools=AT_ONCE,
        maxsize=AT_ONCE,
        ssl_context=trusted,
        timeout=urllib3.Timeout(connect=PATIENCE, read=PATIENCE),
        # Once: another try would be another answer. Elsewhere is not where uploads go to.
        retries=False,
        # Each proves that the node can be connected to, not that it once could.
        headers={"Connection": "close"},
    )


def _ask(pool: urllib3.PoolManager, url: str) -> str | None:
    """What is wrong with the answer, if anything."""
    try:
        answer = pool.request("HEAD", url, redirect=False)
    except SSLError:
        return f"{url}: its certificate isn't trusted from here"
    except NewConnectionError as error:
        return f"{url}: {str(error).rpartition(': ')[2]}"
    except TookTooLong:
        return f"{url}: no answer within {PATIENCE:.0f} s"
    except HTTPError as error:
        return f"{url}: {type(error).__name__}"
    if answer.status != 204:
        return f"{url}: HEAD was answered with {answer.status}"
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
                log_on_commit(
                    session,
                    "node unreachable",
                    level="warning",
                    node=each.node_id,
                    problem=each.problem,
                )
        else:
            # Once it answers it is wanted again; failures of other kinds stay until they pass.
            values |= {"failures": 0, "avoid_until": None}
            log_on_commit(session, "node reachable again", node=each.node_id)
        session.execute(
            update(Node)
            .where(Node.node_id == each.node_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
