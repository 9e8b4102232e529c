"""Simulated and real patients (chapter 13): the curve, the data, the clinic's fit, the study."""

import hashlib
from dataclasses import replace
from math import nan

import pytest
import torch
from cases import EXACT, gen
from torch.testing import assert_close

from metasgd_core.studies import patients as study
from metasgd_core.studies import read
from metasgd_core.studies.jobs import Job, do
from metasgd_core.tasks.patients import HOURS, LAG, UNIT, Patients, PatientTasks
from metasgd_core.theophylline import FILE, fitted, measured, patients, typical

DOUBLE = Patients().model.double()


def patient(ka=1.5, ke=0.08, volume=0.48, dose=4.6, late=0.0):
    return PatientTasks(*(torch.tensor(v, dtype=torch.float64)
                          for v in (ka, ke, volume, dose, late)))  # fmt: skip


def test_the_curve_is_that_of_one_compartment():
    """dC/dt = ka A / V - ke C, where A e^(-ka t) is still to be absorbed; and all is used up."""
    t = torch.linspace(0.01, 20, 50, dtype=torch.float64).requires_grad_()
    one = patient()
    level = one(t)
    (slope,) = torch.autograd.grad(level.sum(), t)
    gained = one.absorption * one.dose * torch.exp(-one.absorption * t) / one.volume
    assert_close(slope, gained - one.elimination * level)
    assert one(torch.zeros(1, dtype=torch.float64)) == 0
    assert one(torch.tensor([500.0], dtype=torch.float64)) < 1e-12


def test_equal_rates_are_the_limit_of_nearly_equal_ones():
    """The usual formula divides zero by zero there."""
    t = torch.linspace(0, 20, 50, dtype=torch.float64)
    assert_close(patient(ka=0.3, ke=0.3)(t), patient(ka=0.3, ke=0.3 + 1e-7)(t), rtol=1e-5, atol=0)


def test_what_is_absorbed_late_comes_later_and_is_no_less():
    t = torch.linspace(0, 300, 30_001, dtype=torch.float64)
    early, late, part = patient()(t), patient(late=1.0)(t), patient(late=0.4)(t)
    assert_close(part, 0.6 * early + 0.4 * late)
    assert (late[t <= LAG] == 0).all()
    assert_close(torch.trapezoid(late, t), torch.trapezoid(early, t), rtol=1e-4, atol=0)


def test_no_sample_is_both_known_and_asked():
    """Blood is taken ten times, each time once: or the query would hold the support."""
    family = Patients(DOUBLE, noise=(0.0, 0.0))
    tasks = family.sample_tasks(50, generator=gen())
    data = family.sample_data(tasks, None, 10, generator=gen(1))
    hours = 12 * data.x[..., 1]
    expected = torch.tensor(HOURS, dtype=torch.float64).expand(50, -1)
    assert_close(hours.sort(-1).values, expected, rtol=0.25, atol=0)
    assert_close(UNIT * data.y[..., 0], tasks(hours))


def test_noise_is_as_large_as_it_is_said_to_be():
    family = Patients(DOUBLE, noise=(0.2, 0.1))
    tasks = PatientTasks(*(part.expand(20_000) for part in patient()))
    data = family.sample_data(tasks, None, 1, generator=gen())
    truth = tasks(12 * data.x[..., 1])
    off = (UNIT * data.y[..., 0] - truth) / (0.2 + 0.1 * truth)
    assert abs(off.std() - 1) < 0.02
    assert abs(off.mean()) < 0.03


@pytest.mark.parametrize(("name", "value"), [
    ("absorption", (0.0, 0.6)), ("volume", (0.48, -1.0)), ("dose", (nan, 1.0)),
    ("noise", (-0.3, 0.0)), ("late", (0.5, 1.5)), ("late", (0.5, 0.2)),
])
def test_an_impossible_population_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Patients(**{name: value})


def test_more_samples_than_there_are_is_refused_in_a_sentence():
    family = Patients(DOUBLE)
    with pytest.raises(ValueError, match="10 times, and 11 are asked for"):
        family.sample_data(family.sample_tasks(2, generator=gen()), None, 11, generator=gen())


def test_the_twelve_are_as_they_were_published():
    """All 132 rows: whoever tries another method on them must have the same numbers."""
    text = FILE.read_bytes()
    assert len(text.splitlines()) == 133
    assert hashlib.sha256(text).hexdigest().startswith("a3d56600076ee324")
    twelve = patients()
    assert len(twelve) == 12
    assert {len(one.hours) for one in twelve} == {len(HOURS)}
    assert twelve[0].hours[:2] == [0.25, 0.57]
    assert twelve[0].level[:2] == [2.84, 6.57]
    assert 3.1 <= min(one.dose for one in twelve) <= max(one.dose for one in twelve) <= 5.9


