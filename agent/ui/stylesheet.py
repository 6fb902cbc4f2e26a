"""The style sheet for the standard widgets; what is painted by hand reads the same colours."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.ui.theme import Colors

_TEMPLATE = Template("""
QToolTip { background: $panel; color: $ink; border: 1px solid $line; padding: 4px 6px; }
QWidget#headerBar { background: $panel; border-bottom: 1px solid $line; }
QWidget#footerBar { background: $panel; border-top: 1px solid $line; }
QWidget#dialogFoot { background: $panel; border-top: 1px solid $line; }
QDialog { background: $panel; }
QWidget#recentPane { background: $ground; border-right: 1px solid $line; }
QWidget#listPane { border-right: 1px solid $line; }
QListView#cardList, QScrollArea, QWidget#detailPage { background: $ground; border: none; }
QScrollArea#formScroll, QWidget#formPage { background: $panel; border: none; }
QLabel[role="mute"] { color: $mute; }
QLabel[role="small"] { color: $mute; font-size: 12px; }
QLabel[role="fieldLabel"] { color: $mute; font-size: 12px; }
QLabel[role="heading"] { font-size: 20px; font-weight: 600; }
QLabel[role="dialogHeading"] { font-size: 17px; font-weight: 600; }
QLabel[role="boxTitle"] { font-size: 13px; font-weight: 600; }
QLabel[role="body"] { font-size: 13px; color: $ink; }
QLabel[role="bodyMute"] { font-size: 13px; color: $mute; }
QLabel[role="big"] { font-size: 22px; font-weight: 600; }
QLabel[role="name"] { font-weight: 600; }

QFrame[role="box"] { background: $panel; border: 1px solid $line; border-radius: 10px; }
QFrame[role="box"][tone="needs-you"] { background: $need_soft; border-color: $need; }
QFrame[role="box"][tone="failed"] { background: $bad_soft; border-color: $bad; }
QFrame[role="bar"] { background: $panel; border: none; border-bottom: 1px solid $line; }
QFrame[role="bar"][tone="needs-you"] { background: $need_soft; border-bottom: 1px solid $need; }
QFrame[role="bar"][tone="accent"] { background: $accent_soft; border-bottom: 1px solid $line; }
QFrame[role="bar"][tone="failed"] { background: $bad_soft; border-bottom: 1px solid $bad; }
QFrame[role="verdict"] { border-radius: 7px; background: $ground; }
QFrame[role="verdict"][tone="accent"] { background: $accent_soft; }
QFrame[role="verdict"][tone="needs-you"] { background: $need_soft; }
QFrame[role="verdict"][tone="failed"] { background: $bad_soft; }

QPushButton { background: $panel; color: $ink; border: 1px solid $line; border-radius: 7px; padding: 5px 12px;
  font-size: 13px; min-height: 18px; }
QPushButton:hover { border-color: $edge; }
QPushButton:pressed { background: $ground; }
QPushButton:focus { border: 1px solid $accent; }
QPushButton:disabled { color: $mute; background: $ground; }
QPushButton[primary="true"] { background: $accent; color: $on_accent; border-color: $accent;
  font-weight: 600; }
QPushButton[primary="true"]:hover, QPushButton[primary="true"]:pressed { background: $accent_hover;
  border-color: $accent_hover; }
QPushButton[primary="true"]:focus { border: 2px solid $ink; padding: 4px 11px; }
QPushButton[primary="true"]:disabled { background: $line; color: $mute; border-color: $line; }
QPushButton[role="link"] { border: none; background: transparent; color: $accent; padding: 2px 4px; }
QPushButton[role="link"]:focus { border: 1px solid $accent; padding: 1px 3px; }
QToolButton#closeBar { border: none; background: transparent; padding: 3px; border-radius: 5px; }
QToolButton#closeBar:hover { background: $line; }

QLineEdit, QPlainTextEdit { placeholder-text-color: $mute; }
QLineEdit, QPlainTextEdit, QComboBox, QTableWidget { background: $panel; color: $ink; border: 1px solid $line;
  border-radius: 7px; selection-background-color: $accent; selection-color: $on_accent; }
