"""What only the operating system knows, for the window's sake: who we are to the shell, and full screen."""

from __future__ import annotations

import sys

APP_ID = "OmeroFerry.Agent"
"""Must equal the id on the installer's Start-menu shortcut, or Windows shows no toasts."""

# SHQueryUserNotificationState; facts of the Windows SDK (shellapi.h).
_QUNS_BUSY = 2
_QUNS_RUNNING_D3D_FULL_SCREEN = 3
_QUNS_PRESENTATION_MODE = 4
_NO_TOASTS = frozenset({_QUNS_BUSY, _QUNS_RUNNING_D3D_FULL_SCREEN, _QUNS_PRESENTATION_MODE})


class Desktop:
    """The real desktop. Elsewhere than on Windows there is nothing to claim and nothing to ask."""

    def claim_app_id(self, app_id: str) -> None:
        """Set the AppUserModelID; it has to happen before the first window."""
        if sys.platform == "win32":
            import ctypes

            ctypes.windll.shell32.SetCurrentProcessExplicitAppUserModelID(app_id)

    def may_interrupt(self) -> bool:
        """Return False while a program fills the screen or presents; unknown counts as "may"."""
        if sys.platform == "win32":
            import ctypes

            state = ctypes.c_int(0)
            # That a camera's full-screen live view is reported as busy is inferred from the documentation.
            if ctypes.windll.shell32.SHQueryUserNotificationState(ctypes.byref(state)) == 0:
                return state.value not in _NO_TOASTS
        return True
