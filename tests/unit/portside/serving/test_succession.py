"""Somebody serves, whatever is asked and whoever ends; never are there more than memory allows."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portside.serving.succession import Action, Drain, HandBack, Kill, Leave, Start, Succession


def test_the_old_one_drains_only_once_the_new_one_serves() -> None:
    service = Succession(most=3)
    assert service.begin() == [Start()]
    service.started(1)
    assert service.ready(1) == []
    assert service.reload() == [Start()]
    service.started(2)
    assert service.serving == 1
    assert service.ready(2) == [Drain(1)]
    assert (service.serving, service.draining) == (2, {1})


def test_one_that_fails_leaves_the_old_one_serving() -> None:
    service = _serving(1, most=3)
    service.reload()
    service.started(2)
    assert service.ended(2) == []
    assert (service.serving, service.failed, service.served) == (1, 2, 1)


def test_what_was_asked_while_one_starts_is_done_behind_it() -> None:
    service = _serving(1, most=4)
    service.reload()
    service.started(2)
    assert service.reload() == []
    assert service.ready(2) == [Drain(1), Start()]


def test_beyond_the_memory_it_waits_and_asks_those_that_drain_to_hand_back() -> None:
    service = _serving(1, most=2)
    service.reload()
    service.started(2)
    service.ready(2)
    assert service.reload() == [HandBack(1)]
    assert service.waits
    assert service.reload() == []
    assert service.ended(1) == [Start()]
    assert not service.waits


def test_one_that_has_just_begun_to_drain_is_asked_as_well() -> None:
    service = _serving(1, most=2)
    service.reload()
    service.started(2)
    service.reload()
    assert service.ready(2) == [Drain(1), HandBack(1)]


def test_who_goes_back_waits_for_nobody_and_is_one_more_for_once() -> None:
    service = _serving(1, most=2)
    service.reload()
    service.started(2)
    service.ready(2)
    assert service.reload(beyond=True) == [HandBack(1), Start()]
    service.started(3)
    assert service.ready(3) == [Drain(2)]
    assert service.reload(beyond=True) == [HandBack(2)]
    assert service.waits
    # Another supervisor, as where the unit goes back too.
    again = Succession(most=2, serving=2, draining=[1], beyond=True)
    assert again.begin() == [Drain(1), HandBack(1), Start()]


def test_a_successor_goes_on_with_what_it_finds() -> None:
    service = Succession(most=3, serving=7, draining=[5], asked=4)
    assert service.begin() == [Drain(5), Start()]
    service.started(8)
    assert service.ready(8) == [Drain(7)]
    assert service.served == 4


def test_where_nobody_serves_one_is_started_at_once() -> None:
    service = Succession(most=2, draining=[5, 6])
    assert service.begin()[-1] == Start()


def test_a_stop_waits_for_all() -> None:
    service = _serving(1, most=3)
    service.reload()
    service.started(2)
    assert service.stop() == [Drain(1), Drain(2)]
    assert service.ended(1) == []
    assert service.ended(2) == [Leave(0)]
    assert Succession(most=2).stop() == [Leave(0)]


def test_when_nobody_is_left_to_serve_systemd_begins_anew() -> None:
    assert _serving(1, most=3).ended(1) == [Leave(1)]


def test_one_that_takes_too_long_is_killed() -> None:
    service = _serving(1, most=3)
    assert service.overdue() == []
    service.reload()
    service.started(2)
    assert service.overdue() == [Kill(2)]


def _serving(process: int, most: int) -> Succession:
    service = Succession(most)
    service.begin()
    service.started(process)
    service.ready(process)
    return service


class Service(RuleBasedStateMachine):
    """One service with its processes, each of which may end at any time; supervisors, too."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.left = False
        self.beyond = False
        self.told: set[int] = set()
        self.have_served: set[int] = set()
        self.service = Succession(most=3)
        self.do(self.service.begin())

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self.number += 1
                    at = self.service
                    assert at.serving is None or len(at.alive) < at.most + self.beyond
                    self.beyond = False
                    self.service.started(self.number)
                case Drain(process):
                    self.told.add(process)
                    assert process != self.service.serving
                case HandBack(process):
                    assert process in self.service.draining
                case Leave():
                    self.left = True
        # Who has never served has nothing to finish.
        for each in sorted(self.service.draining - self.have_served):
            self.do(self.service.ended(each))

    @rule(beyond=st.booleans())
    @precondition(lambda self: not self.left)
    def reload(self, beyond: bool) -> None:
        self.beyond |= beyond
        self.do(self.service.reload(beyond))

    @rule()
    @precondition(lambda self: not self.left and self.service.starting is not None)
    def ready(self) -> None:
        process = self.service.starting
        assert process is not None
        self.have_served.add(process)
        self.do(self.service.ready(process))

    @rule(data=st.data())
    @precondition(lambda self: not self.left and self.service.alive)
    def end(self, data: st.DataObject) -> None:
        self.do(self.service.ended(data.draw(st.sampled_from(sorted(self.service.alive)))))

    @rule()
    def another_supervisor(self) -> None:
        """After a restart, a crash, or when nobody served any more."""
        before, self.left = self.service, False
        serving = before.serving
        draining = {each for each in before.alive if each != serving}
        self.service = Succession(3, serving, draining, before.asked + 1)
        self.beyond = False
        self.do(self.service.begin())

    @invariant()
    def somebody_serves_or_is_about_to(self) -> None:
        at = self.service
        assert self.left or at.serving is not None or at.starting is not None

    @invariant()
    def nobody_drains_untold(self) -> None:
        assert self.service.draining <= self.told

    @invariant()
    def there_are_no_more_than_memory_allows(self) -> None:
        assert len(self.service.alive) <= self.service.most + 1

    @invariant()
    def what_waits_waits_for_somebody(self) -> None:
        assert not self.service.waits or self.left or self.service.draining


Service.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestService = Service.TestCase
