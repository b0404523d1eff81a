"""A log is followed over rotations and restarts: every line, once."""

import asyncio
import gzip
import lzma
import os

import pytest

from shaper.core.ports import StateUnavailableError
from shaper.feedback.follow import LogFollower
from shaper.feedback.logfile import MAX_LINE


class Log:
    """A log, a follower with a clock of its own, and what was read so far."""

    def __init__(self, directory):
        self.path = directory / "mail.log"
        self.place = directory / "place.json"
        self.now = 1000.0
        self.follower = LogFollower(self.path, self.place, clock=lambda: self.now)

    def restart(self):
        self.follower.close()
        self.follower = LogFollower(self.path, self.place, clock=lambda: self.now)

    def write(self, *lines, path=None):
        with (path or self.path).open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def read(self):
        lines = []
        for _ in range(1000):
            try:
                more = self.follower.advance()
            except FileNotFoundError:
                more = []
            lines += more
            if not more and not self.follower._unsaved:
                return lines
            self.follower._unsaved = False
        raise AssertionError("no end")

    def stop(self):
        self.follower.save()
        self.follower.close()

    def rename(self, to="mail.log.1"):
        target = self.path.with_name(to)
        self.path.rename(target)
        return target

    def cut(self, to="mail.log.1"):
        target = self.path.with_name(to)
        target.write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)
        return target


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path)
    log.write("first line of all")
    log.follower.begin()  # at the end of what is there
    yield log
    log.follower.close()


