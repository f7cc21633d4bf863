"""Quotas: nobody is promised more than owner and app may have, whatever is asked at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from control.cluster import quotas
from control.cluster.quotas import Holder
from control.cluster.reach import EVERYTHING
from control.cluster.read_model import KnownApp
from control.db.models import UploadSession, Usage
from control.files import service
from control.problems import ProblemError
from control.sessions.opening import SessionOpener
from control.worker import expiry
from portside.cluster.quotas import Quotas
from portside.quantities import GIB
from portside.tokens import unverified_claims
from portside.wire.control import Session
from portside.wire.status import QuotaWish
from tests.support.control.core import Core


class Shop:
    """Apps that open sessions of a control plane with these quotas."""

    def __init__(self, core: Core, said: dict[str, Any]) -> None:
        self.core = core
        settings = core.settings.model_copy(update={"quotas": Quotas.model_validate(said)})
        self.opener = SessionOpener(settings, core.database, core.snapshots, core.key)
        self.configured = settings.quotas

    def opens(self, app: str = "shop", **wish: Any) -> Session:
        asked = self.core.wish(**wish)
        known = KnownApp(app, frozenset({"upload"}))
        asked = type(asked)(known, asked.request, asked.idempotency_key)
        return self.opener.open(asked, self.core.clock.now)[0]

    def refuses(self, app: str = "shop", **wish: Any) -> ProblemError:
        with pytest.raises(ProblemError) as refused:
            self.opens(app, **wish)
        assert (refused.value.slug, refused.value.status) == ("over-quota", 413)
        return refused.value

    def sets(self, holder: Holder, **said: Any) -> None:
        wish = QuotaWish.model_validate(said)
        self.core.database.write(lambda s: quotas.change(s, holder, wish, "operator"))

    def has(self, owner: str = "user-7", app: str = "shop") -> tuple[int, int, int, int]:
        row = self.core.database.read(lambda session: session.get(Usage, (app, owner)))
        assert row is not None
        return row.bytes, row.files, row.promised_bytes, row.promised_files


@pytest.mark.parametrize(
    "said",
    [{"default": {"bytes": 3999}}, {"default": {"files": 3}}, {"apps": {"shop": {"bytes": 3999}}}],
    ids=["the last bytes", "the last file", "the app's last bytes"],
)
def test_sessions_at_once_are_never_promised_the_same(core: Core, said: dict[str, Any]) -> None:
    shop = Shop(core, said)

    def opens(_: int) -> str | None:
        try:
            shop.opens()
        except ProblemError as problem:
            return problem.slug
        return None

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(opens, range(8)))
    assert (answers.count(None), answers.count("over-quota")) == (3, 5)
    assert shop.has() == shop.has(owner="") == (0, 0, 3000, 3)
    core.counts_are_right()


def test_whoever_is_over_quota_hears_what_is_there_and_what_to_do(core: Core) -> None:
    shop = Shop(core, {"default": {"bytes": "10KiB"}, "apps": {"shop": {"files": 2}}})
    shop.opens(size=9 * 1024)
    assert shop.refuses(size=2048).detail == (
        "user-7 has 9.0 KiB of 10.0 KiB, open uploads included, and this file has 2.0 KiB: delete "
        "files, or ask the operator of the cluster for more"
    )
    assert "this file alone has 11.0 KiB" in shop.refuses(size=11 * 1024).detail
    assert "up to 2.0 KiB: say its 'size'" in shop.refuses(size=None, max_size=2048).detail
    shop.opens(size=1024)
    assert "user-7 has 10.0 KiB of 10.0 KiB" in shop.refuses(size=1).detail
    assert shop.refuses(owner="another", size=1).detail == (
        "the app shop has 2 of 2 files, open uploads included: delete files, or ask the operator "
        "of the cluster for more"
    )


def test_over_quota_is_said_before_a_place_is_looked_for(core: Core) -> None:
    """507 would have a client try again, for room that it may not have."""
    core.all_report(disk_free=0)
    Shop(core, {"default": {"bytes": 1000}}).refuses(size=GIB)


def test_an_owner_is_an_apps(core: Core) -> None:
    shop = Shop(core, {"default": {"files": 1}, "apps": {"blog": {"files": 1}}})
    shop.opens()
    shop.refuses()
    shop.opens(app="blog")
    shop.refuses(app="blog", owner="another")
    shop.opens(owner="another")


def test_an_upload_of_unknown_size_gets_what_is_left_and_no_more(core: Core) -> None:
    shop = Shop(core, {"default": {"bytes": 5000}, "apps": {"shop": {"bytes": 6000}}})
    shop.opens(size=1000)
    session = shop.opens(size=None)
    assert (session.max_size, unverified_claims(session.token)["max_size"]) == (4000, 4000)
    assert shop.has() == (0, 0, 5000, 2)
    assert "nothing is left" in shop.refuses(size=None).detail
    # What is left to the app bounds it too, and what is asked for is given or refused.
    assert shop.opens(owner="another", size=None).max_size == 1000
    core.counts_are_right()
    assert Shop(core, {}).opens(size=None, max_size=7000).max_size == 7000


def test_a_session_tells_what_its_owner_has_and_may_have(core: Core) -> None:
    shop = Shop(core, {"default": {"bytes": 5000, "files": 9}, "apps": {"shop": {"files": 3}}})
    opened = [shop.opens("shop", idempotency_key="key-1"), shop.opens(idempotency_key="key-1")]
    assert [each.quota and each.quota.model_dump() for each in opened] == 2 * [
        {
            "bytes": {"limit": 5000, "used": 1000, "left": 4000},
            "files": {"limit": 9, "used": 1, "left": 2},
        }
    ]
    without = Shop(core, {}).opens(owner="another").quota
    assert without is not None
    assert without.bytes.model_dump() == {"limit": None, "used": 1000, "left": None}


def test_what_is_set_at_run_time_stands_before_the_cluster_file(core: Core) -> None:
    shop = Shop(core, {"default": {"bytes": 500, "files": 2}, "owners": {"alice": {"files": 1}}})
    shop.sets(("owner", "alice"), bytes="2000")
    session = shop.opens(owner="alice")
    assert session.quota is not None
    assert (session.quota.bytes.limit, session.quota.files.limit) == (2000, 1)
    shop.refuses(owner="alice")
    shop.sets(("owner", "alice"), bytes=None, files=None)
    assert shop.opens(owner="alice", size=GIB).quota.bytes.limit is None  # type: ignore[union-attr]
    core.app("shop", "upload")
    shop.sets(("app", "shop"), files=0)
    shop.refuses(owner="alice")
    core.database.write(lambda s: quotas.unset(s, ("app", "shop"), "operator"))
    # Less than there is takes nothing away.
    shop.sets(("owner", "alice"), bytes=1)
    shop.refuses(owner="alice")
    core.database.write(lambda s: quotas.unset(s, ("owner", "alice"), "operator"))
    in_force = core.database.read(lambda s: quotas.look_up(s, shop.configured, ("owner", "alice")))
    assert (in_force.bytes, in_force.files, in_force.set) == (500, 1, ())


def test_what_is_over_gives_back_once(core: Core) -> None:
    shop = Shop(core, {"default": {"files": 1}})
    snapshot = core.snapshots.current()

    def removed(session: Session) -> None:
        for _ in range(2):
            core.database.write(
                lambda s: service.remove(s, snapshot, session.file_id, EVERYTHING, core.clock.now)
            )
        core.counts_are_right()

    shop.opens()
    core.clock.pass_by(timedelta(days=1).total_seconds())
    assert expiry.expire_sessions(core.database, core.clock.now) == 1
    core.all_report()
    called_off = shop.opens()
    removed(called_off)
    stored = shop.opens()
    core.takes(core.nodes.receipt_of(stored, core.clock.now))
    # A file that comes although its upload was called off counts for nobody.
    core.takes(core.nodes.receipt_of(called_off, core.clock.now))
    assert shop.has() == (1000, 1, 0, 0)
    shop.refuses()
    removed(stored)
    assert shop.has() == (0, 0, 0, 0)
    shop.opens()


def test_a_receipt_that_comes_late_counts_over_the_quota_too(core: Core) -> None:
    """What is on disk is there: the promise was given back, and somebody else has it by now."""
    shop = Shop(core, {"default": {"files": 1}})
    late = shop.opens()
    core.clock.pass_by(timedelta(days=1).total_seconds())
    expiry.expire_sessions(core.database, core.clock.now)
    core.all_report()
    shop.opens()
    core.takes(core.nodes.receipt_of(late, core.clock.now - timedelta(hours=23)))
    assert shop.has() == (1000, 1, 1000, 1)
    told = core.database.read(lambda s: s.get_one(UploadSession, late.session_id))
    assert told.state == "committed"
    core.counts_are_right()
    shop.refuses()
