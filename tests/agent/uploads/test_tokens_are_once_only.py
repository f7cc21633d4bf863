"""A token stores one file: using it again is a conflict, and the file stays as it was."""

from __future__ import annotations

from tests.support.agent.process import Agent, slug_of


def test_a_used_token_is_refused_and_names_the_stored_file(shared_agent: Agent) -> None:
    claims = shared_agent.claims()
    token = shared_agent.mint(**dict(claims))
    assert shared_agent.put("a.bin", b"first", token).status_code == 201
    again = shared_agent.put("a.bin", b"second", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    assert claims.file_id in again.json()["detail"]


def test_a_new_token_can_not_take_a_stored_files_id(shared_agent: Agent) -> None:
    claims = shared_agent.claims()
    assert shared_agent.put("a.bin", b"1", shared_agent.mint(**dict(claims))).status_code == 201
    other = shared_agent.put("a.bin", b"2", shared_agent.mint(file_id=claims.file_id))
    assert (other.status_code, slug_of(other)) == (409, "token-used")


def test_a_token_whose_upload_failed_can_be_used_again(shared_agent: Agent) -> None:
    token = shared_agent.mint(name="retry.txt")
    assert shared_agent.put("x", b"<html>", token).status_code == 415
    assert shared_agent.put("x", b"plain text", token).status_code == 201
