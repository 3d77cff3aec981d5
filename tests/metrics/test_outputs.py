from __future__ import annotations

import torch

from monai_lung.metrics.outputs import MalignancyScoresd, TrustedMasksd, rated


def item(target: float, weight: float = 1.0, logit: float = 2.0) -> dict[str, torch.Tensor]:
    """A rating's logits (3,) and label (2, 3); malignancy is the second."""
    return {"pred": torch.tensor([9.0, logit, 9.0]), "label": torch.tensor([[1.0, target, 0], [1, weight, 0]])}


def test_a_mean_of_three_and_the_unrated_are_left_out() -> None:
    scored = [MalignancyScoresd()(i) for i in (item(0.75), item(0.5), item(0.25, logit=-1), item(0.0, weight=0))]
    scores, labels = rated(scored)
    assert [float(s) for s in scores] == [2.0, -1.0]
    assert [float(s) for s in labels] == [1.0, 0.0]


def test_masks_are_cut_where_the_label_isnt_trusted() -> None:
    pred = torch.tensor([1.0, -1.0, 1.0, 0.0]).reshape(1, 4, 1, 1)
    label = torch.tensor([[0.4, 0.5, 1.0, 1.0], [1, 1, 0, 1]]).reshape(2, 4, 1, 1)
    result = TrustedMasksd()({"pred": pred, "label": label})
    assert result["pred"].flatten().tolist() == [1, 0, 0, 1]
    assert result["label"].flatten().tolist() == [0, 1, 0, 1]
