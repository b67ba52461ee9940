"""`slicer.app`: a QApplication, of which a process can have only one, so that it is made once and set up anew."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from slicer_standin.pythonqt import stand_in, stored


@stand_in
class qSlicerModuleManager(QtCore.QObject):
    """Says which modules come and go. Limits: modules are only found by name."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


@stand_in
class qSlicerApplication(QtWidgets.QApplication):
    """What a panel asks of the application. It is in testing mode, until `_testing` is set to False.

    Limits: no main window, no console, no reading and writing of files (`coreIOManager`), no command-line modules.
    """

    startupCompleted = Signal()
    temporaryPath = stored(str, "temporaryPath", "")
    majorVersion = Property(int, lambda self: _version()[0])
    minorVersion = Property(int, lambda self: _version()[1])

    def _setUp(self, logic: Any, folder: str) -> None:
        """For a new scene; settings are empty."""
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, folder)
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        self._logic, self._testing = logic, True
        self._modules = qSlicerModuleManager(self)
        self._layouts: Any = None
        self._settings = QtCore.QSettings()
        self.temporaryPath = folder

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> Any:
        return self._layouts

    def moduleManager(self) -> Any:
        return self._modules

    def testingEnabled(self) -> bool:
        return self._testing

    def settings(self) -> Any:
        return self._settings

    def userSettings(self) -> Any:
        return self._settings

    def startupEnvironment(self) -> Any:
        """Of the test itself: there is no launcher that has changed it."""
        return QtCore.QProcessEnvironment.systemEnvironment()

    def translate(self, context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        """Views are drawn only when they are looked at."""

    def resumeRender(self) -> None:
        """See `pauseRender`."""


def _version() -> list[int]:
    """Of the runtime, which counts as the application does."""
    return [int(part) for part in metadata.version("slicer-core").split(".")[:2]]


def instance() -> qSlicerApplication:
    """The one of this process."""
    return QtCore.QCoreApplication.instance() or qSlicerApplication(["Slicer"])
