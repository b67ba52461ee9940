"""The module as 3D Slicer loads it: what it is called, its panel, what the panel asks for, and its self-test."""

import sys
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class RegistrationNet(ScriptedLoadableModule):
    """Name, category and texts; Slicer makes one at start-up, so nothing slow happens here."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self.parent.title = _("RegistrationNet")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["The RegistrationNet developers"]
        self.parent.helpText = _(
            "Brings a moving volume into the space of a fixed volume by a deformation without folds, "
            "and shows what it did: transform, warped volume, Jacobian map, figures. Research use only."
        )
        self.parent.acknowledgementText = _(
            "VoxelMorph: Balakrishnan et al., IEEE Transactions on Medical Imaging 2019. "
            "3D Slicer: Fedorov et al., Magnetic Resonance Imaging 2012."
        )


class RegistrationNetWidget(ScriptedLoadableModuleWidget):
    """The panel: two volumes and a button."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.logic: RegistrationNetLogic | None = None

    def setup(self) -> None:
        super().setup()
        self.logic = RegistrationNetLogic()

        inputs = ctk.ctkCollapsibleButton()
        inputs.setText(_("Inputs"))
        self.layout.addWidget(inputs)
        form = qt.QFormLayout(inputs)
        self.fixedSelector = self._volumeSelector(_("The volume that stays where it is."))
        self.movingSelector = self._volumeSelector(_("The volume that is brought into the fixed volume's space."))
        form.addRow(_("Fixed volume:"), self.fixedSelector)
        form.addRow(_("Moving volume:"), self.movingSelector)

        self.registerButton = qt.QPushButton(_("Register"))
        self.registerButton.clicked.connect(self.onRegisterButton)
        self.layout.addWidget(self.registerButton)
        self.statusLabel = qt.QLabel()
        self.statusLabel.setWordWrap(True)
        self.layout.addWidget(self.statusLabel)
        self.layout.addStretch(1)
        self.updateRegisterButton()

    def _volumeSelector(self, toolTip: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.noneEnabled = True
        selector.setToolTip(toolTip)
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self.updateRegisterButton)
        return selector

    def updateRegisterButton(self, _node: Any = None) -> None:
        """Enable the button when both volumes are chosen; its tooltip says what is missing."""
        reason = self.logic.whyNot(self.fixedSelector.currentNode(), self.movingSelector.currentNode())
        self.registerButton.setEnabled(not reason)
        self.registerButton.setToolTip(reason or _("Bring the moving volume into the fixed volume's space."))

    def onRegisterButton(self) -> None:
        fixed, moving = self.fixedSelector.currentNode(), self.movingSelector.currentNode()
        self.statusLabel.setText("")
        with slicer.util.tryWithErrorDisplay(_("The volumes were not registered."), waitCursor=True):
            self.logic.register(fixed, moving)
            self.statusLabel.setText(
                _("'{moving}' now lies in the space of '{fixed}'.").format(
                    moving=moving.GetName(), fixed=fixed.GetName()
                )
            )

    def onReload(self) -> None:
        """Forget the library first, or the developer's Reload button would bring its old code back."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "RegistrationNetLib"]:
            del sys.modules[name]
        super().onReload()


class RegistrationNetLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, usable without it."""

    def whyNot(self, fixed: Any, moving: Any) -> str:
        """The reason why these two volume nodes cannot be registered; empty if they can."""
        if fixed is None or moving is None:
            return _("Choose a fixed and a moving volume.")
        if fixed is moving:
            return _("'{name}' is chosen as fixed and as moving volume: choose two different ones.").format(
                name=fixed.GetName()
            )
        return ""

    def register(self, fixed: Any, moving: Any) -> Any:
        """Register two volume nodes and return the nodes made (`RegistrationNetLib.scene.SceneResult`)."""
        reason = self.whyNot(fixed, moving)
        if reason:
            raise ValueError(reason)
        try:
            # Only now: PyTorch may not be installed yet, and loading it takes seconds.
            from RegistrationNetLib.scene import register_nodes

            return register_nodes(fixed, moving)
        except ModuleNotFoundError as missing:
            raise RuntimeError(
                _(
                    "The Python package '{name}' is missing in Slicer: install torch by the PyTorch extension, any "
                    "other with slicer.util.pip_install('{name}') in the Python console, then try again."
                ).format(name=missing.name)
            ) from missing


class RegistrationNetTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network and without PyTorch."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_PanelAsksForWhatIsMissing, self.test_LogicRefusesOneVolumeTwice):
            self.setUp()
            test()

    def test_PanelAsksForWhatIsMissing(self) -> None:
        fixed, moving = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab")
        widget = RegistrationNetWidget()
        widget.setup()
        widget.fixedSelector.setCurrentNode(None)
        self.assertFalse(widget.registerButton.isEnabled())
        widget.fixedSelector.setCurrentNode(fixed)
        widget.movingSelector.setCurrentNode(moving)
        self.assertTrue(widget.registerButton.isEnabled())

    def test_LogicRefusesOneVolumeTwice(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "brain")
        with self.assertRaisesRegex(ValueError, "'brain' is chosen as fixed and as moving"):
            RegistrationNetLogic().register(volume, volume)
