"""`bot db backup`: what it copies, and what it leaves alone."""

import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bot.core.errors import ConfigurationError, DatabaseNotReady
from bot.store.backup import copy_database
from bot.store.open_database import upgrade
from tests.store.test_migrations import to_revision


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "bot.db"
    upgrade(url_of(file))
    return file


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def values(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def write_until(file: Path, stop: threading.Event, started: threading.Event) -> None:
    """Writes to two tables in each transaction, so that a copy of two moments differs in them."""
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        number = 0
        while not stop.is_set():
            number += 1
            with connection:
                connection.execute("INSERT INTO left_side VALUES (?, ?)", (number, "x" * 3000))
                connection.execute("INSERT INTO right_side VALUES (?, ?)", (number, "x" * 3000))
            started.set()


def test_a_copy_under_load_is_of_one_moment(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE left_side (number INTEGER PRIMARY KEY, filler TEXT)")
        connection.execute("CREATE TABLE right_side (number INTEGER PRIMARY KEY, filler TEXT)")
        connection.commit()
    stop, started = threading.Event(), threading.Event()
    writer = threading.Thread(target=write_until, args=(database, stop, started))
    writer.start()
    counts = []
    try:
        assert started.wait(30)
        for number in range(5):
            copy = tmp_path / f"copy-{number}.db"
            copy_database(url_of(database), copy)
            ((left,),) = values(copy, "SELECT max(number) FROM left_side")
            assert values(copy, "SELECT max(number) FROM right_side") == [(left,)]
            assert values(copy, "PRAGMA integrity_check") == [("ok",)]
            counts.append(left)
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)
    assert counts[0]


def test_a_copy_is_one_file_for_its_owner_alone(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    before = os.umask(0)
    try:
        copy_database(url_of(database), folder / "copy.db")
    finally:
        os.umask(before)
    assert os.listdir(folder) == ["copy.db"]
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    tables = "SELECT sql FROM sqlite_master ORDER BY type, name"
    assert values(folder / "copy.db", tables) == values(database, tables)


@pytest.mark.parametrize("name", ["copy.db", "100% of it?.db", "#1 ä.db", "file:x", "-copy", ".hidden"])
def test_any_name_is_a_name(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "50%25 a?b#c"
    folder.mkdir()
    database.rename(folder / "bot.db")
    monkeypatch.chdir(folder)
    copy_database("sqlite:///bot.db", Path(name))
    assert values(folder / name, "SELECT count(*) FROM alembic_version") == [(1,)]
    assert sorted(os.listdir(folder)) == sorted(["bot.db", name])


def a_link(file: Path) -> None:
    file.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        ("copy.db", lambda file: file.write_text("mine")),
        ("copy.db", lambda file: file.touch()),
        ("copy.db", Path.mkdir),
        ("copy.db", a_link),
        ("bot.db", lambda file: None),
        *((f"bot.db{end}", lambda file: None) for end in ("-wal", "-shm", "-journal", ".lock")),
    ],
)
def test_nothing_is_overwritten(
    database: Path, tmp_path: Path, name: str, prepare: Callable[[Path], object]
) -> None:
    prepare(tmp_path / name)
    before = {each: each.lstat().st_mtime_ns for each in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="Choose another name") as caught:
        copy_database(url_of(database), tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert {each: each.lstat().st_mtime_ns for each in tmp_path.iterdir()} == before


def test_a_database_behind_a_link_keeps_its_own_files(database: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(database)
    for name in (tmp_path / "bot.db-wal", tmp_path / "elsewhere" / "link.db-wal"):
        with pytest.raises(FileExistsError, match="own files"):
            copy_database(url_of(link), name)
    copy_database(url_of(link), tmp_path / "copy.db")
    assert values(tmp_path / "copy.db", "SELECT count(*) FROM alembic_version") == [(1,)]


@pytest.mark.parametrize(
    ("written", "target", "error", "says"),
    [
        (None, "copy.db", DatabaseNotReady, "There is no database at "),
        (b"This is a shopping list. " * 100, "copy.db", OSError, "cannot be copied"),
        (b"SQLite format 3\0" + b"\xff" * 5000, "copy.db", OSError, "copied|damaged"),
        (b"", "nowhere/copy.db", FileNotFoundError, "There is no folder "),
    ],
    ids=["absent", "not a database", "damaged", "no folder"],
)
def test_what_cannot_be_copied_is_one_line(
    tmp_path: Path, written: bytes | None, target: str, error: type[Exception], says: str
) -> None:
    if written is not None:
        (tmp_path / "bot.db").write_bytes(written)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(error, match=says) as caught:
        copy_database(url_of(tmp_path / "bot.db"), tmp_path / target)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(ConfigurationError, match="pg_dump") as caught:
        copy_database("postgresql://bot:hush-hush@db/bot", tmp_path / target)
    assert "hush-hush" not in str(caught.value)


def test_a_full_disk_leaves_no_file(database: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; Python ignores the signal that comes with it."""
    before = sorted(os.listdir(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="cannot be copied"):
            copy_database(url_of(database), tmp_path / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("revision", ["0001", "0009", "0015"])
def test_a_database_of_any_release_is_copied(tmp_path: Path, revision: str) -> None:
    old = tmp_path / "bot.db"
    to_revision(url_of(old), revision)
    copy_database(url_of(old), tmp_path / "copy.db")
    assert values(tmp_path / "copy.db", "SELECT version_num FROM alembic_version") == [(revision,)]
    upgrade(url_of(tmp_path / "copy.db"))
