"""RESULTS.md keeps every bench's last figures: writing one section leaves the others alone."""

from __future__ import annotations

from pathlib import Path

from bench.promises import Verdict
from bench.report import markdown_table, replace_section, section, write_section

_BEFORE = "# Results\n\n## upload many\n\nkept\n\n## upload\n\nold\n\n## downloads\n\nkept too\n"


def test_a_section_is_replaced_in_place() -> None:
    after = replace_section(_BEFORE, "upload", "new\n\n### with a part")
    assert after == (
        "# Results\n\n## upload many\n\nkept\n\n## upload\n\nnew\n\n### with a part\n\n"
        "## downloads\n\nkept too\n"
    )


def test_the_last_section_is_replaced_in_place() -> None:
    after = replace_section(_BEFORE, "downloads", "new")
    assert after == _BEFORE.replace("kept too", "new")


def test_an_unknown_section_is_added_at_the_end() -> None:
    after = replace_section(_BEFORE, "mixed", "new")
    assert after == _BEFORE + "\n## mixed\n\nnew\n"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    write_section(file, "upload", "figures")
    once = file.read_text(encoding="utf-8")
    write_section(file, "upload", "figures")
    assert file.read_text(encoding="utf-8") == once == "# Results\n\n## upload\n\nfigures\n"


def test_a_backslash_in_the_figures_is_kept() -> None:
    assert r"\1 \g<0>" in replace_section(_BEFORE, "upload", r"\1 \g<0>")


def test_a_table_has_a_row_for_each() -> None:
    table = markdown_table(("server", "seconds"), [("ours", "1.00"), ("theirs", "2.00")])
    assert table.splitlines() == [
        "| server | seconds |",
        "| --- | ---: |",
        "| ours | 1.00 |",
        "| theirs | 2.00 |",
    ]


def test_a_section_says_what_where_and_whether_it_is_enough() -> None:
    verdicts = [Verdict("fast", "1 s", True), Verdict("small", "9 GB", False)]
    text = section("One run", ["2 cores", "a disk"], ["a table\n"], verdicts, "How.")
    assert text.startswith("One run, 20")
    assert text.endswith(
        "\n\n- 2 cores\n- a disk\n\na table\n\n- met: fast (1 s)\n- NOT MET: small (9 GB)\n\nHow."
    )
