"""The vote of members, their disagreement, and both at a photo's own size."""

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.tasks.parts import Parts


def answers(*rows):
    """Logits M 1 L of members that give these probabilities."""
    return torch.tensor(rows).clamp_min(1e-9).log()[:, None]


def test_the_majority_wins_over_the_surest():
    votes, _ = Parts.counted(answers([0.51, 0.49], [0.51, 0.49], [0.0, 1.0]))
    assert votes.argmax(-1).tolist() == [0]  # though the mean probability is higher for the other


def test_a_tie_goes_to_the_higher_mean_probability():
    votes, _ = Parts.counted(answers([0.6, 0.4], [0.1, 0.9]))
    assert votes.argmax(-1).tolist() == [1]


def test_the_divergence_by_hand():
    _, same = Parts.counted(answers([0.7, 0.3], [0.7, 0.3]))
    _, apart = Parts.counted(answers([1.0, 0.0], [0.0, 1.0]))
    _, halfway = Parts.counted(answers([1.0, 0.0], [0.5, 0.5]))
    assert abs(float(same)) < 1e-6
    assert abs(float(apart) - np.log(2)) < 1e-5
    by_hand = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) - 0.5 * np.log(2)
    assert abs(float(halfway) - by_hand) < 1e-5


def test_enlarged_votes_decide_at_the_photos_size(monkeypatch):
    monkeypatch.setattr("shiftless.tasks.parts._STRIP", 100)  # several strips
    torch.manual_seed(0)
    votes, divergence = torch.rand(3, 20), torch.rand(1, 20)
    parts = Parts.on((4, 5), votes, divergence, (13, 11), "a.png")
    large = F.interpolate(torch.cat([votes, divergence]).view(1, 4, 4, 5), (13, 11), mode="bilinear")[0]
    assert (parts.mask == large[:3].argmax(0).numpy()).all()
    np.testing.assert_allclose(parts.uncertainty, large[3], atol=1e-6)
    assert parts.areas(3).sum() == 13 * 11
    assert parts.mask.dtype == np.uint8


def test_a_grid_of_the_photos_size_is_taken_as_it_is():
    votes = torch.eye(2)
    assert Parts.on((2, 1), votes, torch.zeros(1, 2), (2, 1), "a").mask.tolist() == [[0], [1]]
