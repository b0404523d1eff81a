"""Rotated at random moments, every line is read once, restarts included."""

import gzip
import lzma
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_feedback_follow import Log

STEPS = st.lists(
    st.sampled_from(
        ["write", "write", "half", "look", "look", "rename", "cut", "pack gz",
         "pack xz", "restart", "late", "time"]
    ),
    max_size=40,
)  # fmt: skip


class Story:
    """Does what logrotate, syslog and an admin do; numbers lines."""

    def __init__(self, directory):
        self.log = Log(directory)
        self.log.write("0 begin")
        self.log.follower.begin()
        self.written, self.read = [], []
        self.half = ""
        self.writer = None

    def line(self):
        self.written.append(f"{len(self.written) + 1} line")
        return self.written[-1]

    def put(self, text):
        with self.log.path.open("a") as file:
            file.write(text)

    def write(self):
        self.finish()
        for _ in range(3):
            self.put(self.line() + "\n")

    def finish(self):
        if self.half:
            self.put(self.half + "\n")
            self.half = ""

    def half_line(self):
        self.finish()
        line = self.line()
        self.put(line[:2])
        self.half = line[2:]

    def look(self):
        self.read += self.log.read()

    def shift(self):
        """Move the older ones on, as logrotate does; they keep their times."""
        old = sorted(
            self.log.path.parent.glob("mail.log.*"),
            key=lambda path: -int(path.name.split(".")[2]),
        )
        for path in old:
            parts = path.name.split(".")
            parts[2] = str(int(parts[2]) + 1)
            path.rename(path.with_name(".".join(parts)))

    def rename(self):
        self.finish()
        self.shift()
        if self.log.path.exists():
            self.writer = self.log.rename()
        self.put(self.line() + "\n")

    def cut(self):
        self.finish()
        self.look()  # a copy in the place of a file never seen cannot be told apart
        self.put(self.line() + "\n")
        self.shift()
        self.log.cut()
        self.writer = None
        self.put(self.line() + "\n")
        self.look()

    def pack(self, how):
        pack = {"gz": gzip.compress, "xz": lzma.compress}[how]
        for path in self.log.path.parent.glob("mail.log.[0-9]*"):
            if path.suffix not in (".gz", ".xz") and path.name != "mail.log.1":
                status = path.stat()
                packed = path.with_name(f"{path.name}.{how}")
                packed.write_bytes(pack(path.read_bytes()))
                os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
                path.unlink()

    def late(self):
        """Let a writer that has not heard of the rotation write on."""
        if self.writer is not None and self.writer.exists():
            with self.writer.open("a") as file:
                file.write(self.line() + "\n")
            self.look()

    def restart(self):
        self.log.stop()
        self.log.restart()


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_line_once(steps):
    with tempfile.TemporaryDirectory() as name:
        story = Story(Path(name))
        for step in steps:
            match step.split():
                case ["half"]:
                    story.half_line()
                case ["pack", how]:
                    story.pack(how)
                case ["time"]:
                    story.look()
                    story.log.now += 100.0
                    story.writer = None
                case [other]:
                    getattr(story, other)()
        story.finish()
        story.look()
        story.log.now += 1000
        story.look()
        story.log.follower.close()
        number = lambda line: int(line.split()[0])  # noqa: E731
        assert sorted(story.read, key=number) == story.written
