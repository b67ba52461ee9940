"""The line below the device: its free memory, and what the registration that the panel shows would need there."""

from __future__ import annotations

from typing import Any

import qt

from RegistrationNetLib.panel.advanced import chosen
from RegistrationNetLib.scene import volumes

_LOOK_MS = 250
_AGAIN = 20  # looks; other programs take and free memory meanwhile


class DeviceBox:
    """Asks the worker, never waits for it, and says nothing until there is an answer."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._question: Any = None
        self._enquiry: Any = None
        self._looks = 0
        self._looking = qt.QTimer()
        self._looking.interval = _LOOK_MS
        self._looking.connect("timeout()", self.look)

    def ask(self, parameters: Any) -> None:
        """About the registration with these parameters, which nothing keeps from starting."""
        asked = question(parameters)
        if self._question is not None and asked.to_dict() == self._question.to_dict():
            return
        from RegistrationNetLib.engine.job import warm_up

        warm_up()
        self._question = asked
        self._again()
        self._looking.start()

    def look(self) -> None:
        """Show the answer, if there is one, and ask anew after a while."""
        self._looks += 1
        found = self._enquiry.answer()
        if found is not None:
            said, enough = found
            self.ui.deviceNeedLabel.text = said if enough else f"▲ {said}"
            self.ui.deviceNeedLabel.visible = True
        if self._looks >= _AGAIN:
            self._again()

    def stop(self) -> None:
        """Say nothing and ask nothing."""
        self._looking.stop()
        self._question = self._enquiry = None
        self.ui.deviceNeedLabel.text = ""
        self.ui.deviceNeedLabel.visible = False

    def _again(self) -> None:
        from RegistrationNetLib.engine.job import Enquiry

        self._looks, self._enquiry = 0, Enquiry(self._question)


def question(parameters: Any) -> Any:
    """What decides over the time and memory of the registration with these parameters."""
    from RegistrationNetLib.engine.question import Question

    fixed, moving = parameters.fixed, parameters.moving
    kept = parameters.keepRigid or parameters.keepVolume or parameters.region
    return Question(
        volumes.local_grid(fixed),
        volumes.local_grid(moving),
        chosen(parameters),
        bytes_per_voxel=moving.GetImageData().GetScalarSize(),
        masked=any((parameters.fixedMask, parameters.movingMask, parameters.keepVolume)),
        labelled=parameters.fixedLabels is not None,
        restrained=kept is not None,
    )
