"""A patient's curve, the figure of chapter 13, from Python: traits, numbers, picture."""

import io

import pytest
import torch
from PIL import Image
from traitlets import TraitError

from metasgd_core.studies import load
from metasgd_core.studies import patients as study
from metasgd_core.tasks.patients import Patients
from metasgd_core.theophylline import fitted, patients
from metasgd_core.widgets import PatientCurve
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.patientcurve import FIRST, KNOWN, PEOPLE, ROW, _packed, network

BAD = {
    "patient": "13", "hour_1": -0.1, "hour_2": 25.1, "hour_3": float("nan"), "level_1": -1.0,
    "level_2": 15.5, "level_3": float("inf"), "slip": "yes", "bounded": 2,
}
HOURS = torch.linspace(0, 25, 51, dtype=torch.float64)


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_a_bad_state_is_refused_and_named(name, value):
    figure = PatientCurve()
    kept = getattr(figure, name)
    with pytest.raises(TraitError, match=name):
        PatientCurve(**{name: value})
    with pytest.raises(TraitError, match=name):
        setattr(figure, name, value)
    assert getattr(figure, name) == kept


def test_every_trait_of_the_page_is_tried():
    assert set(BAD) == set(PatientCurve()._state)


def test_the_twelve_are_all_there_and_can_be_shown():
    """Else a slider or the picture would cut a measurement off; two of them are never one."""
    given = CONSTANTS["patientcurve"]
    assert [one[0] for one in given["patients"]] == [str(k) for k in range(1, 13)] == [*PEOPLE]
    for one in patients():
        assert all(0 <= t <= given["ranges"]["hour_1"][1] for t in one.hours)
        assert all(0 <= c <= given["ranges"]["level_1"][1] for c in one.level)
        assert min(b - a for a, b in zip(one.hours, one.hours[1:])) > given["near"][0]


@pytest.mark.parametrize("patient", PEOPLE)
def test_it_begins_with_three_of_the_patients_own_measurements(patient):
    one, figure = PEOPLE[patient], PatientCurve(patient=patient)
    assert figure.samples() == ([one.hours[i] for i in KNOWN], [one.level[i] for i in KNOWN])
    assert figure.asked() == [i for i in range(10) if i not in KNOWN]


@pytest.mark.parametrize(("slip", "bounded", "kind"), [
    (False, False, "real"), (True, False, "poisoned"), (True, True, "bounded"),
    (False, True, "safe"),
])  # fmt: skip
def test_the_network_does_what_the_study_counted(slip, bounded, kind):
    """One choice of known samples of one patient: the first sample is poisoned here and there."""
    who, choice = 4, 2
    one, order = patients()[who], study.choices(3)[who, choice]
    taken = {}
    for k, i in enumerate(order[:3].tolist(), 1):
        taken |= {f"hour_{k}": one.hours[i], f"level_{k}": one.level[i]}
    figure = PatientCurve(patient=one.subject, slip=slip, bounded=bounded, **taken)
    assert figure.asked() == order[3:].tolist()
    stored = load("patients").tensors[f"{ROW}/{kind}"][0, :2, who, choice]
    errors = figure.errors()
    assert [errors["before"], errors["after"]] == pytest.approx(stored.sqrt().tolist(), rel=1e-3)


def test_the_formula_is_the_clinics():
    figure, one = PatientCurve(slip=True), PEOPLE[FIRST]
    hours, level = ([part[i] for i in KNOWN] for part in (one.hours, one.level))
    level[0] *= study.SLIP
    told = fitted(Patients(), hours, level, one.dose)(HOURS)
    torch.testing.assert_close(figure.curves(HOURS)["formula"], told, rtol=0, atol=1e-5)


def test_samples_in_any_order_are_the_same():
    """Dragged across one another; the slip stays with the first of them."""
    one, other = PatientCurve(), PatientCurve()
    one.hour_1, one.level_1, one.hour_3, one.level_3 = 12.0, 4.0, 1.0, 6.0
    other.hour_1, other.level_1, other.hour_3, other.level_3 = 1.0, 6.0, 12.0, 4.0
    assert one.samples() == other.samples()
    one.slip = other.slip = True
    assert one.samples()[1][-1] == 40.0
    assert other.samples()[1][0] == 60.0


@pytest.mark.parametrize("state", [
    {"hour_1": 3.0, "hour_2": 3.0, "hour_3": 3.0}, {"hour_1": 0.0, "hour_2": 0.0, "hour_3": 0.0},
    {"hour_1": 25.0, "hour_2": 25.0, "hour_3": 25.0},
    {"level_1": 0.0, "level_2": 0.0, "level_3": 0.0},
    {"level_1": 15.0, "level_2": 15.0, "level_3": 15.0, "slip": True},
])  # fmt: skip
def test_what_cannot_be_measured_is_told_all_the_same(state):
    figure = PatientCurve(**state)
    assert all(curve.isfinite().all() for curve in figure.curves(HOURS).values())
    assert figure.picture().startswith(b"\x89PNG")


def test_the_page_gets_the_studys_numbers():
    """Theta and then alpha of the first seed, in the order in which the page lays them out."""
    numbers = 2 * (40 * 3 + 40 + 40 * 40 + 40 + 40 + 1)
    assert len(_packed()) == 4 * numbers
    tensors = load("patients").tensors
    assert list(network()[0]) == [name for name, _ in Patients().model.named_parameters()]
    for at, kind in ((0, "theta"), (2 * numbers, "alpha")):
        first = tensors[f"{ROW}/{kind}.layers.0.weight"][0]
        assert _packed()[at:].startswith(first.numpy().astype("<f4").tobytes())


def test_the_picture_shows_the_state():
    states = ({}, {"patient": "3"}, {"slip": True}, {"slip": True, "bounded": True},
              {"level_3": 0.5})  # fmt: skip
    pictures = [Image.open(io.BytesIO(PatientCurve(**state).picture())) for state in states]
    assert all(picture.size == (600, 460) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(states)
