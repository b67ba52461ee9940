"""A tracked study as the course that response criteria judge: each lesion's finding at each scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from RegistrationNetLib.lesions import criteria as judging
from RegistrationNetLib.lesions.criteria import Assessment, Course, Finding, Followed, State, Visit
from RegistrationNetLib.lesions.events import Node
from RegistrationNetLib.lesions.follow import Tracking, measured
from RegistrationNetLib.lesions.irecist import irecist
from RegistrationNetLib.lesions.recist import recist
from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.lesions.table import origins
from RegistrationNetLib.lesions.volumetric import volumetric

CRITERIA: dict[str, Callable[[Course], tuple[Assessment, ...]]] = {
    "recist": recist,
    "irecist": irecist,
    "volumetric": volumetric,
}
"""What a study may be judged by."""


def course(tracking: Tracking) -> Course:
    """Of the scans on which lesions were outlined: what fell apart is summed, what merged is measured once, for the
    lesion that was the largest of them when first seen."""
    roots = origins(tracking.history)
    firsts = list(dict.fromkeys(root for node in roots for root in sorted(roots[node])))
    lesions = tuple(_lesion(tracking, root) for root in firsts)
    visits = []
    for scan in tracking.study.scans:
        if scan.lesions is None:
            continue
        here = {node: roots[node] for node in roots if node[0] == scan.name}
        findings = tuple(
            _finding(tracking, lesion.name, root, scan.name, here)
            for lesion, root in zip(lesions, firsts, strict=True)
            if root[0] <= scan.name
        )
        visits.append(Visit(scan.day, findings, scan.markers_normal, scan.confirms))
    return Course(lesions, tuple(visits))


def ask_early(study: Study, criteria: Sequence[str]) -> None:
    """Raises InputError for what a criterion needs of the baseline and was not given, before anything is registered."""
    about = [(one.name, study.about(study.scans[0].name, one.name)) for one in study.baseline]
    lesions = tuple(Followed(name, said.role, said.organ, said.node) for name, said in about)
    findings = tuple(
        Finding(one.name) if one.clicked else judging.measured(one.name, measured(one, study.scans[0].image))
        for one in (study.baseline if criteria else ())
    )
    for name in criteria:
        CRITERIA[name](Course(lesions, (Visit(study.scans[0].day, findings),)))


def _lesion(tracking: Tracking, root: Node) -> Followed:
    about = tracking.study.about(*root)
    return Followed(tracking.history.names[root], about.role, about.organ, about.node)


def _finding(tracking: Tracking, name: str, root: Node, timepoint: str, here: dict[Node, frozenset[Node]]) -> Finding:
    nodes = [node for node, came in here.items() if root in came]
    if not nodes:
        return Finding(name, _unseen(tracking, root, timepoint))
    if any(_size(tracking, other) > _size(tracking, root) for node in nodes for other in here[node] - {root}):
        return Finding(name, "merged")
    measures = [tracking.measures[node] for node in nodes if node in tracking.measures]
    if len(measures) < len(nodes):
        return Finding(name)
    return judging.measured(name, *measures)


def _unseen(tracking: Tracking, root: Node, timepoint: str) -> State:
    """Not assessed where the scan does not show its place, else gone."""
    forward = tracking.forwards.get((timepoint, root[1])) if root[0] == tracking.study.scans[0].name else None
    return "not assessed" if forward is not None and forward.lesion is None else "gone"


def _size(tracking: Tracking, node: Node) -> tuple[float, Node]:
    """For comparing; of two equal ones the names decide."""
    measures = tracking.measures.get(node)
    return (0.0 if measures is None else measures.volume_mm3.value), node
