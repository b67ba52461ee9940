"""The page says which real pairs have a floor, and a pair below its own is not acceptable."""

from benchmarks.pairs import FLOORS, PAIRS, acceptable, guarded


def test_the_pairs_with_a_floor_are_named_with_their_measure():
    said = guarded()
    assert said.count("; ") == len(FLOORS) - 1
    assert "brain_oasis 1003 onto 1000 (Dice at least 0.65)" in said
    assert "lung_ct followup onto baseline (TRE at most 2.2 mm)" in said


def test_a_fold_is_acceptable_nowhere_and_accuracy_is_guarded_where_there_is_a_floor():
    def report(dice: float, folded: int) -> dict:
        return {"quality": {"dice": {"after": dice}}, "jacobian": {"folded_voxels": folded}}

    named = {pair.name: pair for pair in PAIRS}
    guarded, shown = named["brain_oasis 1003 onto 1000"], named["brain_oasis 1001 onto 1000"]
    assert acceptable(guarded, report(0.66, 0))
    assert not acceptable(guarded, report(0.64, 0))
    assert acceptable(shown, report(0.1, 0))
    assert not acceptable(shown, report(0.9, 1))
