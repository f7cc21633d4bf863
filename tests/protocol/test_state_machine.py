"""Whatever a client does, in whatever order and dialect: no told byte is lost, no file is doubled.

Hypothesis plays clients that append, cut, lie, ask again, compete and give up, and kills the node
in between. `PORTSIDE_LONG_PROTOCOL_TEST=500` plays that many games, different ones each time.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
from dataclasses import dataclass
from typing import Literal

import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    rule,
    run_state_machine_as_test,
)

from agent.dialects import draft
from portside.wire.files import StoredFile
from tests.support.agent.process import SMALL_NODE, Agent, slug_of
from tests.support.protocol import LONG_VARIABLE
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of
from tests.support.protocol.requests_by_hand import Connection, Ietf, Tus, checksum

_GAMES = 16
_STEPS = 25
_RING = SMALL_NODE.ring_buffer
_LARGEST = 2 * _RING + 5000
"""Some files fit into one buffer of the agent's ring, some don't."""

_KILLS = 16
"""The node is killed at one of so many chances."""

_HANGING = 3
"""Connections that stand still at once: each has a slot of the node."""

Dialect = Literal["tus", "ietf"]
_dialects = st.sampled_from(["tus", "ietf"])
_shares = st.floats(0, 1)


@dataclass
class Game:
    """One upload as its client sees it.

    The node has at least `told` bytes of it, for it said so, and at most `sent`.
    """

    tus: Tus
    ietf: Ietf
    content: bytes
    length_known: bool
    url: str
    told: int = 0
    sent: int = 0
    stored: StoredFile | None = None

    @property
    def size(self) -> int:
        return len(self.content)

    def share(self, share: float) -> int:
        """Where a share of what is missing ends."""
        return self.told + round(share * (self.size - self.told))


class Clients(RuleBasedStateMachine):
    """The games of one namespace each; `games` holds those that are open."""

    games: Bundle[Game] = Bundle("games")
    stored: Bundle[Game] = Bundle("stored")

    agent: Agent

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Game] = []
        self.connections: list[Connection] = []

    # What clients begin.

    @rule(
        target=games,
        dialect=_dialects,
        size=st.integers(1, _LARGEST),
        deferred=st.booleans(),
        seed=st.integers(0, 2**32),
    )
    def create(self, dialect: Dialect, size: int, deferred: bool, seed: int) -> Game:
        game = self._new(size, deferred, seed)
        response = self._create(game, dialect)
        assert response.status_code == 201, response.text
        game.url = response.headers["Location"]
        return game

    @rule(
        target=games,
        dialect=_dialects,
        size=st.integers(2, _LARGEST),
        deferred=st.booleans(),
        seed=st.integers(0, 2**32),
        share=_shares,
    )
    def create_with_upload(
        self, dialect: Dialect, size: int, deferred: bool, seed: int, share: float
    ) -> Game:
        game = self._new(size, deferred, seed)
        first = game.content[: min(game.share(share), size - 1)]
        response = self._create(game, dialect, first)
        assert response.status_code == 201, response.text
        game.url = response.headers["Location"]
        assert response.headers["Upload-Offset"] == str(len(first))
        game.told = game.sent = len(first)
        return game

    @rule(
        target=stored, dialect=_dialects, size=st.integers(0, _LARGEST), seed=st.integers(0, 2**32)
    )
    def create_with_all(self, dialect: Dialect, size: int, seed: int) -> Game:
        game = self._new(size, False, seed)
        response = self._create(game, dialect, game.content, complete=True)
        assert response.status_code == 201, response.text
        game.url = response.headers["Location"]
        self._finished(game, response)
        return game

    # What clients do with what they began.

    @rule(game=games, dialect=_dialects)
    def ask(self, game: Game, dialect: Dialect) -> None:
        self._ask(game, dialect)

    @rule(
        game=games,
        dialect=_dialects,
        share=st.floats(0, 0.9),
        algorithm=st.sampled_from([None, "sha1", "sha256"]),
    )
    def append(self, game: Game, dialect: Dialect, share: float, algorithm: str | None) -> None:
        self._settle(game)
        end = min(game.share(share), game.size - 1)
        response = self._append(game, dialect, end, algorithm)
        assert response.status_code == 204, response.text
        assert response.headers["Upload-Offset"] == str(end)
        game.told = game.sent = end

    @rule(
        game=games,
        dialect=_dialects,
        wrong=st.integers(-_LARGEST, _LARGEST).filter(bool),
        length=st.integers(0, 100),
    )
    def append_elsewhere(self, game: Game, dialect: Dialect, wrong: int, length: int) -> None:
        self._settle(game)
        offset = game.told + wrong
        if offset < 0:
            offset = game.told + 1
        talker = game.tus if dialect == "tus" else game.ietf
        response = talker.append(game.url, offset, bytes(length))
        type_ = "offset-mismatch" if dialect == "tus" else draft.MISMATCHING_OFFSET.uri
        assert (response.status_code, slug_of(response)) == (409, type_)
        assert response.headers["Upload-Offset"] == str(game.told)
        assert self._ask(game, dialect) == game.told

    @rule(game=games, share=_shares, algorithm=st.sampled_from(["sha1", "sha256"]))
    def append_other_bytes(self, game: Game, share: float, algorithm: str) -> None:
        self._settle(game)
        end = max(game.share(share), game.told + 1)
        piece = bytearray(game.content[game.told : end])
        header = checksum(algorithm, bytes(piece))
        piece[len(piece) // 2] ^= 1
        response = game.tus.append(game.url, game.told, bytes(piece), header)
        assert (response.status_code, slug_of(response)) == (460, "checksum-mismatch")
        assert self._ask(game, "tus") == game.told

    @rule(
        game=games,
        announced=_shares,
        sent=_shares,
        checked=st.booleans(),
        hang=st.booleans(),
        chance=st.integers(1, _KILLS),
    )
    def cut(
        self, game: Game, announced: float, sent: float, checked: bool, hang: bool, chance: int
    ) -> None:
        """A body that ends early, by hanging up, by standing still, or with the node."""
        self._settle(game)
        end = max(game.share(announced), game.told + 1)
        piece = game.content[game.told : end]
        part = piece[: min(round(sent * len(piece)), len(piece) - 1)]
        headers = checksum("sha1", piece) if checked else {}
        connection = Connection.begun(game.tus, game.url, game.told, len(piece), headers)
        connection.send(part)
        # Bytes whose checksum can't be told any more are as good as wrong ones.
        game.sent = game.told + (0 if checked else len(part))
        if chance == _KILLS:
            self._kill()
        if hang and len(self.connections) < _HANGING:
            self.connections.append(connection)
            return
        running = self.agent.status()["slots"]["used"]
        connection.close()
        # Else the next one that begins could not be told by the number that run.
        self.agent.wait_for_uploads(max(0, running - 1))

    @rule(game=games, share=_shares, dialect=_dialects)
    def take_over(self, game: Game, share: float, dialect: Dialect) -> None:
        """A second writer ends the first, who stands still."""
        self._settle(game)
        first = Connection.begun(game.tus, game.url, game.told, game.size - game.told)
        piece = game.content[game.told : min(game.share(share), game.size - 1)]
        first.send(piece)
        game.sent = game.told + len(piece)
        offset = self._ask(game, dialect)
        assert first.ended()
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert first.answer().status >= 400
        first.close()
        end = min(offset + 1, game.size - 1)
        assert self._append(game, dialect, end, None).status_code == 204
        game.told = game.sent = end

    @rule(game=games, dialect=_dialects)
    def create_again(self, game: Game, dialect: Dialect) -> None:
        response = self._create(game, dialect)
        assert response.status_code == 201, response.text
        assert response.headers["Location"] == game.url

    @rule(target=stored, game=consumes(games), dialect=_dialects)
    def finish(self, game: Game, dialect: Dialect) -> Game:
        self._settle(game)
        response = self._append(game, dialect, game.size, None)
        assert response.status_code == 200, response.text
        self._finished(game, response)
        return game

    @rule(game=consumes(games), dialect=_dialects)
    def give_up(self, game: Game, dialect: Dialect) -> None:
        self._terminate(game, dialect)

    # What is asked of files that are stored.

    @rule(game=stored, dialect=_dialects)
    def create_stored_again(self, game: Game, dialect: Dialect) -> None:
        game.length_known = True
        response = self._create(game, dialect)
        assert response.status_code in (200, 201), response.text
        assert StoredFile.model_validate_json(response.text) == game.stored

    @rule(game=stored, dialect=_dialects)
    def ask_stored(self, game: Game, dialect: Dialect) -> None:
        talker = game.tus if dialect == "tus" else game.ietf
        assert talker.offset(game.url) == game.size

    @rule(game=stored, dialect=_dialects)
    def append_to_stored(self, game: Game, dialect: Dialect) -> None:
        talker = game.tus if dialect == "tus" else game.ietf
        response = talker.append(game.url, game.size, b"x")
        assert (response.status_code, slug_of(response)) == (
            (403, "upload-complete") if dialect == "tus" else (400, draft.INCONSISTENT_LENGTH.uri)
        )

    @rule(chance=st.integers(1, _KILLS))
    def kill(self, chance: int) -> None:
        if chance == _KILLS:
            self._kill()

    # The end of a run: every upload comes to its own.

    def teardown(self) -> None:
        for connection in self.connections:
            connection.close()
        self.agent.wait_for_uploads(0)
        for number, game in enumerate(self.all):
            if game.stored is None and game.url and number % 2:
                self._settle(game)
                self._finished(game, self._append(game, "tus", game.size, None))
            elif game.stored is None and game.url:
                self._terminate(game, "tus")
        left = self.agent.leftovers()
        for game in self.all:
            # By name: what an earlier game left behind is that game's failure.
            assert not [name for name in left if name.startswith(game.tus.claims.file_id)]
            if game.stored is None:
                assert files_of(game.tus) == []
            else:
                check_stored(game.tus, game.stored.model_dump_json(), game.content)

    # How it is done.

    def _new(self, size: int, deferred: bool, seed: int) -> Game:
        tus = Tus(self.agent)
        # Zeros first, so that no content looks like a script or a program.
        source = random.Random(seed)  # noqa: S311 (bytes of a test, not a secret)
        content = bytes(min(size, 16)) + source.randbytes(max(0, size - 16))
        self.all.append(Game(tus, Ietf(self.agent, tus.claims), content, not deferred, ""))
        return self.all[-1]

    def _create(
        self, game: Game, dialect: Dialect, first: bytes | None = None, complete: bool = False
    ) -> requests.Response:
        length = game.size if game.length_known else None
        if dialect == "tus":
            return game.tus.create(length, body=first)
        return game.ietf.create(length, complete, body=first)

    def _append(
        self, game: Game, dialect: Dialect, end: int, algorithm: str | None
    ) -> requests.Response:
        piece, last = game.content[game.told : end], end == game.size
        if dialect == "ietf":
            return game.ietf.append(game.url, game.told, piece, last)
        headers = {} if algorithm is None else checksum(algorithm, piece)
        if last and not game.length_known:
            headers["Upload-Length"] = str(game.size)
        return game.tus.append(game.url, game.told, piece, headers)

    def _ask(self, game: Game, dialect: Dialect) -> int:
        """Ask for the offset, which must be between what was told and what was sent."""
        offset = (game.tus if dialect == "tus" else game.ietf).offset(game.url)
        assert game.told <= offset <= game.sent
        game.told = game.sent = offset
        return offset

    def _settle(self, game: Game) -> None:
        """After a cut, only the node knows how far it is."""
        self._ask(game, "tus")

    def _finished(self, game: Game, response: requests.Response) -> None:
        game.stored = check_stored(game.tus, response.text, game.content)
        assert response.headers["Upload-Offset"] == str(game.size)

    def _terminate(self, game: Game, dialect: Dialect) -> None:
        talker = game.tus if dialect == "tus" else game.ietf
        assert talker.delete(game.url).status_code == 204
        assert talker.head(game.url).status_code in (404, 410)
        game.url = ""

    def _kill(self) -> None:
        self.agent.kill()
        self.agent.start()


def _profile() -> settings:
    wanted = os.environ.get(LONG_VARIABLE)
    return settings(
        max_examples=int(wanted) if wanted else _GAMES,
        stateful_step_count=_STEPS,
        derandomize=not wanted,
        deadline=None,
        # What one run found is kept by a person, as a test.
        database=None,
        # Making a game that failed shorter takes minutes.
        phases=list(Phase) if wanted else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def test_no_order_of_requests_loses_or_doubles_a_byte(shared: Agent) -> None:
    class Playing(Clients):
        agent = shared

    run_state_machine_as_test(Playing, settings=_profile())
    check_nothing_left_behind(shared)
