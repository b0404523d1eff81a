"""Where the content of a message ends, and what must never pass.

Pure scanner over chunks as they come from the socket; content stays in its
wire form (dot-stuffed). Only CR LF "." CR LF ends a message (RFC 5321 4.1.1.4).
Servers exist that end it at other sequences, which lets a sender smuggle a
second message past a filter (CVE-2023-51764 and kin). Therefore a message
with a lone dot between two octets of CR, LF or NUL that is not the proper end
is marked faulty: no lenient reader can then see an end where we see none. Bare
CR or LF elsewhere is left alone. The octets of a possible end are kept back
until they are known not to be one, so a faulty sequence never leaves in parts.
"""

from __future__ import annotations

import re

__all__ = ["DataScanner"]

# A dot with a line end or NUL on both sides. The dot comes first for speed: the
# engine then searches one octet with memchr, ten times faster than a class.
_LONE_DOT = re.compile(rb"\.(?<=[\r\n\0].)[\r\n\0]", re.DOTALL)
_REACH = 4  # octets: a lone dot, the two before it and the one behind
_EDGES = b"\r\n\0"

SMUGGLED = "5.5.2 Message contains a lone dot between bare CR, LF or NUL"
LONG_LINE = "5.6.0 Message contains a line of more than {} octets"


class DataScanner:
    """One DATA phase. Feed chunks until ``done``; ``rest`` is what came after."""

    __slots__ = (
        "_carry",
        "_max_line",
        "_run",
        "_skip",
        "done",
        "fault",
        "rest",
        "size",
    )

    def __init__(self, max_line: int) -> None:
        # The content begins behind the CRLF of the DATA command.
        self._carry = b"\r\n"
        self._skip = 2  # octets of the carry that have been given out
        self._run = 0  # octets since the last LF
        self._max_line = max_line
        self.done = False
        self.rest = b""
        self.size = 0  # content octets given out
        self.fault = ""  # text of the refusal, "" while the message is sound

    def feed(self, chunk: bytes) -> bytes:
        """Return the content octets that are now known to be content."""
        work, skip = self._joined(chunk)
        end = len(work)
        dot = work.find(b".")
        if dot >= 0:
            for match in _LONE_DOT.finditer(work, dot):
                at = match.start()
                if work[at - 2 : at] == b"\r\n":
                    after = work[at + 1 : at + 3]
                    if after == b"\r\n":
                        self.done = True
                        self.rest = work[at + 3 :]
                        end = at
                        break
                    if after == b"\r":  # the chunk ends here: may become an end
                        end = at
                        break
                self.fault = self.fault or SMUGGLED
            # A last dot needs the next octet to be judged.
            if not self.done and end == len(work) and work[-1:] == b".":
                end -= work[-2] in _EDGES
        content = work[skip:end]
        if self.done:
            self._carry = b""
        elif end == 0:  # all of a short chunk is kept back
            self._carry = self._carry[: self._skip] + work
        else:
            keep = max(end - 2, 0)
            self._carry = work[keep:]
            self._skip = end - keep
        self.size += len(content)
        self._measure(content)
        return b"" if self.fault else content

    def _joined(self, chunk: bytes) -> tuple[bytes, int]:
        """Return what to search, and how many of its octets were given out.

        The carry matters only to a dot within reach of it, so that a chunk is
        seldom copied.
        """
        if len(self._carry) > self._skip or len(chunk) < _REACH or b"." in chunk[:2]:
            return self._carry + chunk, self._skip
        return chunk, 0

    def _measure(self, content: bytes) -> None:
        """Watch the length of lines, in steps of the limit."""
        limit = self._max_line
        start = 0
        length = len(content)
        first = limit - self._run
        while length - start > first:
            newline = content.rfind(b"\n", start, start + first)
            if newline < 0:
                self.fault = self.fault or LONG_LINE.format(limit)
                break
            start = newline + 1
            first = limit
        last = content.rfind(b"\n", start)
        self._run = length - last - 1 if last >= 0 else self._run + length - start
        if start and last < 0:
            self._run = length - start
