"""The outcome of a vote is that of the step before the last one."""

from __future__ import annotations

import torch

from trainer.ranks.late_vote import LateVote


def test_a_vote_passes_one_step_later_and_later_changes_of_its_tensor_do_not_matter() -> None:
    vote, votes = LateVote(), torch.zeros(())
    passed = []
    for number in (0.0, 0.0, 1.0, 0.0, 2.0):
        votes.fill_(number)
        vote.cast(votes)
        passed.append(vote.passed())
    assert passed == [False, False, False, True, False]
