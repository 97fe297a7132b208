"""Files of users as people and spreadsheets write them."""

import pytest

from pipelines.cli.user_file import UserFileInvalid, read_users


def read(text: str) -> list[tuple[str, str | None]]:
    return read_users(text.encode()).users


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("G-1\nG-2\n", [("G-1", None), ("G-2", None)]),
        ("user_id,timezone\r\nG-1,Asia/Seoul\r\n\r\nG-2,\r\n", [("G-1", "Asia/Seoul"), ("G-2", None)]),
        ("timezone,name,User_ID\nAsia/Seoul,x,G-1\n", [("G-1", "Asia/Seoul")]),
        ("user_id;timezone\nG-1;Asia/Seoul\n", [("G-1", "Asia/Seoul")]),
        ("user_id\ttimezone\nG-1\tAsia/Seoul\n", [("G-1", "Asia/Seoul")]),
        ('user_id,name\n"G-1","Doe, Jane"\n', [("G-1", None)]),
        ("user_id\nG-1\nG-1\n", [("G-1", None)]),
        ("\n \nuser_id\nG-1\n", [("G-1", None)]),
        ('user_id,name\nG-1,"Doe\nJane"\nG-2,x\n', [("G-1", None), ("G-2", None)]),
        ("x" * 200, [("x" * 200, None)]),
    ],
)
def test_what_people_write_is_read(text: str, expected: list[tuple[str, str | None]]):
    """A list, a table with more columns, a spreadsheet's semicolons, blank lines, the same user twice."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("user_id|timezone\nG-1|Asia/Seoul\n", "line 1: a user id holds no separators.*\nline 2: a user id holds no"),
        ("G-1\nG=2\n", "line 2: a user id holds no separators"),
        ("G-1\n[G-2]\n", "line 2: a user id holds no separators"),
        ("G-1\n'G-2'\n", "line 2: a user id holds no separators"),
        ('G-1\n{"user_id": "G-2"}\n', "line 2: a quotation mark|line 2: a user id holds"),
        ("user_id\nG 1\n", "line 2: a user id holds only printable ASCII"),
        ("user_id,timezone\n,Asia/Seoul\n", "line 2: no user id"),
        ("user_id,timezone\nG-1,Asia/Seoul\nG-1,Europe/Berlin\n", "line 3: the same user again"),
        ("id,name\nG-1,Jane\n", "line 1: several columns but no header"),
        ("id;name\nG-1;Jane\n", "line 1: several columns but no header"),
        ("G-1\nG-2;Jane\n", "line 2: a user id holds no separators"),
        ('user_id\n"G-1,Jane"\n', "line 2: a user id holds no separators"),
        ("user_id\n" + "G" * 501 + "\n", "line 2: a user id has at most 500 characters"),
        ("ID\nG-1\n", "line 1: looks like a header, and the header must be user_id"),
        ("\nuser id\nG-1\n", "line 2: looks like a header, and the header must be user_id"),
        ("User\nG-1\n", "line 1: looks like a header"),
        ("userid\nG-1\n", "line 1: looks like a header"),
        ('user_id,name\nG-1,"Doe\nJane"\nG 2,x\n', "line 4: a user id holds only"),
        ('user_id,name\nG-1,x\nG-2,"Jane\nG-3,x\n', "line 3: a quotation mark .* is not closed"),
        ('user_id,name\nG-1,x\nG-2,"Jane\n' + "G-3,x\n" * 30_000, "line 3: a quotation mark .* is not closed"),
        ("", "no users in it"),
        ("user_id\n", "no users in it"),
    ],
)
def test_a_bad_line_is_named_by_its_number(text: str, told: str):
    """Whoever imports 10,000 users needs the line, and never sees an id repeated in a message."""
    with pytest.raises(UserFileInvalid, match=told) as refused:
        read(text)
    assert "Jane" not in str(refused.value)
    assert "G-1" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\r\nuser_id;timezone\r\nG-1;Asia/Seoul\r\n",
        b'"sep=,"\nuser_id,timezone\nG-1,Asia/Seoul\n',
        b"sep=|\nuser_id|timezone\nG-1|Asia/Seoul\n",
        "user_id\ttimezone\r\nG-1\tAsia/Seoul\r\n".encode("utf-16"),
        b"\xfe\xff" + "user_id;timezone\nG-1;Asia/Seoul\n".encode("utf-16-be"),
        "\ufeffuser_id,timezone\nG-1,Asia/Seoul\n".encode(),
    ],
    ids=["sep=;", "quoted sep", "sep=|", "UTF-16 as Excel writes it", "UTF-16 big-endian", "UTF-8 with a mark"],
)
def test_what_excel_writes_is_read(content: bytes):
    """Excel is where most of these files come from."""
    assert read_users(content) == ([("G-1", "Asia/Seoul")], [])


def test_text_in_another_encoding_is_refused():
    """Guessing an encoding would register users that do not exist."""
    with pytest.raises(UserFileInvalid, match=r"neither UTF-8 nor UTF-16 text \(byte 8\)"):
        read_users(b"user_id\nG-\xe9\n"[:8] + b"\xe9\n")


def test_an_unknown_time_zone_costs_the_zone_and_not_the_user():
    """A user left out is missing sleep; a zone left out is found in the sessions."""
    users, warnings = read_users(b"user_id,timezone\nG-1,\nG-2,Mars/Olympus\nG-3,Asia/Seoul\n")
    assert users == [("G-1", None), ("G-2", None), ("G-3", "Asia/Seoul")]
    assert len(warnings) == 1
    assert warnings[0].startswith("line 3: unknown time zone")


def test_all_bad_lines_are_reported_together_up_to_a_screenful():
    """Mending one line after the other takes a day."""
    with pytest.raises(UserFileInvalid) as refused:
        read("user_id\n" + "bad id\n" * 50)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("line 2:")
    assert len(lines) == 21
    assert lines[-1] == "… and 30 more lines"
