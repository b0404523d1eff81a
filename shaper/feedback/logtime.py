"""Timestamps of log lines as epoch seconds, quickly.

Three forms: RFC 3339 ("2026-11-25T12:00:00.1+01:00"), Exim's ("2026-11-25
12:00:00", with or without "+0100"), and traditional syslog ("Nov 25 12:00:00",
RFC 3164 4.1.2), which tells neither year nor zone. The year is then chosen so
that a file's last line is not later than the file itself, or counted on from a
given first year. Conversions are cached per hour, since a log has few of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Final

__all__ = ["LogClock"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        [
            "Jan",
            "Feb",
            "Mar",
            "Apr",
            "May",
            "Jun",
            "Jul",
            "Aug",
            "Sep",
            "Oct",
            "Nov",
            "Dec",
        ],
        1,
    )
}
_CACHE_LIMIT: Final = 20_000
_GRACE: Final = timedelta(days=1)  # clock and zone differences


class LogClock:
    """Reads the time at the beginning of a line.

    ``latest`` is when the file was last written; ``year`` is the year of its first
    line and wins. ``zone`` is the zone of lines that name none (None: this host's).
    """

    def __init__(
        self,
        *,
        latest: datetime | None = None,
        year: int | None = None,
        zone: tzinfo | None = None,
    ) -> None:
        self._latest = latest
        self._year = year
        self._zone = zone
        self._month = 0  # of the last traditional line, to notice New Year
        self._hours: dict[str, float] = {}

    def read(self, line: str) -> float | None:
        """Return epoch seconds, or None when the line begins with no time."""
        if line[4:5] == "-":
            return self._iso(line)
        return self._traditional(line)

    def _iso(self, line: str) -> float | None:
        # YYYY-MM-DDTHH | :MM:SS[.frac] | zone
        hour, rest = line[:13], line[13:19]
        end = line.find(" ", 19)
        tail = line[19:end] if end > 0 else line[19:40]
        if line[10:11] == " " and line[19:21] in (" +", " -"):
            tail = line[20:25]  # Exim's log_timezone
        fraction = ""
        if tail[:1] == ".":
            stop = 1
            while tail[stop : stop + 1].isdigit():
                stop += 1
            fraction, tail = tail[:stop], tail[stop:]
        key = hour + tail
        base = self._hours.get(key)
        try:
            if base is None:
                moment = datetime.fromisoformat(f"{hour}:00:00{tail}")
                if moment.tzinfo is None:
                    moment = self._placed(moment)
                base = self._keep(key, moment.timestamp())
            seconds = int(rest[1:3]) * 60 + int(rest[4:6])
            return base + seconds + (float(fraction) if len(fraction) > 1 else 0.0)
        except (ValueError, OverflowError, OSError):
            return None

    def _traditional(self, line: str) -> float | None:
        month = _MONTHS.get(line[:3])
        if month is None:
            return None
        if self._year is not None and month < self._month - 6:
            self._year += 1  # from December to January
            self._hours.clear()
        self._month = month
        key = line[:9]
        base = self._hours.get(key)
        try:
            if base is None:
                day, hour = int(line[4:6]), int(line[7:9])
                base = self._keep(key, self._dated(month, day, hour).timestamp())
            return base + int(line[10:12]) * 60 + int(line[13:15])
        except (ValueError, OverflowError, OSError):
            return None

    def _dated(self, month: int, day: int, hour: int) -> datetime:
        if self._year is not None:
            return self._placed(datetime(self._year, month, day, hour))  # noqa: DTZ001
        latest = self._latest
        if latest is None:
            raise ValueError("a time without a year, and no year known")
        for year in range(latest.year + 1, latest.year - 9, -1):
            try:
                moment = self._placed(datetime(year, month, day, hour))  # noqa: DTZ001
            except ValueError:
                continue  # 29 February of another year
            if moment <= latest + _GRACE:
                return moment
        raise ValueError("no year fits")

    def _placed(self, moment: datetime) -> datetime:
        if self._zone is None:
            return moment.astimezone()
        return moment.replace(tzinfo=self._zone)

    def _keep(self, key: str, value: float) -> float:
        if len(self._hours) >= _CACHE_LIMIT:
            self._hours.clear()
        self._hours[key] = value
        return value