@pytest.mark.parametrize(("hours", "level", "dose", "said"), [
    ([], [], 4.0, "needs samples"),
    ([1.0, 2.0], [3.0], 4.0, "2 hours and 1 levels"),
    ([2.0, 1.0], [3.0, 3.0], 4.0, "ascend"),
    ([1.0, 1.0], [3.0, 3.0], 4.0, "ascend"),
    ([1.0, nan], [3.0, 3.0], 4.0, "ascend"),
    ([-1.0], [3.0], 4.0, "from the dose on"),
    ([1.0], [-3.0], 4.0, "from 0 on"),
    ([1.0], [nan], 4.0, "from 0 on"),
    ([1.0], [3.0], 0.0, "the dose above 0"),
])
def test_bad_samples_are_refused_in_a_sentence(hours, level, dose, said):
    for use in (measured, lambda *given: fitted(Patients(), *given)):
        with pytest.raises(ValueError, match=said):
            use(hours, level, dose)


@pytest.mark.parametrize(("noise", "level"), [((0.0, 0.08), 0.0), ((0.0, 0.0), 3.0)])
def test_a_sample_without_noise_is_refused_by_the_fit(noise, level):
    """Divided by 0, the residuals are infinite, and scipy speaks of its own arguments."""
    with pytest.raises(ValueError, match=f"needs a noise above 0.*none for a level of {level:g}"):
        fitted(Patients(noise=noise), [1.0, 2.0], [level, 5.0], 4.0)
    assert fitted(Patients(noise=(1e-3, 0.08)), [1.0, 2.0], [level, 5.0], 4.0).volume > 0


def test_the_fit_finds_a_patient_whose_samples_hold_no_noise():
    """With little noise to reckon with, the samples outweigh the population."""
    family, one = replace(Patients(), noise=(1e-3, 0.0)), patient(ka=0.9, ke=0.1, volume=0.55)
    t = torch.tensor(HOURS, dtype=torch.float64)
    found = fitted(family, HOURS, one(t).tolist(), 4.6)
    assert_close(found(t), one(t), rtol=1e-3, atol=1e-3)


def test_the_fit_stands_between_the_population_and_the_samples():
    """One sample: the curve is drawn towards it, and not through it."""
    family, t = Patients(), torch.tensor([2.0], dtype=torch.float64)
    middle = typical(family, 4.6)(t)
    drawn = fitted(family, [2.0], [12.0], 4.6)(t)
    assert float(middle) + 0.5 < float(drawn) < 11.5


def test_a_robust_fit_is_the_plain_one_where_nothing_is_odd_and_withstands_a_slip():
    family, one = Patients(), patient()
    hours = [0.5, 3.5, 12.0]
    level = one(torch.tensor(hours, dtype=torch.float64)).tolist()
    t = torch.tensor(HOURS, dtype=torch.float64)
    assert_close(fitted(family, hours, level, 4.6, robust=True)(t),
                 fitted(family, hours, level, 4.6)(t), rtol=1e-3, atol=1e-3)
    slipped = [10 * level[0], *level[1:]]
    off = {robust: (fitted(family, hours, slipped, 4.6, robust=robust)(t) - one(t)).abs().mean()
           for robust in (False, True)}
    assert off[True] < off[False]


def test_known_and_asked_samples_of_real_patients_are_apart_and_all_there():
    for shots in study.SHOTS:
        support, query = study.samples(shots)
        assert support.x.shape == (12, study.CHOICES, shots, 3)
        hours = torch.cat([12 * support.x[..., 1], 12 * query.x[..., 1]], -1).sort(-1).values
        expected = torch.tensor([one.hours for one in patients()])
        assert_close(hours, expected[:, None].expand_as(hours))
    slipped, _ = study.samples(3, slip=10.0)
    plain, _ = study.samples(3)
    assert_close(slipped.y[..., 0, :], 10 * plain.y[..., 0, :])
    assert_close(slipped.y[..., 1:, :], plain.y[..., 1:, :], **EXACT)


def test_a_bounded_step_is_a_plain_one_while_no_residual_is_large():
    family = Patients(DOUBLE)
    phi = {n: p[None].detach() for n, p in DOUBLE.named_parameters()}
    data = family.sample_data(family.sample_tasks(1, generator=gen()), None, 3, generator=gen(1))
    told = data.y.clone()
    with torch.no_grad():
        told = DOUBLE(data.x)
    near = data._replace(y=told + 0.9 * study.BOUND)
    far = data._replace(y=told + 100.0)
    assert_close(study.bounded(family, phi, near), family.loss(phi, near))
    assert study.bounded(family, phi, far) < 0.02 * family.loss(phi, far)


@pytest.mark.parametrize("name", ["Meta-SGD, 3 known", "joint, 3 known", study.FORMULA])
def test_every_kind_of_job_is_done(name, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SEEDS", 2)
    monkeypatch.setattr(study, "CHOICES", 2)
    do(study.work, Job(name, tmp_path, quick=True))
    found = read(tmp_path / f"{name}.safetensors").tensors
    if name == study.FORMULA:
        assert {key: part.shape for key, part in found.items()} == {
            "3 known": (12, 2), "3 poisoned": (12, 2), "3 robust": (12, 2), "3 typical": (12, 2),
            "3 simulated": (10,), "3 wrong": (10,),
        }
        return
    for key in ("real", "poisoned", "bounded", "safe"):
        assert found[key].shape == (2, 3, 12, 2)
    assert found["errors"].shape == (12,)
    for part in ("theta", "alpha"):
        assert (f"{part}.layers.0.weight" in found) is ("Meta-SGD" in name)
