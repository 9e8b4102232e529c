"""A policy with memory (chapter 15): its trials, its advantages, its trainings."""

import pytest
import torch
from cases import gen
from torch.testing import assert_close

from metasgd_core.checkpoint import load_checkpoint
from metasgd_core.studies import rl2
from metasgd_core.studies.jobs import Job, do, read
from metasgd_core.tasks.cartpole import CartPole

ROW = rl2.Row()


def agent(memory=True):
    torch.manual_seed(0)
    return rl2.Agent(memory)


def carts(n=6):
    return CartPole(secret_side=True).sample_tasks(n, generator=gen(1))


def test_a_trial_goes_on_after_a_fall_and_the_agent_is_told():
    """Else the memory is of another cart, or the agent cannot know that it has fallen."""
    played = rl2.play(agent(), ROW, carts(), 60, 40, gen())
    over = played.fallen | played.cut_off
    assert played.fallen.any()
    begun = played.seen[..., 6]
    assert (begun[0] == 1).all()
    assert_close(begun[1:], over[:-1].float())
    assert_close(played.seen[1:, :, 4], 2 * played.action[:-1] - 1)
    assert_close(played.seen[1:, :, 5], 2 * played.reward[:-1] - 1)
    assert (played.seen[0, :, 4] == 0).all()
    start = played.seen[..., 0][begun == 1] / ROW.position
    assert start.abs().max() <= 0.05
    quiet = rl2.play(agent(), ROW, carts(), 60, 7, gen())
    assert quiet.cut_off.any()
    ends = (quiet.fallen | quiet.cut_off).nonzero()
    assert (ends[:, 0] < 60).all()


def test_what_was_played_can_be_computed_again_in_one_piece():
    """PPO compares with the probabilities of the play: both must be the same function."""
    net = agent()
    played = rl2.play(net, ROW, carts(), 30, 20, gen())
    logit, value, _ = net(played.seen)
    sign = 2 * played.action - 1
    assert_close(torch.nn.functional.logsigmoid(sign * logit), played.log_prob)
    assert_close(value, played.value)


def test_the_side_pays_and_changes_after_the_first_episode_if_it_is_flipped():
    tasks = carts()
    for flip in (False, True):
        played = rl2.play(agent(), ROW, tasks, 80, 15, gen(), flip=flip)
        over = (played.fallen | played.cut_off).cumsum(0)
        first = torch.cat([torch.zeros_like(over[:1]), over[:-1]]) == 0
        side = torch.where(first | (not flip), tasks.side, -tasks.side)
        after = played.seen[1:, :, 0]
        whole = ~(played.fallen | played.cut_off)[:-1]  # else the next state is of a new episode
        expected = (side[:-1] * after > 0).float()
        assert_close(played.reward[:-1][whole], expected[whole])


def test_advantages_by_a_plain_loop():
    """A fall ends the count; a cut-off leaves the value of its state in the place of the rest."""
    played = rl2.play(agent(), ROW, carts(3), 25, 8, gen())
    assert played.cut_off.any()
    got = rl2.advantages(played)
    for k in range(3):
        for t in range(25):
            total, weight = 0.0, 1.0
            for u in range(t, 25):
                after = played.value[u + 1, k] if u < 24 else played.last[k]
                if played.cut_off[u, k]:
                    after = played.value[u, k]
                if played.fallen[u, k]:
                    after = torch.tensor(0.0)
                total += weight * (played.reward[u, k] + 0.99 * after - played.value[u, k])
                weight *= 0.99 * 0.95
                if played.fallen[u, k] or played.cut_off[u, k]:
                    break
            assert_close(got[t, k], torch.as_tensor(total), rtol=1e-4, atol=1e-5)


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path):
    def ends(name, *parts):
        for iterations in parts:  # a kill: the rest is left in the iterator
            records = rl2.train(ROW, 3, iterations=3, trials=4, steps=12,
                                checkpoint=tmp_path / name)  # fmt: skip
            for record in records:
                if record.iteration == iterations:
                    break
        return record.theta

    whole, resumed = ends("a", 3), ends("b", 1, 3)
    assert load_checkpoint(tmp_path / "b")[1]["done"] == 3  # where the runner looks for it
    for name, p in whole.items():
        assert torch.equal(p, resumed[name])


def test_learning_makes_what_paid_likelier():
    """Every push to the right pays: after some improvements it is taken more often."""
    net, random = agent(), gen()
    played = rl2.play(net, ROW, carts(64), 10, 10, random)
    played = played._replace(reward=played.action, last=torch.zeros(64))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    before = net(played.seen)[0].mean()
    for _ in range(5):
        rl2.improve(net, optimizer, played, random)
    assert net(played.seen)[0].mean() > before + 0.1


def test_no_agent_can_have_more_than_the_bound():
    """Only those who start on the wrong side lose steps; more pushes look further ahead."""
    assert 490 < rl2.bound(carts=50, pushes=8) <= rl2.bound(carts=50, pushes=4) < 500


@pytest.mark.parametrize("row", ["memory", "no memory"])
def test_each_kind_of_agent_is_trained_and_tested(row, tmp_path):
    name = f"{row}, seed {rl2.SEEDS[0]}"
    do(rl2.work, Job(name, tmp_path, quick=True))
    found = read(tmp_path / f"{name}.safetensors").tensors
    assert found["returns"].shape == found["flipped"].shape == (3, 4)
    assert found["parts"].shape == (4, 4)
    assert ((found["fell"] == 0) | (found["fell"] == 1)).all()
    assert (found["returns"] <= 20).all()
    assert ("agent.memory.weight_ih_l0" in found) is (row == "memory")
