"""What only Slicer's own process can show: run there by CTest, and in the tests on the stand-ins."""

import tempfile
import unittest
from pathlib import Path

import slicer


class RegistrationNetInSlicerTest(unittest.TestCase):
    """The module is loaded; the scene of the application is used, and emptied."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.frame = slicer.modules.registrationnet.widgetRepresentation()
        self.frame.enter()
        self.panel = self.frame.self()

    def tearDown(self) -> None:
        self.frame.exit()

    def test_PanelIsRestoredFromASavedScene(self) -> None:
        self.panel.ui.presetComboBox.setCurrentText("fast")
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.mrmlScene.WriteToMRB(file, None))
            slicer.mrmlScene.Clear()
            self.assertEqual(self.panel.ui.presetComboBox.currentText, "balanced")
            self.assertTrue(slicer.mrmlScene.ReadFromMRB(file, True, slicer.vtkMRMLMessageCollection()))
        self.panel.onSceneChanged()
        self.assertEqual(self.panel.ui.presetComboBox.currentText, "fast")

    def test_PhantomIsRegisteredInAnotherProcess(self) -> None:
        """With Slicer's own Python; skipped where PyTorch was not installed into it."""
        from RegistrationNetLib.core.errors import MissingPackage
        from RegistrationNetLib.phantom import phantom_pair
        from RegistrationNetLib.scene import register_nodes, volumes

        pair = phantom_pair(voxel_mm=4.0)
        fixed, moving = (slicer.mrmlScene.AddNode(volumes.volume_node(image)) for image in (pair.fixed, pair.moving))
        try:
            result = register_nodes(fixed, moving, preset="fast")
        except MissingPackage as error:
            self.skipTest(str(error))
        self.assertIs(moving.GetParentTransformNode(), result.transform)
        similarity = result.report["similarity"]
        self.assertGreater(similarity["after"], similarity["before"] + 0.2)
        self.panel.logic.remove(result.transform)
        self.assertIsNone(moving.GetParentTransformNode())
