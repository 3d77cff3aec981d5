from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_lung.errors import InputError
from monai_lung.inference.networks import DelineateSettings, Delineator
from monai_lung.training.slice_dataset import FlatNodule, SliceDataset
from research.study import malignancy, protocol, segmentation
from research.study.store import Predictions, Study


class Dense(nn.Module):
    """A probability of 0.3 where the image is dense, 0.02 elsewhere."""

    def forward(self, image: Tensor) -> Tensor:
        p = torch.where(image > 0.4, 0.3, 0.02)
        return torch.logit(p)


def delineator(threshold: float = 0.5) -> Delineator:
    return Delineator(Dense(), DelineateSettings((0.8, 0.8, 1.5), (25, 25, 12), threshold), torch.device("cpu"))


def test_the_threshold_is_the_one_that_segments_best(study: Study) -> None:
    best = segmentation.best_threshold(study.crops[:4], delineator())
    assert best <= 0.3
    crop = study.crops[1]
    mask = segmentation.delineated(crop, delineator(best))
    assert 2 * (mask & (crop.share >= 0.5)).sum() / (mask.sum() + (crop.share >= 0.5).sum()) > 0.9
    assert not segmentation.delineated(crop, delineator(0.5)).any()


def test_masks_come_back_as_they_were_predicted_for_the_held_out_patients_alone(run_study: Study) -> None:
    masks = segmentation.load_masks(run_study, "unet", 1)
    held = run_study.split(1)[1]
    assert masks is not None
    assert list(masks) == [c.row.id for c in held]
    assert all(masks[c.row.id].shape == c.hu.shape for c in held)
    facts = Predictions.load(run_study.path("segmentation", "unet", 1)).facts
    assert facts["steps"] == 2
    assert segmentation.load_masks(run_study, "v-net", 1) is None