QLineEdit, QComboBox { padding: 6px 9px; min-height: 20px; }
QPlainTextEdit { padding: 4px 6px; }
QLineEdit:hover, QComboBox:hover, QPlainTextEdit:hover { border-color: $edge; }
QLineEdit:focus, QComboBox:focus, QPlainTextEdit:focus, QTableWidget:focus { border: 1px solid $accent; }
QComboBox::drop-down { border: none; width: 26px; }
QComboBox::down-arrow { image: url("$chevron"); width: 14px; height: 14px; }
QComboBox QAbstractItemView, QListView#popup { background: $panel; color: $ink; border: 1px solid $line;
  selection-background-color: $accent_soft; selection-color: $ink; outline: none; }
QComboBox QAbstractItemView::item, QListView#popup::item { padding: 6px 8px; }
QTableWidget { gridline-color: $line; font-size: 13px; }
QTableWidget QLineEdit { border: none; border-radius: 0; padding: 0 6px; }
QTableWidget::item { padding: 3px 6px; }
QTableWidget::item:selected { background: $accent_soft; color: $ink; }
QTreeWidget { background: $panel; color: $ink; border: 1px solid $line; border-radius: 7px; font-size: 13px;
  outline: none; }
QTreeWidget:focus { border: 1px solid $accent; }
QTreeWidget::item { padding: 4px 6px; }
QTreeWidget::item:selected { background: $accent_soft; color: $ink; }
QTreeWidget::indicator { width: 15px; height: 15px; border: 1px solid $edge; border-radius: 4px;
  background: $panel; }
QTreeWidget::indicator:checked { background: $accent; border-color: $accent; image: url("$check"); }
QTreeWidget QHeaderView::section { background: $panel; color: $mute; border: none;
  border-bottom: 1px solid $line; padding: 4px 6px; font-size: 12px; }
QTreeWidget QHeaderView { background: $panel; border: none; }
QFrame#tagField { background: $panel; border: 1px solid $line; border-radius: 7px; }
QFrame#tagField[focused="true"] { border: 1px solid $accent; }
QFrame#tagField QLineEdit { border: none; padding: 2px 2px; background: transparent; min-height: 18px; }
QToolButton[role="chip"] { background: $accent_soft; color: $accent; border: 1px solid $accent_soft;
  border-radius: 6px; padding: 1px 6px; font-size: 12px; font-weight: 600; }
QToolButton[role="chip"]:hover, QToolButton[role="chip"]:focus { border-color: $accent; }

QListWidget#recents { background: transparent; border: none; outline: none; }
QListWidget#recents::item { border-radius: 8px; padding: 0; margin: 0 0 2px 0; color: $ink; }
QListWidget#recents::item:selected { background: $accent_soft; }
QListWidget#recents::item:hover:!selected { background: $line; }
QCheckBox { font-size: 13px; color: $mute; spacing: 8px; }
QCheckBox:focus { color: $ink; }
QCheckBox::indicator { width: 15px; height: 15px; border: 1px solid $edge; border-radius: 4px;
  background: $panel; }
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $accent; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; image: url("$check"); }
QMenu { background: $panel; color: $ink; border: 1px solid $line; padding: 4px; }
QMenu::item { padding: 6px 22px 6px 12px; border-radius: 5px; }
QMenu::item:selected { background: $accent_soft; color: $ink; }
QMenu::item:disabled { color: $mute; }
QMenu::separator { height: 1px; background: $line; margin: 4px 6px; }
QSplitter::handle { background: $line; }

QScrollBar:vertical { background: transparent; width: 9px; margin: 2px; }
QScrollBar::handle:vertical { background: $edge; border-radius: 2px; min-height: 32px; }
QScrollBar:horizontal { background: transparent; height: 9px; margin: 2px; }
QScrollBar::handle:horizontal { background: $edge; border-radius: 2px; min-width: 32px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
""")


def stylesheet_text(colors: Colors, chevron: str, check: str) -> str:
    """Return the style sheet in one palette; the paths are those of a combo box's arrow and a tick."""
    named = {name: getattr(colors, name) for name in type(colors).__slots__}
    return _TEMPLATE.substitute(named, chevron=chevron, check=check)
