"""Icons from ``resources/icons``: SVG files in one colour that is filled in when they are painted.

A state is told by its shape first; the colour only repeats it. The files are looked up beside a checkout,
in a frozen program, and where a wheel puts them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QIcon, QImage, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

TRAY_PIXELS = (16, 20, 24, 32, 40, 48, 64)


def icon_directories() -> tuple[Path, ...]:
    """Return where icons may be, first match wins."""
    frozen = getattr(sys, "_MEIPASS", None)
    places = [Path(frozen) / "resources" / "icons"] if frozen else []
    places.append(Path(__file__).resolve().parents[2] / "resources" / "icons")
    places.append(Path(sys.prefix) / "share" / "omero-ferry" / "icons")
    return tuple(places)


def path_of(name: str) -> Path:
    """Return the file of an icon. Raises FileNotFoundError."""
    for directory in icon_directories():
        path = directory / f"{name}.svg"
        if path.is_file():
            return path
    raise FileNotFoundError(f"icon {name}.svg is in none of {', '.join(map(str, icon_directories()))}")


@lru_cache(maxsize=256)
def _source(name: str) -> str:
    return path_of(name).read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def _renderer(name: str, color: str) -> QSvgRenderer:
    return QSvgRenderer(QByteArray(_source(name).replace("currentColor", color).encode()))


def paint(painter: QPainter, name: str, color: str, rect: QRectF) -> None:
    """Paint an icon into ``rect`` at the painter's own resolution."""
    _renderer(name, color).render(painter, rect)


def image(name: str, pixels: int, color: str = "#000000") -> QImage:
    """Return the icon as a square image of device pixels."""
    result = QImage(QSize(pixels, pixels), QImage.Format.Format_ARGB32_Premultiplied)
    result.fill(Qt.GlobalColor.transparent)
    painter = QPainter(result)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    paint(painter, name, color, QRectF(0, 0, pixels, pixels))
    painter.end()
    return result


def icon(name: str, color: str = "#000000", sizes: tuple[int, ...] = (16, 32, 48)) -> QIcon:
    """Return a QIcon with one exact image per size."""
    result = QIcon()
    for pixels in sizes:
        result.addPixmap(QPixmap.fromImage(image(name, pixels, color)))
    return result


def tray_icon(name: str) -> QIcon:
    """Return a tray icon; its tile stands on light and dark taskbars alike."""
    return icon(f"tray-{name}", sizes=TRAY_PIXELS)
