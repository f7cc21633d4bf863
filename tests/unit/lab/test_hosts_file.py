"""/etc/hosts belongs to somebody else: the lab's lines come and go, the rest stays as it was."""

from lab import hosts_file
from lab.machines import Machine

S01 = Machine("lab", "s01", "portside.test", "bookworm", None)
S02 = Machine("lab", "s02", "portside.test", "trixie", None)
OTHERS = "127.0.0.1 localhost\n# kept\n::1 localhost\n"


def test_names_stand_between_marks() -> None:
    text = hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.7"})
    assert text == (
        OTHERS
        + hosts_file.begin("lab")
        + "\n10.0.3.7 s01.portside.test s01\n"
        + hosts_file.end("lab")
        + "\n"
    )


def test_writing_again_replaces_the_block() -> None:
    before = hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.7", S02: "10.0.3.8"})
    after = hosts_file.with_block(before, "lab", {S01: "10.0.3.9"})
    assert after == hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.9"})


def test_removing_leaves_no_trace() -> None:
    assert (
        hosts_file.without_block(hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.7"}), "lab")
        == OTHERS
    )


def test_lines_after_the_block_survive() -> None:
    text = hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.7"}) + "192.0.2.1 added-later\n"
    assert hosts_file.without_block(text, "lab") == OTHERS + "192.0.2.1 added-later\n"


def test_a_missing_last_newline_is_made_good() -> None:
    text = hosts_file.with_block("127.0.0.1 localhost", "lab", {S01: "10.0.3.7"})
    assert text.startswith("127.0.0.1 localhost\n" + hosts_file.begin("lab"))


def test_labs_leave_each_others_lines_alone() -> None:
    odd = Machine("odd", "s01", "odd.test", "trixie", None)
    both = hosts_file.with_block(
        hosts_file.with_block(OTHERS, "lab", {S01: "10.0.3.7"}), "odd", {odd: "10.0.3.9"}
    )
    assert hosts_file.without_block(both, "lab") == hosts_file.with_block(
        OTHERS, "odd", {odd: "10.0.3.9"}
    )


def test_a_machine_is_told_its_real_address() -> None:
    text = hosts_file.for_machine({S01: "10.0.3.7", S02: "10.0.3.8"})
    assert text.splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost",
        "10.0.3.7 s01.portside.test s01",
        "10.0.3.8 s02.portside.test s02",
    ]
