"""The box on top of the panel that says what is missing, and installs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from RegistrationNetLib.panel import packages

_LOOK_MS = 200


class InstallBox:
    """older: gives what to say where Slicer itself is too old, else nothing. on_end: called after an installation."""

    def __init__(self, ui: Any, older: Callable[[], str], on_end: Callable[[], None]) -> None:
        self.ui, self._older, self._on_end = ui, older, on_end
        self._installation: packages.Installation | None = None
        self._looking = qt.QTimer()
        self._looking.interval = _LOOK_MS
        self._looking.connect("timeout()", self.look)
        ui.packagesButton.connect("clicked(bool)", self.toggle)

    @property
    def first(self) -> str:
        """What has to be done before anything can be registered; empty where nothing."""
        return self._older() or ("Install first what is missing." if packages.missing() else "")

    def offer(self) -> None:
        """Show what is missing, unless it is being installed."""
        if self._installation is None:
            older, lacking = self._older(), packages.offer(packages.missing())
            said = older or lacking
            self.ui.packagesLabel.text = said
            self.ui.packagesFrame.visible = bool(said)
            self.ui.packagesButton.visible = not older

    def toggle(self) -> None:
        """Begin, or cancel."""
        if self._installation is None:
            self._installation = packages.Installation(packages.missing())
            self._looking.start()
            self.look()
        else:
            self._installation.cancel()

    def look(self) -> None:
        """Show how far it is, and what became of it."""
        if self._installation is None:
            return
        installation, ended = self._installation, self._installation.look()
        self.ui.packagesLabel.text = installation.sentence
        self.ui.packagesProgressBar.value = round(1000 * installation.fraction)
        self.ui.packagesProgressBar.visible = not ended
        self.ui.packagesButton.text = "Install" if ended else "Cancel"
        self.ui.packagesButton.enabled = ended or not installation.cancelled
        if ended:
            self._looking.stop()
            self._installation = None
            self.ui.packagesFrame.visible = bool(packages.missing())
            self._on_end()

    def stop(self) -> None:
        """End it without a word."""
        self._looking.stop()
        if self._installation is not None:
            self._installation.cancel()
