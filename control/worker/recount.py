"""What owners and apps have, counted again now and then, and put right.

Every transaction keeps it right by itself. But a release that didn't count may have gone on beside
this one for a while, or rows were changed by hand: nobody is to be refused for that.
"""

from __future__ import annotations

from functools import partial

from control.catalogue import counters, usage
from control.catalogue.counters import WrongUsage
from control.db.database import Database


def put_usage_right(database: Database) -> list[WrongUsage]:
    """Returns what was wrong. Raises DatabaseUnavailable.

    Others go on meanwhile: what seems wrong is looked at again with its row locked.
    """
    doubtful = database.read(counters.of_usage)
    wrong = [each for each in doubtful if database.write(partial(usage.put_right, key=each.key))]
    database.write(usage.forget_empty, durable=False)
    return wrong
