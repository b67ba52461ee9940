"""The module as 3D Slicer loads it: what it is called, its panel, what the panel asks for, and its self-test."""

import sys
from typing import Annotated, Any

import numpy
import qt
import slicer
import vtk
from slicer import (
    vtkMRMLDisplayableNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from RegistrationNetLib.engine.settings import PRESETS
from RegistrationNetLib.networks import registry

OLDEST_SLICER = (5, 12)
LOOK_MS, FLICKER_MS = 60, 500


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
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the phantom in the module Sample Data."""
    import SampleData

    from RegistrationNetLib.panel.samples import NAME

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="RegistrationNet", sampleName=NAME, customDownloader=loadSampleData
    )


def loadSampleData(_source: Any) -> list[Any]:
    """Draw the phantom and show it."""
    from RegistrationNetLib.panel.samples import add_phantom

    fixed, moving = add_phantom(slicer.mrmlScene)
    slicer.util.setSliceViewerLayers(background=fixed, foreground=moving, foregroundOpacity=0.5, fit=True)
    return [fixed, moving]


@parameterNodeWrapper
class RegistrationNetParameterNode:
    """What the panel shows, kept in the scene. weights: for the model, if not its own; advanced: what differs from the
    preset, as JSON."""

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    initial: vtkMRMLTransformNode
    fixedMask: vtkMRMLSegmentationNode
    movingMask: vtkMRMLSegmentationNode
    keepRigid: vtkMRMLSegmentationNode
    keepVolume: vtkMRMLSegmentationNode
    region: vtkMRMLSegmentationNode
    fixedHints: vtkMRMLMarkupsFiducialNode
    movingHints: vtkMRMLMarkupsFiducialNode
    fixedLandmarks: vtkMRMLMarkupsFiducialNode
    movingLandmarks: vtkMRMLMarkupsFiducialNode
    fixedLabels: vtkMRMLSegmentationNode
    movingLabels: vtkMRMLSegmentationNode
    outputTransform: vtkMRMLTransformNode
    outputVolume: vtkMRMLScalarVolumeNode
    refineRegion: vtkMRMLDisplayableNode
    fixedRefinePoints: vtkMRMLMarkupsFiducialNode
    movingRefinePoints: vtkMRMLMarkupsFiducialNode
    transform: Annotated[str, Choice(["deformable", "affine", "rigid"])] = "deformable"
    preset: Annotated[str, Choice(["balanced", *(name for name in PRESETS if name != "balanced")])] = "balanced"
    model: Annotated[str, Choice(["none", *registry.names()])] = "none"
    weights: str = ""
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    advanced: str = "{}"


class RegistrationNetWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows and asks; what it asks for is done by the logic."""

    def __init__(self, parent: Any = None) -> None:
        self.logic: RegistrationNetLogic | None = None
        self._parameters: Any = None
        self._connection: Any = None
        self._run: Any = None
        self._shown = "warped"  # by the flicker
        self._layout = 0  # of the views before figures came beside them
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        super().setup()
        form = slicer.util.loadUI(self.resourcePath("UI/RegistrationNet.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.logic = RegistrationNetLogic()
        from RegistrationNetLib.panel.advanced import Advanced
        from RegistrationNetLib.panel.device_box import DeviceBox
        from RegistrationNetLib.panel.install_box import InstallBox
        from RegistrationNetLib.panel.lights import Lights
        from RegistrationNetLib.panel.many_box import ManyBox
        from RegistrationNetLib.panel.model_box import ModelBox

        self.device = DeviceBox(self.ui)
        self.install = InstallBox(self.ui, self.logic.olderSlicer, self.update)
        self.many = ManyBox(self.ui, self.logic.groups, self.update)
        self.model = ModelBox(self.ui, self.onModelTaken)
        self.lights = Lights(self.ui.qualityLayout)
        self.advanced = Advanced(self.ui.advancedLayout, self.onAdvancedChanged)
        for mode, words in self.logic.comparisons().items():
            self.ui.compareComboBox.addItem(words, mode)
        self.ui.compareComboBox.setCurrentIndex(self.ui.compareComboBox.findData("blend"))
        self.ui.registerButton.connect("clicked(bool)", self.onRegisterButton)
        self.ui.manyButton.connect("clicked(bool)", self.onManyButton)
        self.ui.removeButton.connect("clicked(bool)", self.onRemoveButton)
        self.ui.refineButton.connect("clicked(bool)", self.onRefineButton)
        self.ui.refineRegionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onRefineRegionChanged)
        self.ui.resultComboBox.connect("currentIndexChanged(int)", self.onResultChosen)
        self.ui.compareComboBox.connect("currentIndexChanged(int)", self.compare)
        self.ui.blendSlider.connect("valueChanged(double)", self.compare)
        self.ui.flickerCheckBox.connect("toggled(bool)", self.onFlicker)
        self.ui.figuresCheckBox.connect("toggled(bool)", self.onFigures)
        self._looking, self._flickering = self._timer(LOOK_MS, self.onLook), self._timer(FLICKER_MS, self.onFlickerTick)
        self._say("")
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.onSceneChanged)
        self.onSceneChanged()

    def _timer(self, interval: int, tick: Any) -> Any:
        timer = qt.QTimer()
        timer.interval = interval
        timer.connect("timeout()", tick)
        return timer

    def cleanup(self) -> None:
        """The module goes: nothing of it computes on."""
        self._stop()
        self.device.stop()
        self.install.stop()
        self._flickering.stop()
        self.removeObservers()

    def enter(self) -> None:
        self.install.offer()
        self.onSceneChanged()

    def exit(self) -> None:
        self._connect(None)
        self.device.stop()

    def onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        self._stop()
        self._connect(None)

    def onSceneChanged(self, _caller: Any = None, _event: Any = None) -> None:
        self._connect(self.logic.getParameterNode())
        self.listResults()

    def onReload(self) -> None:
        """Forget the library first, or the developer's Reload button would bring its old code back."""
        self._stop()
        for name in [name for name in sys.modules if name.partition(".")[0] == "RegistrationNetLib"]:
            del sys.modules[name]
        super().onReload()

    def _connect(self, parameters: Any) -> None:
        """Show these parameters from now on, or none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._connection)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self.update)
        self._parameters = parameters
        if parameters is not None:
            self._connection = parameters.connectParametersToGui(self._bound())
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.update)
            self.update()

    def _bound(self) -> dict[str, Any]:
        """Parameter -> the widget that shows it."""
        names = (widget.property("SlicerParameterName") for widget in vars(self.ui).values())
        pairs = zip(names, vars(self.ui).values(), strict=True)
        return {name: widget for name, widget in pairs if name}

    def update(self, _caller: Any = None, _event: Any = None) -> None:
        """Say beside each field what is wrong with it, and let the button be pressed when nothing is."""
        if self._parameters is None:
            return
        first = {"install": self.install.first} if self.install.first else {}
        problems = first | self.logic.problems(self._parameters)
        for field in ("fixed", "moving", "initial", "extra", "output"):
            said = getattr(self.ui, f"{field}ProblemLabel")
            said.text = problems.get(field, "")
            said.visible = bool(said.text) and not said.text.startswith("Choose the")
        self.model.show(self._parameters, not (problems.get("fixed") or problems.get("moving")))
        self.advanced.show(self._parameters.preset, self._parameters.advanced)
        self._updateButton(problems)
        self._updateRefine()
        if problems:
            self.device.stop()
        elif self._run is None:
            self.device.ask(self._parameters)

    def _updateButton(self, problems: dict[str, str]) -> None:
        button, running = self.ui.registerButton, self._run is not None
        button.text = _("Cancel") if running else _("Register")
        button.enabled = not (self._run.cancelled if running else problems)
        first = next(iter(problems.values()), _("Bring the moving volume onto the fixed one."))
        button.toolTip = _("Stop; the scene stays as it is.") if running else first
        self.many.allow(
            running, [said for field, said in problems.items() if field not in ("moving", "initial", "output")]
        )
        self.ui.progressBar.visible = running

    def _updateRefine(self) -> None:
        region, problem = self._parameters.refineRegion, self.logic.refineProblem(self._parameters)
        if self.ui.refineRegionSelector.currentNode() is not region:  # of several kinds, which cannot be bound
            self.ui.refineRegionSelector.setCurrentNode(region)
        self.ui.refineProblemLabel.text = problem
        self.ui.refineProblemLabel.visible = bool(problem)
        self.ui.refineButton.enabled = self._run is None and self._chosen() is not None and not problem
        self.ui.refineButton.toolTip = problem or _("Correct this result there; it stays, and a second one is added.")

    def onRefineRegionChanged(self, region: Any) -> None:
        if self._parameters is not None and self._parameters.refineRegion is not region:
            self._parameters.refineRegion = region

    def onAdvancedChanged(self, changes: str) -> None:
        if self._parameters is not None:
            self._parameters.advanced = changes

    def onModelTaken(self, model: str, weights: str) -> None:
        self._parameters.weights, self._parameters.model = weights, model

    def onRegisterButton(self) -> None:
        if self._run is not None:
            self._run.cancel()
        else:
            with slicer.util.tryWithErrorDisplay(_("The registration could not be started."), waitCursor=True):
                self._run = self.logic.start(self._parameters, self._parameters.moving)
                self._looking.start()
        self.update()
        self.onLook()

    def onManyButton(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The registrations could not be started."), waitCursor=True):
            self._run = self.many.start(lambda volume: self.logic.start(self._parameters, volume, alone=False))
            self._looking.start()
        self.update()
        self.onLook()

    def onRefineButton(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The refinement could not be started."), waitCursor=True):
            self._run = self.logic.refine(self._parameters, self._chosen())
            self._looking.start()
        self.update()
        self.onLook()

    def onLook(self) -> None:
        """Show how far the registration is, and put its result into the scene when it has ended."""
        if self._run is None:
            return
        run, ended = self._run, self._run.look()
        self.ui.progressBar.value = round(1000 * run.fraction)
        self._say(run.sentence, "" if ended else run.curve)
        if run is self.many.queue:
            self.many.show()
        if ended:
            self._looking.stop()
            self._run = None
            if run.result is not None:
                self.listResults(run.result.transform)
                self.compare()
            self.update()

    def _stop(self) -> None:
        """End a registration without a word; what it computes is not wanted any more."""
        self._looking.stop()
        self.many.clear()
        if self._run is not None:
            self._run.cancel()
            self._run = None
            self._say("")
            self.ui.progressBar.visible = False

    def _say(self, sentence: str, curve: str = "") -> None:
        """Below the button; without room for what is empty."""
        for label, text in ((self.ui.statusLabel, sentence), (self.ui.curveLabel, curve)):
            label.text = text
            label.visible = bool(text)

    def listResults(self, chosen: Any = None) -> None:
        """The registrations in the scene, the newest first; shows the chosen one, or the newest."""
        transforms = self.logic.results()
        box = self.ui.resultComboBox
        blocked = box.blockSignals(True)
        box.clear()
        for transform in reversed(transforms):
            box.addItem(transform.GetName(), transform.GetID())
        if chosen is not None:
            box.setCurrentIndex(box.findData(chosen.GetID()))
        box.blockSignals(blocked)
        section = self.ui.resultsCollapsibleButton
        if section.enabled != bool(transforms):  # it opens with the first result
            section.enabled = bool(transforms)
            section.collapsed = not transforms
        self.showResult()

    def _chosen(self) -> Any:
        """The transform of the result that is shown, or None."""
        identity = self.ui.resultComboBox.currentData
        return slicer.mrmlScene.GetNodeByID(identity) if identity else None

    def showResult(self) -> None:
        transform = self._chosen()
        self.lights.show([] if transform is None else self.logic.checks(transform))
        self.ui.removeButton.enabled = self.ui.figuresCheckBox.enabled = transform is not None
        self._listFlickers(transform)
        if transform is None:
            self.ui.figuresCheckBox.checked = self.ui.flickerCheckBox.checked = False
        elif self.ui.figuresCheckBox.checked:
            self.logic.chooseFigures(transform)
        self.update()

    def _listFlickers(self, transform: Any) -> None:
        """What a result can be seen in turn with; what was chosen stays where it can."""
        box = self.ui.flickerComboBox
        chosen = box.currentData
        box.clear()
        for mode, words in self.logic.flickers(transform).items():
            box.addItem(words, mode)
        box.setCurrentIndex(max(box.findData(chosen), 0))

    def onResultChosen(self, _index: int) -> None:
        self.showResult()
        self.compare()

    def compare(self, _value: Any = None) -> None:
        transform = self._chosen()
        if transform is not None:
            with slicer.util.tryWithErrorDisplay(_("The comparison cannot be shown.")):
                self.logic.compare(transform, self.ui.compareComboBox.currentData, self.ui.blendSlider.value)

    def onFlicker(self, on: bool) -> None:
        self.ui.compareComboBox.enabled = self.ui.blendSlider.enabled = not on
        if on:
            self._flickering.start()
        else:
            self._flickering.stop()
            self.compare()

    def onFlickerTick(self) -> None:
        transform = self._chosen()
        if transform is not None:
            self._shown = self.ui.flickerComboBox.currentData if self._shown == "warped" else "warped"
            self.logic.compare(transform, self._shown, 1.0)

    def onFigures(self, on: bool) -> None:
        """Table and plot beside the slice views, or the layout that was."""
        views = slicer.app.layoutManager()
        if on:
            self._layout = views.layout
            self.logic.chooseFigures(self._chosen())
            views.setLayout(self.logic.figuresLayout())
        elif views.layout == self.logic.figuresLayout():
            views.setLayout(self._layout)

    def onRemoveButton(self) -> None:
        transform = self._chosen()
        if transform is not None:
            self.ui.flickerCheckBox.checked = False
            self.logic.remove(transform)
            self.listResults()


class RegistrationNetLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, usable without it."""

    def getParameterNode(self) -> Any:
        return RegistrationNetParameterNode(super().getParameterNode())

    def olderSlicer(self) -> str:
        """What to say where Slicer is older than what this was made for; empty where it is not."""
        version = slicer.app.majorVersion, slicer.app.minorVersion
        if version >= OLDEST_SLICER:
            return ""
        needed, found = (".".join(map(str, each)) for each in (OLDEST_SLICER, version))
        return _("RegistrationNet needs Slicer {needed} or later, and this is {found}. Install a newer Slicer.").format(
            needed=needed, found=found
        )

    def problems(self, parameters: Any) -> dict[str, str]:
        """Field -> what keeps the registration from starting, in a sentence."""
        from RegistrationNetLib.panel.inputs import problems

        return problems(parameters)

    def comparisons(self) -> dict[str, str]:
        """How a result can be compared with the fixed volume, in words."""
        return {
            "blend": _("warped over fixed"),
            "fixed": _("fixed alone"),
            "warped": _("warped alone"),
            "checkerboard": _("checkerboard"),
            "edges": _("edges of the warped volume"),
            "difference": _("difference"),
            "jacobian": _("Jacobian map: where tissue grew or shrank"),
        }

    def flickers(self, transform: Any) -> dict[str, str]:
        """With what a result can be seen in turn, in words."""
        from RegistrationNetLib.scene import compare

        found = {"fixed": _("the fixed volume")}
        if transform is not None and compare.before_refining(transform) is not None:
            found["earlier"] = _("the result before refining")
        return found

    def figuresLayout(self) -> int:
        from RegistrationNetLib.scene import figures

        return int(figures.LAYOUT)

    def chooseFigures(self, transform: Any) -> None:
        """Let table and plot views show those of a result."""
        from RegistrationNetLib.scene import figures

        figures.choose(slicer.app.applicationLogic(), transform)

    def groups(self) -> list[Any]:
        """Folders, sequences and volumes of the scene of which all volumes can be registered."""
        from RegistrationNetLib.scene.groups import groups

        return groups(slicer.mrmlScene)

    def start(self, parameters: Any, moving: Any, alone: bool = True) -> Any:
        """A registration of the moving volume under way (`RegistrationNetLib.panel.run.Run`).

        alone: with what was chosen for this pair; else only with what belongs to the fixed volume. Raises
        RegistrationError for what cannot be registered.
        """
        from RegistrationNetLib.scene import register_nodes

        extra = {
            "fixed_mask": parameters.fixedMask,
            "keep_rigid": parameters.keepRigid,
            "keep_volume": parameters.keepVolume,
            "region": parameters.region,
        }
        of_the_pair = {
            **self._judged(parameters),
            "fixed_hints": parameters.fixedHints,
            "moving_hints": parameters.movingHints,
            "initial_transform": parameters.initial,
            "output_transform": parameters.outputTransform,
            "output_volume": parameters.outputVolume,
        }
        fixed, given = parameters.fixed, extra | of_the_pair if alone else extra
        return self._underway(
            parameters, fixed, lambda **asked: register_nodes(fixed, moving, **asked, **given, wait=False)
        )

    def refineProblem(self, parameters: Any) -> str:
        """What keeps a result from being refined, in a sentence."""
        from RegistrationNetLib.panel.inputs import refining

        return refining(parameters)

    def refine(self, parameters: Any, transform: Any) -> Any:
        """A refinement of a result under way, as `start`."""
        from RegistrationNetLib.scene import refine_result, runs

        fixed, moving = runs.pair(transform)
        extra = self._judged(parameters) if (fixed, moving) == (parameters.fixed, parameters.moving) else {}
        extra |= {
            "region": parameters.refineRegion,
            "fixed_points": parameters.fixedRefinePoints,
            "moving_points": parameters.movingRefinePoints,
        }
        return self._underway(parameters, fixed, lambda **asked: refine_result(transform, **asked, **extra))

    def _judged(self, parameters: Any) -> dict[str, Any]:
        """Where the similarity looks, and what measures the result."""
        return {
            "fixed_mask": parameters.fixedMask,
            "moving_mask": parameters.movingMask,
            "fixed_landmarks": parameters.fixedLandmarks,
            "moving_landmarks": parameters.movingLandmarks,
            "fixed_labels": parameters.fixedLabels,
            "moving_labels": parameters.movingLabels,
        }

    def _underway(self, parameters: Any, fixed: Any, call: Any) -> Any:
        """What `call` starts, with the chosen settings and a preview over the fixed volume."""
        from RegistrationNetLib.engine.result import Watch
        from RegistrationNetLib.panel.advanced import chosen
        from RegistrationNetLib.panel.run import Run
        from RegistrationNetLib.scene.preview import Preview

        asked, preview = chosen(parameters), Preview(slicer.mrmlScene, fixed)

        def begin(heard: Any, noted: Any) -> Any:
            watch = Watch(similarity=noted, preview=preview.show)
            return call(settings=asked, on_progress=heard, watch=watch)

        return Run(begin, preview.end)

    def results(self) -> list[Any]:
        """The transforms of all registrations in the scene, the oldest first."""
        from RegistrationNetLib.scene import runs

        return runs.transforms(slicer.mrmlScene)

    def checks(self, transform: Any) -> list[dict[str, str]]:
        """Of a result, how good it is: the whole, then each check, the worst first."""
        from RegistrationNetLib.scene.results import checks_of

        return checks_of(transform)

    def compare(self, transform: Any, mode: str, opacity: float) -> None:
        """Show a result beside the fixed volume in all slice views."""
        from RegistrationNetLib.scene import compare

        compare.show(transform, mode, opacity)

    def remove(self, transform: Any) -> None:
        """Take a result back, with all that it put into the scene."""
        from RegistrationNetLib.scene import runs

        runs.remove(transform)


class RegistrationNetTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network and without PyTorch."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for name in [name for name in dir(self) if name.startswith("test_")]:
            self.setUp()
            getattr(self, name)()

    def test_LogicSaysWhatIsMissing(self) -> None:
        logic = RegistrationNetLogic()
        problems = logic.problems(logic.getParameterNode())
        self.assertEqual(problems["fixed"], "Choose the fixed volume.")
        self.assertEqual(problems["moving"], "Choose the moving volume.")

    def test_LogicRefusesOneVolumeTwice(self) -> None:
        volume = slicer.util.addVolumeFromArray(numpy.zeros((3, 4, 5)), name="brain")
        logic = RegistrationNetLogic()
        parameters = logic.getParameterNode()
        parameters.fixed = parameters.moving = volume
        self.assertIn("'brain' is chosen twice", logic.problems(parameters)["moving"])

    def test_PanelFollowsItsParameters(self) -> None:
        frame = slicer.modules.registrationnet.widgetRepresentation()
        frame.enter()
        panel = frame.self()
        fixed, _moving = self._pair()
        panel.ui.fixedSelector.setCurrentNode(fixed)
        self.assertIs(panel.logic.getParameterNode().fixed, fixed)
        panel.logic.getParameterNode().preset = "fast"
        self.assertEqual(panel.ui.presetComboBox.currentText, "fast")
        self.assertFalse(panel.ui.registerButton.enabled)
        self.assertTrue(panel.ui.registerButton.toolTip)
        frame.exit()

    def test_ResultIsShownAndTakenBackWithoutATrace(self) -> None:
        logic, (fixed, moving) = RegistrationNetLogic(), self._pair()
        transform = self._place(fixed, moving)
        moved = [0.0, 0.0, 0.0]
        moving.TransformPointToWorld((1.0, 2.0, 3.0), moved)
        numpy.testing.assert_allclose(moved, (6.0, 2.0, 3.0))
        self.assertEqual(logic.results(), [transform])
        self.assertEqual(logic.checks(transform)[0]["name"], "Overlap")
        for mode in logic.comparisons():
            logic.compare(transform, mode, 0.5)
        logic.chooseFigures(transform)
        logic.remove(transform)
        self.assertEqual(logic.results(), [])
        self.assertIsNone(moving.GetParentTransformNode())
        nodes = [slicer.mrmlScene.GetNthNode(k) for k in range(slicer.mrmlScene.GetNumberOfNodes())]
        self.assertEqual([node.GetName() for node in nodes if node.GetAttribute("RegistrationNet.Run")], [])

    def test_ChosenOutputHoldsAgainWhatItHeld(self) -> None:
        fixed, moving = self._pair()
        output = slicer.util.addVolumeFromArray(numpy.full((2, 3, 4), 7.0), name="chosen")
        transform = self._place(fixed, moving, output)
        self.assertEqual(slicer.util.arrayFromVolume(output).shape, (6, 7, 8))
        RegistrationNetLogic().remove(transform)
        self.assertTrue(numpy.array_equal(slicer.util.arrayFromVolume(output), numpy.full((2, 3, 4), 7.0)))

    def _pair(self) -> tuple[Any, Any]:
        values = numpy.arange(6 * 7 * 8.0).reshape(6, 7, 8)
        return tuple(slicer.util.addVolumeFromArray(values, name=name) for name in ("fixed", "moving"))

    def _place(self, fixed: Any, moving: Any, output: Any = None) -> Any:
        """The transform of a result, as if found: 5 mm along the first axis."""
        from RegistrationNetLib.core.mapping import Affine, Mapping
        from RegistrationNetLib.engine.result import Registration
        from RegistrationNetLib.scene import results, volumes

        shift, image = numpy.eye(4), volumes.image_of(fixed)
        shift[0, 3] = 5.0
        check = dict.fromkeys(("value", "unit", "threshold", "source", "sentence"), "")
        check |= {"name": "Overlap", "verdict": "good"}
        report = {
            "versions": {"registrationnet": ""},
            "model": {"name": "none", "used": False},
            "settings": {"transform": "rigid"},
            "overall": check,
            "checks": [check],
        }
        found = Registration(Mapping((Affine(shift),)), image, image, report)
        return results.place(fixed, moving, found, into=results.Outputs(warped=output)).transform