def _pack(path, how, name=None):
    packed = path.with_name((name or path.name) + f".{how}")
    pack = {"gz": gzip.compress, "xz": lzma.compress}[how]
    status = path.stat()
    packed.write_bytes(pack(path.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return packed


def test_lines_come_as_they_are_written_and_the_unfinished_one_waits(log):
    log.write("one", "two")
    assert log.read() == ["one", "two"]
    with log.path.open("ab") as file:
        file.write(b"thr")
        file.flush()
        assert log.read() == []
        file.write(b"ee\n")
    assert log.read() == ["three"]


def test_a_file_that_comes_later_is_read_from_its_beginning(tmp_path):
    log = Log(tmp_path)
    log.follower.begin()
    assert log.read() == []
    log.write("one")
    assert log.read() == ["one"]
    log.stop()


def test_a_file_that_came_while_we_were_down_is_read_from_its_beginning(tmp_path):
    log = Log(tmp_path)
    log.follower.begin()
    log.stop()
    log.write("one")
    log.restart()
    assert log.read() == ["one"]
    log.stop()


@pytest.mark.parametrize("late", [False, True])
def test_renamed(log, late):
    log.write("one")
    if late:
        assert log.read() == ["one"]
    with log.path.open("ab", buffering=0) as writer:
        log.rename()
        log.write("three")
        writer.write(b"two\n")  # a writer that has not opened the new one yet
        told = log.read()
        assert told == (["two", "three"] if late else ["one", "two", "three"])
        writer.write(b"late\n")
        log.write("four")
        assert sorted(log.read()) == ["four", "late"]
    log.now += 1000
    assert log.read() == []
    log.write("five")
    assert log.read() == ["five"]


def test_the_new_file_may_stay_empty_for_long(log):
    with log.path.open("ab", buffering=0) as writer:
        log.rename()
        log.path.touch()
        assert log.read() == []
        log.now += 10_000
        writer.write(b"still here\n")
        assert log.read() == ["still here"]
        log.write("new")
        assert log.read() == ["new"]


def test_renamed_twice_between_two_looks(log):
    log.write("one")
    log.rename("mail.log.2")
    log.write("two")
    log.rename()
    log.write("three")
    assert log.read() == ["one", "two", "three"]


@pytest.mark.parametrize("regrown", [False, True])
def test_cut_after_a_copy(log, regrown):
    log.write("one")
    assert log.read() == ["one"]
    log.write("two")
    log.cut()
    if regrown:
        log.write(*("much longer than before" for _ in range(5)))
        assert log.read() == ["two", *["much longer than before"] * 5]
    else:
        log.write("3")
        assert log.read() == ["two", "3"]


def test_a_writer_that_goes_on_behind_the_cut_leaves_a_hole(log):
    with log.path.open("r+b", buffering=0) as writer:
        writer.seek(0, os.SEEK_END)
        writer.write(b"one\n" * 100_000)
        assert len(log.read()) == 100_000
        os.truncate(log.path, 0)
        writer.write(b"two\n")
    assert log.read() == ["two"]


def test_an_overlong_line_is_cut_and_its_rest_skipped(log):
    log.write("x" * (5 * MAX_LINE), "\0o\0ne")
    (cut, next_line) = log.read()
    assert MAX_LINE <= len(cut) <= 3 * MAX_LINE
    assert next_line == "one"


def test_a_restart_goes_on_where_it_was(log):
    log.write("one")
    assert log.read() == ["one"]
    log.stop()
    log.write("two")
    log.restart()
    assert log.follower.begin() == ["first line of all", "one"]
    assert log.read() == ["two"]


def test_after_a_crash_the_lines_since_the_last_save_come_again(log):
    log.write("one")
    assert log.read() == ["one"]
    log.follower.save()
    log.write("two")
    assert log.read() == ["two"]
    log.rename()
    log.write("three")
    log.restart()  # without a save
    assert log.read() == ["two", "three"]


@pytest.mark.parametrize("how", ["", "gz", "xz"])
@pytest.mark.parametrize(
    "name", ["mail.log.1", "mail.log-20261125", "mail-20261125.log"]
)
@pytest.mark.parametrize("turn", ["rename", "cut"])
def test_rotated_while_down(log, how, name, turn):
    log.write("one", "two")
    assert log.read() == ["one", "two"]
    log.stop()
    log.write("three")
    target = getattr(log, turn)(name)
    if how:
        _pack(target, how)
    log.write("four")
    log.restart()
    assert log.read() == ["three", "four"]


def test_several_rotations_while_down(log):
    older = log.path.with_name("mail.log.9.gz")
    older.write_bytes(gzip.compress(b"of another time\n"))
    os.utime(older, (1, 1))
    log.write("one")
    assert log.read() == ["one"]
    log.stop()
    log.write("two")
    _pack(log.rename("mail.log.3"), "xz")
    log.write("three")
    _pack(log.rename("mail.log.2"), "gz")
    log.write("four")
    log.rename()
    log.write("five")
    log.restart()
    assert log.read() == ["two", "three", "four", "five"]
    log.stop()
    log.restart()
    assert log.read() == []


def test_a_restart_soon_after_a_rotation_reads_the_rest_of_both(log):
    with log.path.open("ab", buffering=0) as writer:
        log.rename()
        log.write("new")
        assert log.read() == ["new"]
        log.stop()
        writer.write(b"late\n")
    log.write("newer")
    log.restart()
    assert log.read() == ["late", "newer"]


def test_a_copy_under_another_inode_is_not_read_again(log):
    log.write("one")
    assert log.read() == ["one"]
    copy = log.path.with_name("copy")
    copy.write_bytes(log.path.read_bytes())
    copy.rename(log.path)
    log.write("two")
    assert log.read() == ["two"]


def test_what_was_deleted_is_told(log, caplog):
    log.stop()
    log.path.unlink()
    log.write("new")
    log.restart()
    assert log.read() == ["new"]
    assert "not beside it" in caplog.text


def test_a_damaged_place_reads_all_again(log, caplog):
    log.stop()
    log.place.write_text('{"marks": 3')
    log.restart()
    assert log.read() == ["first line of all"]
    assert "damaged" in caplog.text


def test_a_damaged_archive_gives_what_it_has(log, caplog):
    log.write("one")
    log.stop()
    log.write(*(f"line {number}" for number in range(100_000)))
    packed = _pack(log.rename(), "gz")
    packed.write_bytes(packed.read_bytes()[:-20_000])
    log.write("new")
    log.restart()
    lines = log.read()
    assert lines[:2] == ["one", "line 0"]
    assert lines[-1] == "new"
    assert "ends too early" in caplog.text


def test_lag_and_the_time_of_the_last_line(log):
    log.write("one")
    assert log.follower.lag == 4
    assert log.follower.last_line is None
    log.read()
    assert (log.follower.lag, log.follower.last_line) == (0, 1000.0)


async def test_a_line_that_cannot_be_taken_is_given_again_and_not_saved(log):
    log.write("one", "two")
    taken, stop = [], asyncio.Event()
    saved = log.place.read_text()

    async def take(line):
        assert log.place.read_text() == saved
        if len(taken) == 1 and "again" not in log.__dict__:
            log.again = True
            raise StateUnavailableError("no")
        taken.append(line)

    async def sleep(_seconds):
        if len(taken) == 2:
            stop.set()

    follower = LogFollower(log.path, log.place, clock=lambda: log.now, sleep=sleep)
    await follower.run(take, stop)
    assert taken == ["one", "two"]
    log.restart()
    assert log.read() == []


async def test_a_file_that_may_not_be_read_is_told_once_with_the_cure(tmp_path, caplog):
    stop, rounds = asyncio.Event(), []

    async def sleep(_seconds):
        rounds.append(1)
        if len(rounds) == 3:
            stop.set()

    async def take(_line):
        raise AssertionError

    def refuse():
        raise PermissionError(13, "Permission denied", "/var/log/mail.log")

    follower = LogFollower(tmp_path / "mail.log", tmp_path / "place", sleep=sleep)
    follower.begin = refuse
    await follower.run(take, stop)
    assert caplog.text.count("adduser mailshaper adm") == 1


def test_a_copy_that_overwrites_the_last_one_is_not_read_again(log):
    log.write("one")
    log.read()
    log.cut()
    log.write("two")
    assert log.read() == ["two"]
    log.write("three", "and a line that makes it longer than the copy before")
    log.read()
    log.write("unread")
    log.cut()
    log.write("four")
    assert log.read() == ["unread", "four"]
