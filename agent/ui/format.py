"""Numbers and times as a person reads them. Pure: the locale and the clock are arguments.

Sizes use decimal units (a "72.1 GB" file has 72.1 * 10**9 bytes), as disk vendors, OMERO.web and ``rsync``
do. Durations are rounded to what a person can use: nobody waits for the seconds of an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from PySide6.QtCore import QCoreApplication, QDate, QLocale

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def _unit_for(size_bytes: float) -> int:
    """Return the index of the unit in which ``size_bytes`` has one to three digits before the point."""
    index = 0
    while index < len(_UNITS) - 1 and round(size_bytes / 1000**index, 1 if index else 0) >= 1000:
        index += 1
    return index


def _in_unit(size_bytes: float, index: int, locale: QLocale) -> str:
    value = size_bytes / 1000**index
    digits = 0 if index == 0 or round(value, 1) >= 100 else 1
    return locale.toString(value, "f", digits)


def size(size_bytes: float, locale: QLocale | None = None) -> str:
    """Return ``72.1 GB``, ``112 MB``, ``540 B``."""
    index = _unit_for(size_bytes)
    return f"{_in_unit(size_bytes, index, locale or QLocale())} {_UNITS[index]}"


def size_of(done_bytes: float, total_bytes: float, locale: QLocale | None = None) -> str:
    """Return ``45.6 of 72.1 GB``; the unit is named once when both numbers are readable in it."""
    chosen = locale or QLocale()
    index = _unit_for(total_bytes)
    if done_bytes and _unit_for(done_bytes) < index - 1:
        first = size(done_bytes, chosen)
    else:
        first = _in_unit(done_bytes, index, chosen)
    return QCoreApplication.translate("format", "{done} of {total}").format(
        done=first, total=f"{_in_unit(total_bytes, index, chosen)} {_UNITS[index]}"
    )


def rate(bytes_per_second: float, locale: QLocale | None = None) -> str:
    """Return ``112 MB/s``."""
    return f"{size(bytes_per_second, locale)}/s"


def count(number: int, locale: QLocale | None = None) -> str:
    """Return ``6,144`` with the locale's separator."""
    return (locale or QLocale()).toString(number)


def files(number: int, locale: QLocale | None = None) -> str:
    """Return ``1 file`` or ``6,144 files``."""
    if number == 1:
        return QCoreApplication.translate("format", "1 file")
    return QCoreApplication.translate("format", "{count} files").format(count=count(number, locale))


def images(number: int, locale: QLocale | None = None) -> str:
    """Return ``1 image`` or ``12 images``."""
    if number == 1:
        return QCoreApplication.translate("format", "1 image")
    return QCoreApplication.translate("format", "{count} images").format(count=count(number, locale))


def duration(seconds: float) -> str:
    """Return ``8 s``, ``4 min``, ``1 h 20 min``, ``31 h`` or ``6 days``; negative counts as nothing."""
    whole = max(0, round(seconds))
    if whole < 60:
        return QCoreApplication.translate("format", "{n} s").format(n=whole)
    minutes = round(whole / 60)
    if minutes < 60:
        return QCoreApplication.translate("format", "{n} min").format(n=minutes)
    if minutes < 6 * 60:
        hours, rest = divmod(minutes, 60)
        if rest == 0:
            return QCoreApplication.translate("format", "{n} h").format(n=hours)
        return QCoreApplication.translate("format", "{h} h {m} min").format(h=hours, m=rest)
    hours = round(minutes / 60)
    if hours < 72:
        return QCoreApplication.translate("format", "{n} h").format(n=hours)
    return QCoreApplication.translate("format", "{n} days").format(n=round(hours / 24))


def time_left(seconds: float) -> str:
    """Return ``4 min left``."""
    return QCoreApplication.translate("format", "{duration} left").format(duration=duration(seconds))


def countdown(seconds: float) -> str:
    """Return ``3:40`` or ``1:05:00``, for a quiet time that a person watches."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def percent(done: float, total: float) -> int:
    """Return whole percent, rounded down so that 100 means all of it; 0 when the total is not known."""
    return min(100, int(done * 100 / total)) if total > 0 else 0


def clock(at: datetime, *, now: datetime | None = None, zone: tzinfo | None = None) -> str:
    """Return the local time, ``13:48``, and the day before it when it is not today's: ``22 Nov 13:48``."""
    local = at.astimezone(zone)
    today = (now or datetime.now(UTC)).astimezone(zone).date()
    text = f"{local:%H:%M}"
    return text if local.date() == today else f"{day(at, zone=zone)} {text}"


def day(at: datetime, *, zone: tzinfo | None = None, locale: QLocale | None = None) -> str:
    """Return the local day, ``26 Nov``."""
    local = at.astimezone(zone)
    return (locale or QLocale()).toString(QDate(local.year, local.month, local.day), "d MMM")


def ago(at: datetime, now: datetime) -> str:
    """Return ``just now`` or ``3 s ago``; a clock that runs ahead counts as just now."""
    passed = now - at
    if passed < timedelta(seconds=1):
        return QCoreApplication.translate("format", "just now")
    return QCoreApplication.translate("format", "{duration} ago").format(
        duration=duration(passed.total_seconds())
    )


def shorten(text: str, limit: int) -> str:
    """Return at most ``limit`` characters; what was cut ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
