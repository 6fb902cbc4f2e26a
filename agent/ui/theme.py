"""Two palettes, one accent colour, and the rule for each colour.

Green means proven and nothing else, amber means that the person must do something, red means a final
failure. Every text colour keeps a contrast of at least 4.5:1 on every ground it is used on (``TEXT_PAIRS`` is
the list, the test computes it). ``QStyleHints.setColorScheme`` does nothing on several platforms, so the
palette is set by hand on the Fusion style; a widget finds its colours from its own palette, so that no
global state is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from agent.ui import icons
from agent.ui.stylesheet import stylesheet_text

TEXT_PIXELS = 14
SMALL_PIXELS = 12


class Tone(StrEnum):
    """What a colour says."""

    PLAIN = "plain"
    ACCENT = "accent"
    PROVEN = "proven"
    NEEDS_YOU = "needs-you"
    FAILED = "failed"


class Scheme(StrEnum):
    """What the person chose; ``SYSTEM`` follows the desktop."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Colors:
    """One palette, as ``#rrggbb``."""

    ground: str
    panel: str
    line: str
    edge: str
    """For the outline of shapes and fields that must be seen (3:1), never for text."""
    ink: str
    mute: str
    accent: str
    accent_soft: str
    on_accent: str
    accent_hover: str
    ok: str
    ok_soft: str
    need: str
    need_soft: str
    bad: str
    bad_soft: str

    def tone(self, tone: Tone) -> tuple[str, str]:
        """Return foreground and soft ground of a tone."""
        return {
            Tone.PLAIN: (self.mute, self.panel),
            Tone.ACCENT: (self.accent, self.accent_soft),
            Tone.PROVEN: (self.ok, self.ok_soft),
            Tone.NEEDS_YOU: (self.need, self.need_soft),
            Tone.FAILED: (self.bad, self.bad_soft),
        }[tone]


LIGHT = Colors(
    ground="#f4f6f8",
    panel="#ffffff",
    line="#dfe4ea",
    edge="#838f9b",
    ink="#17212b",
    mute="#566471",
    accent="#0b6b84",
    accent_soft="#e1f0f4",
    on_accent="#ffffff",
    accent_hover="#095a70",
    ok="#1a7446",
    ok_soft="#e2f3ea",
    need="#8a5200",
    need_soft="#fdf0dc",
    bad="#b3261e",
    bad_soft="#fbe6e4",
)
DARK = Colors(
    ground="#14191f",
    panel="#1c232b",
    line="#2e3842",
    edge="#6f7d8a",
    ink="#e8edf2",
    mute="#a3b0bc",
    accent="#5cc0d8",
    accent_soft="#16333c",
    on_accent="#0d1b20",
    accent_hover="#7ccfe2",
    ok="#6fcf97",
    ok_soft="#173325",
    need="#f0b45a",
    need_soft="#3a2b12",
    bad="#f2857d",
    bad_soft="#3d1d1b",
)

TEXT_PAIRS: tuple[tuple[str, str], ...] = (
    ("ink", "ground"),
    ("ink", "panel"),
    ("ink", "accent_soft"),
    ("ink", "need_soft"),
    ("ink", "bad_soft"),
    ("mute", "ground"),
    ("mute", "panel"),
    ("mute", "accent_soft"),
    ("accent", "ground"),
    ("accent", "panel"),
    ("accent", "accent_soft"),
    ("on_accent", "accent"),
    ("on_accent", "accent_hover"),
    ("ok", "ok_soft"),
    ("ok", "panel"),
    ("need", "need_soft"),
    ("need", "panel"),
    ("bad", "bad_soft"),
    ("bad", "panel"),
)
"""Text colour and the ground it stands on: every pair the window uses."""


def contrast(first: str, second: str) -> float:
    """Return the WCAG 2 contrast ratio of two ``#rrggbb`` colours, 1..21."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colors_for(palette: QPalette) -> Colors:
    """Return the colours that go with a palette made by :func:`palette_from`."""
    return DARK if palette.color(QPalette.ColorRole.Window).lightness() < 128 else LIGHT


def colors_of(widget: QWidget) -> Colors:
    """Return the colours a widget paints with now."""
    return colors_for(widget.palette())


def palette_from(colors: Colors) -> QPalette:
    """Return the Qt palette for the parts that Fusion draws."""
    palette = QPalette()
    role = QPalette.ColorRole
    for name, value in (
        (role.Window, colors.ground),
        (role.WindowText, colors.ink),
        (role.Base, colors.panel),
        (role.AlternateBase, colors.ground),
        (role.Text, colors.ink),
        (role.Button, colors.panel),
        (role.ButtonText, colors.ink),
        (role.BrightText, colors.bad),
        (role.ToolTipBase, colors.panel),
        (role.ToolTipText, colors.ink),
        (role.PlaceholderText, colors.mute),
        (role.Highlight, colors.accent),
        (role.HighlightedText, colors.on_accent),
        (role.Link, colors.accent),
        (role.LinkVisited, colors.accent),
        (role.Accent, colors.accent),
        (role.Mid, colors.line),
        (role.Light, colors.panel),
        (role.Dark, colors.line),
    ):
        palette.setColor(name, QColor(value))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(colors.mute))
    return palette


def font(pixels: int = TEXT_PIXELS, *, bold: bool = False) -> QFont:
    """Return the interface font: Segoe UI on Windows, Inter or Noto Sans elsewhere."""
    chosen = QFont()
    chosen.setFamilies(["Segoe UI", "Inter", "Noto Sans", "DejaVu Sans", "sans-serif"])
    chosen.setPixelSize(pixels)
    if bold:
        chosen.setWeight(QFont.Weight.DemiBold)
    return chosen


def installed_family() -> str:
    """Return the first of our families that this machine has, for the diagnostics."""
    have = set(QFontDatabase.families())
    return next((family for family in font().families() if family in have), "")


class Theme(QObject):
    """Keeps the application's palette and style sheet equal to the chosen scheme."""

    changed = Signal()

    def __init__(self, app: QApplication, scheme: Scheme = Scheme.SYSTEM) -> None:
        super().__init__(app)
        self.setObjectName("theme")
        self._app = app
        self._scheme = scheme
        self._colors: Colors | None = None
        app.setStyle("Fusion")
        app.setFont(font())
        app.styleHints().colorSchemeChanged.connect(self._on_system_changed)
        self._apply()

    @property
    def scheme(self) -> Scheme:
        return self._scheme

    def is_dark(self) -> bool:
        if self._scheme is Scheme.SYSTEM:
            return self._app.styleHints().colorScheme() is Qt.ColorScheme.Dark
        return self._scheme is Scheme.DARK

    def choose(self, scheme: Scheme) -> None:
        """Follow the person's choice at once."""
        self._scheme = scheme
        self._apply()

    def _on_system_changed(self) -> None:
        if self._scheme is Scheme.SYSTEM:
            self._apply()

    def _apply(self) -> None:
        colors = DARK if self.is_dark() else LIGHT
        if colors is self._colors:
            # Restyling walks every widget: not for nothing.
            return
        self._colors = colors
        self._app.setPalette(palette_from(colors))
        suffix = "dark" if colors is DARK else "light"
        chevron, check = (icons.path_of(f"{name}-{suffix}").as_posix() for name in ("chevron", "check"))
        self._app.setStyleSheet(stylesheet_text(colors, chevron, check))
        self.changed.emit()
