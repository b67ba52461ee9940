"""The box of the panel with many moving volumes, which are registered to the fixed one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from RegistrationNetLib.panel.queue import Queue
from RegistrationNetLib.panel.run import Run


class ManyBox:
    """volumes: what was added, in order. queue: their registration, under way or ended; None where they are others.

    groups: gives what can be added. on_change: called when the list has changed.
    """

    def __init__(self, ui: Any, groups: Callable[[], Sequence[Any]], on_change: Callable[[], None]) -> None:
        self.volumes: list[Any] = []
        self.queue: Queue | None = None
        self.ui, self._find, self._on_change = ui, groups, on_change
        self._groups: Sequence[Any] = ()
        ui.manyComboBox.connect("activated(int)", self.add)
        ui.manyRemoveButton.connect("clicked(bool)", self.remove)
        ui.manyCollapsibleButton.connect("contentsCollapsed(bool)", self.list_groups)

    def list_groups(self, _collapsed: Any = None) -> None:
        """What can be added."""
        self._groups = self._find()
        self.ui.manyComboBox.clear()
        names = [group.name for group in self._groups]
        self.ui.manyComboBox.addItems(["choose a folder, a sequence or a volume", *names])

    def add(self, index: int) -> None:
        """The group at this place of the list."""
        if index > 0:
            self.volumes += [node for node in self._groups[index - 1].volumes() if node not in self.volumes]
            self._changed()
            self.list_groups()

    def remove(self) -> None:
        """The chosen volume, or all where none is chosen."""
        row = self.ui.manyList.currentRow
        del self.volumes[slice(row, row + 1) if row >= 0 else slice(None)]
        self._changed()

    def clear(self) -> None:
        self.volumes, self.queue = [], None
        self.show()

    def start(self, begin: Callable[[Any], Run]) -> Queue:
        """All of them, each as `begin` does it."""
        self.queue = Queue([partial(begin, volume) for volume in self.volumes])
        return self.queue

    def allow(self, running: bool, problems: Sequence[str]) -> None:
        """Whether they can be registered now; problems: of anything but the one moving volume."""
        button = self.ui.manyButton
        button.enabled = not (running or problems) and bool(self.volumes)
        ready = "Register each volume of the list to the fixed volume."
        button.toolTip = next(iter(problems), ready if self.volumes else "Add volumes to the list first.")

    def show(self) -> None:
        """Each volume and how far it is."""
        states = [""] * len(self.volumes) if self.queue is None else self.queue.states
        row = self.ui.manyList.currentRow
        self.ui.manyList.clear()
        for node, state in zip(self.volumes, states, strict=True):
            self.ui.manyList.addItem(f"{node.GetName()}: {state}" if state else node.GetName())
        self.ui.manyList.currentRow = row

    def _changed(self) -> None:
        self.queue = None
        self.show()
        self._on_change()