def test_what_is_done_is_not_done_again(run_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        pytest.fail("trained again")

    monkeypatch.setattr(segmentation, "fit", fail)
    monkeypatch.setattr(malignancy, "fit", fail)
    segmentation.run(run_study, "unet", 0)
    malignancy.run(run_study, "nodule-resnet", 0)
    with pytest.raises(pytest.fail.Exception):
        segmentation.run(run_study, "fcn", 0)


def test_what_another_budget_left_is_done_anew(study: Study) -> None:
    path = study.path("segmentation", "fcn", 0)
    segmentation.run(study, "fcn", 0)
    task = study.budget.segmentation
    longer = replace(study, budget=replace(study.budget, segmentation=replace(task, steps=task.steps + 1)))
    segmentation.run(longer, "fcn", 0)
    assert Predictions.load(path).facts["steps"] == len(Predictions.load(path).loss) == task.steps + 1


def test_raters_and_marks_of_another_budget_do_not_count(run_study: Study) -> None:
    longer = replace(run_study, budget=replace(run_study.budget, rating=replace(run_study.budget.rating, batch=3)))
    assert malignancy.load(run_study, "nodule-resnet", 0)
    assert malignancy.load(longer, "nodule-resnet", 0) is None
    assert protocol.load(longer, "boosting", "mark", 0)


def test_features_are_measured_again_on_other_masks(study: Study) -> None:
    segmentation.run(study, segmentation.OURS, 0)
    first = malignancy.features(study, "predicted", 0)
    path = study.path("segmentation", segmentation.OURS, 0)
    masks = Predictions.load(path)
    full = {i: np.packbits(c.votes > 0) for i, c in ((c.row.id, c) for c in study.split(0)[1])}
    Predictions(masks.ids, full, masks.loss, masks.facts).save(path)
    second = malignancy.features(study, "predicted", 0)
    assert first is not None
    assert second is not None
    assert not np.array_equal(first.values["features"], second.values["features"])


def test_damaged_predictions_are_named(study: Study) -> None:
    path = study.path("segmentation", "unet", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(InputError, match=r"fold-0\.npz"):
        segmentation.load_masks(study, "unet", 0)


def test_masks_that_come_later_are_rated_by_the_kept_network(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    malignancy.run(study, "nodule-resnet", 0)
    path = study.path("malignancy", "nodule-resnet", 0)
    before = Predictions.load(path)
    assert np.isnan(before.values["predicted"]).all()
    segmentation.run(study, segmentation.OURS, 0)
    monkeypatch.setattr(malignancy, "fit", lambda *a, **k: pytest.fail("trained again"))
    malignancy.run(study, "nodule-resnet", 0)
    after = Predictions.load(path)
    assert np.isfinite(after.values["predicted"]).all()
    np.testing.assert_allclose(after.values["readers"], before.values["readers"], atol=1e-5)


@pytest.mark.parametrize("name", ["regression", "boosting", "kernel"])
def test_a_fold_is_never_scored_by_its_own_labels(study: Study, name: str) -> None:
    by_fold = {f: (malignancy.features(study, "readers", f),) * 2 for f in range(2)}
    labels = {c.row.id: [max(c.row.ratings["malignancy"]) > 3] for c in study.crops}
    own = {c.row.id for c in study.split(0)[1]}
    turned = {i: [not v[0]] if i in own else v for i, v in labels.items()}
    first, second = (malignancy.cross_fitted(name, given, by_fold) for given in (labels, turned))
    assert all(first[i] == second[i] for i in own)
    assert any(first[i] != second[i] for i in set(first) - own)


def test_large_balls_are_rated_higher_by_simple_models(study: Study) -> None:
    by_fold = {f: (malignancy.features(study, "readers", f),) * 2 for f in range(2)}
    labels = {c.row.id: [(c.row.diameter_mm or 0) > 8] for c in study.crops}
    for name in malignancy.SIMPLE:
        scores = malignancy.cross_fitted(name, labels, by_fold)
        low, high = ([scores[i] for i, v in labels.items() if v[0] == big] for big in (False, True))
        assert np.mean(high) > np.mean(low)


def test_a_mark_is_one_reader_with_his_own_rating(study: Study) -> None:
    crop = study.crops[0]  # rated 1 3 5: the second reader says nothing
    (first, low), (third, high) = protocol.marks_of(crop)
    assert (first, third) == (0, 2)
    assert low.row.ratings["malignancy"] == (1,)
    assert high.row.ratings["malignancy"] == (5,)
    assert (high.readers > 0).sum() == ((crop.readers >> 2) & 1).sum() > (low.readers > 0).sum()


def test_only_the_split_by_patient_keeps_sides_apart(study: Study) -> None:
    by = {unit: protocol.split(study, unit, 0) for unit in protocol.UNITS}
    total = {len(s.train) + len(s.held) for s in by.values()}
    assert total == {sum(len(protocol.marks_of(c)) for c in study.crops)}
    assert by["patient"].shared_patients == by["patient"].shared_nodules == by["nodule"].shared_nodules == 0
    assert by["nodule"].shared_patients > 0
    assert by["mark"].shared_nodules > 0


def test_balanced_draws_give_each_side_the_same_share(study: Study) -> None:
    nodules = [malignancy.flat_crop(crop) for crop in study.crops]
    shares = malignancy._balance(malignancy.SliceDataset(nodules, 0.75, 16))
    sides = [np.sign(np.mean(crop.row.ratings["malignancy"]) - 3) for crop in study.crops]
    assert len(set(sides)) > 1
    each = [sum(s for s, side in zip(shares, sides, strict=True) if side == one) for one in set(sides)]
    np.testing.assert_allclose(each, 1)


def test_malignancy_alone_learns_from_no_other_rating() -> None:
    at = malignancy.SLICE_TARGETS.index("malignancy")
    logits = torch.zeros(2, len(malignancy.SLICE_TARGETS), requires_grad=True)
    malignancy._malignancy_alone(logits, torch.ones(2, 2, logits.shape[1])).backward()
    assert logits.grad is not None
    assert logits.grad[:, at].abs().min() > 0
    assert torch.count_nonzero(logits.grad) == 2


@pytest.mark.parametrize(("name", "extra"), [("slices", True), ("crop-slices", False)])
def test_no_slice_of_a_held_out_patient_is_learned(
    study: Study, monkeypatch: pytest.MonkeyPatch, name: str, extra: bool
) -> None:
    learnt: list[list[FlatNodule]] = []

    class Seen(SliceDataset):
        def __init__(self, nodules: list[FlatNodule], *args: object, **kwargs: object) -> None:
            learnt.append(list(nodules))
            super().__init__(nodules, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(malignancy, "SliceDataset", Seen)
    for fold in range(2):
        malignancy.run(study, name, fold)
        held = {c.row.patient for c in study.split(fold)[1]}
        assert held.isdisjoint({n.row.patient for n in learnt[fold]})
        assert len(learnt[fold]) == (2 if extra else 1) * len(study.split(fold)[0])
        scores = malignancy.load(study, name, fold)
        assert scores is not None
        assert np.isfinite(scores.values["readers"]).all()
