"""Trains a recurrent policy by PPO on a task that only memory solves, and shows what whole rollouts in one call gain.

python examples/recurrent_rl.py              half a minute; out/recurrent_rl.png
python examples/recurrent_rl.py --minutes 2  longer
python examples/recurrent_rl.py --delay 60   symbols to be remembered for longer

The task: an episode begins with a symbol to remember. Other symbols follow, to be ignored, for a number of steps that
is drawn anew in every episode; then comes a question, and the only action that counts names the first symbol: reward 1
or 0, and the episode ends. A policy without memory gets what chance gives.

Rollouts are [T, B]: T steps of B environments side by side, in which episodes begin and end. They are gathered with
`rnn.stepper`, one step at a time. PPO then goes through a rollout several times, and there the LSTM runs all T steps in
one native call, forward and backward: the flags `done` are its `reset`, so that no state and no gradient crosses from
one episode into the next. The same pass done step by step, with a cell in a Python loop, is timed beside it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jadro
import jadro.nn.functional as F
from jadro import nn, optim

SYMBOLS = 4
FEATURES = SYMBOLS + 2  # one-hot symbol, "remember it", "which was it?"
DISCOUNT, TRACE, CLIP = 0.95, 0.95, 0.2  # gamma and lambda of the advantages, epsilon of PPO
SOLVED = 0.95


class Recall:
    """B independent episodes of the task; `seen` [B, FEATURES] is what stands before the policy."""

    def __init__(self, environments: int, delay: int, rng: np.random.Generator) -> None:
        self.rng, self.delay = rng, delay
        self.symbol, self.left = np.zeros(environments, np.int64), np.zeros(environments, np.int64)
        self.seen = np.zeros((environments, FEATURES), np.float32)
        self._begin(np.ones(environments, bool))

    def _begin(self, which: np.ndarray) -> None:
        """New episodes: their symbol, and the steps until they are asked for it."""
        count = int(which.sum())
        self.symbol[which] = self.rng.integers(0, SYMBOLS, count)
        self.left[which] = self.rng.integers(2, self.delay + 1, count)
        self.seen[which] = 0
        self.seen[which, SYMBOLS] = 1
        self.seen[which, self.symbol[which]] = 1

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(reward, whether the episode ended), [B] each; ended ones begin anew."""
        asked = self.left == 0
        reward = (asked & (action == self.symbol)).astype(np.float32)
        self.left -= 1
        self.seen[:] = 0
        rows = np.flatnonzero(self.left > 0)
        self.seen[rows, self.rng.integers(0, SYMBOLS, len(rows))] = 1
        self.seen[self.left == 0, SYMBOLS + 1] = 1
        self._begin(asked)
        return reward, asked


class Policy(nn.Module):
    """scores of the actions [T, B, SYMBOLS], values [T, B] = policy(seen [T, B, FEATURES], reset [T, B], state)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, hidden)
        self.heads = nn.Linear(hidden, SYMBOLS + 1)

    def forward(self, seen: Any, reset: Any, state: Any) -> tuple[jadro.Tensor, jadro.Tensor]:
        y, _ = self.rnn(seen, state, reset=reset)
        return self._split(y)

    def step_by_step(self, seen: Any, reset: Any, state: Any) -> tuple[jadro.Tensor, jadro.Tensor]:
        """The same with a cell, one step after the other."""
        cell = nn.LSTMCell(FEATURES, self.rnn.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(cell, name, getattr(self.rnn, name + "_l0"))
        h, c = (jadro.tensor(s[0]) for s in state)
        outputs = []
        for x, begins in zip(seen, reset, strict=True):
            goes_on = jadro.tensor((~begins)[:, None].astype(np.float32))
            h, c = cell(x, (h * goes_on, c * goes_on))
            outputs.append(h)
        return self._split(jadro.stack(outputs))

    def _split(self, y: jadro.Tensor) -> tuple[jadro.Tensor, jadro.Tensor]:
        heads = self.heads(y)
        return heads[..., :SYMBOLS], heads[..., SYMBOLS]


class Rollout(NamedTuple):
    """T steps of B environments. reset[t]: an episode begins at t; state: before the first step, (h, c) [1, B, H]."""

    seen: np.ndarray
    reset: np.ndarray
    action: np.ndarray
    log_p: np.ndarray
    advantage: np.ndarray
    target: np.ndarray
    state: tuple[np.ndarray, np.ndarray]
    returns: list[float]  # of the episodes that ended


class Player:
    """Plays the environments with the policy, a step at a time, without a graph."""

    def __init__(self, policy: Policy, task: Recall, rng: np.random.Generator) -> None:
        self.policy, self.task, self.rng = policy, task, rng
        self.stepper = policy.rnn.stepper(len(task.seen))
        self.ended = np.ones(len(task.seen), bool)

    def heads(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log-probabilities [B, SYMBOLS], values [B]) of the next step."""
        weight, bias = self.policy.heads.weight.numpy(), self.policy.heads.bias.numpy()
        found = self.stepper(seen) @ weight.T + bias
        scores = found[:, :SYMBOLS]
        scores = scores - scores.max(1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(1, keepdims=True)), found[:, SYMBOLS]

    def rollout(self, steps: int) -> Rollout:
        """The next `steps` steps."""
        self.stepper.refresh()
        state, rows = self.stepper.state, np.arange(len(self.ended))
        kept: list[tuple[np.ndarray, ...]] = []
        for _ in range(steps):
            self.stepper.reset(self.ended)
            seen, begins = self.task.seen.copy(), self.ended
            log_p, value = self.heads(seen)
            # the largest of log p + Gumbel noise is a draw from p
            action = (log_p + self.rng.gumbel(size=log_p.shape)).argmax(1)
            reward, self.ended = self.task.step(action)
            kept.append((seen, begins, action, log_p[rows, action], value, reward, self.ended))
        seen, begins, action, log_p, value, reward, ended = (np.stack(parts) for parts in zip(*kept, strict=True))
        advantage = advantages(reward, value, ended, self._next_value())
        returns = reward[ended].tolist()  # the reward of its last step is the episode's only one
        return Rollout(seen, begins, action, log_p, advantage, advantage + value, state, returns)

    def _next_value(self) -> np.ndarray:
        """Of the step after the rollout; the state stays as it was."""
        before = self.stepper.state
        value = self.heads(self.task.seen)[1].copy()
        self.stepper.state = before
        return value


def advantages(reward: np.ndarray, value: np.ndarray, ended: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Generalised advantage estimation (Schulman et al. 2016): the sum over k of (gamma lambda)^k delta_(t+k) up to the
    end of the episode, delta_t = r_t + gamma v_(t+1) - v_t, where v after an end is 0."""
    found, running = np.empty_like(reward), np.zeros_like(after)
    for t in reversed(range(len(reward))):
        goes_on = ~ended[t]
        delta = reward[t] + DISCOUNT * after * goes_on - value[t]
        running = delta + DISCOUNT * TRACE * running * goes_on
        found[t], after = running, value[t]
    return found


def ppo_loss(scores: jadro.Tensor, values: jadro.Tensor, rollout: Rollout) -> jadro.Tensor:
    """The clipped surrogate (Schulman et al. 2017), half the squared error of the values, entropy's hundredth."""
    log_p = F.log_softmax(scores, -1)
    chosen = log_p.gather(2, rollout.action[..., None])[..., 0]
    a = (rollout.advantage - rollout.advantage.mean()) / (rollout.advantage.std() + 1e-8)
    ratio = (chosen - rollout.log_p).exp()
    gain = jadro.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + CLIP) * a).mean()
    error = ((values - rollout.target) ** 2).mean()
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    return 0.5 * error - gain - 0.01 * entropy


def train_pass(policy: Policy, run: Callable[..., Any], rollout: Rollout) -> None:
    """The gradients of one pass through a rollout."""
    for p in policy.parameters():
        p.grad = None
    ppo_loss(*run(rollout.seen, rollout.reset, rollout.state), rollout).backward()


def seconds(call: Callable[[], None], least: float = 0.5) -> float:
    """The median of calls over at least that time."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare(policy: Policy, rollout: Rollout) -> dict[str, float]:
    """Environment steps a second of one pass, forward and backward, both ways; their gradients are the same."""
    found, gradients = {}, []
    for name, run in (("one call", policy), ("step by step", policy.step_by_step)):
        train_pass(policy, run, rollout)
        gradients.append([p.grad.numpy() for p in policy.parameters() if p.grad is not None])
        found[name] = rollout.reset.size / seconds(lambda run=run: train_pass(policy, run, rollout))  # type: ignore[misc]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()))
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--steps", type=int, metavar="N", help="stop after N updates")
    add("--minutes", type=float, metavar="M", help="stop after M minutes (default: 0.5, or no limit with --steps)")
    add("--seed", type=int, default=0, help="of weights, episodes and actions (default: 0)")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where the figure goes (default: out)")
    add("--lr", type=float, default=3e-3, help="learning rate of Adam (default: 0.003)")
    for name, value, what in (
        ("environments", 8, "played side by side"),
        ("length", 256, "steps of a rollout"),
        ("passes", 4, "through a rollout"),
        ("delay", 20, "largest number of steps between symbol and question"),
        ("hidden", 64, "units of the LSTM"),
    ):
        add(f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})")
    options = parser.parse_args(arguments)
    for name in ("steps", "minutes", "lr", "environments", "length", "passes", "hidden"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name} is {value}, expected a positive number")
    if options.delay < 2:
        parser.error(f"--delay is {options.delay}, expected at least 2")
    if options.minutes is None and options.steps is None:
        options.minutes = 0.5
    return options


def learn(policy: Policy, player: Player, options: argparse.Namespace) -> tuple[dict[str, list[float]], Rollout]:
    """The history of mean returns, and the last rollout."""
    optimizer = optim.Adam(policy.parameters(), lr=options.lr)
    history: dict[str, list[float]] = {"steps": [], "return": []}
    start = time.monotonic()
    while True:
        rollout = player.rollout(options.length)
        for _ in range(options.passes):
            train_pass(policy, policy, rollout)
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            optimizer.step()
        history["steps"].append((len(history["steps"]) + 1) * rollout.reset.size)
        history["return"].append(float(np.mean(rollout.returns)) if rollout.returns else math.nan)
        done, spent = len(history["steps"]), time.monotonic() - start
        over = done == options.steps or (options.minutes and spent > 60 * options.minutes)
        if over or done % 50 == 0:
            recent = np.nanmean(history["return"][-20:])
            print(
                f"update {done}: {history['steps'][-1]:,} steps in {spent:.1f} s, mean return {recent:.3f}", flush=True
            )
        if over:
            return history, rollout


def draw(history: dict[str, list[float]], speeds: dict[str, float], path: Path) -> None:
    """Returns over updates beside chance, and the speeds; says so where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path} is not drawn: matplotlib is not installed (pip install '.[examples]')")
        return
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    updates = np.arange(1, len(history["return"]) + 1)
    left.plot(updates, history["return"], label="LSTM policy")
    left.axhline(1 / SYMBOLS, color="gray", linestyle="--", label="random policy")
    left.set(xlabel="update", ylabel="mean return of an episode", ylim=(0, 1.03), title="Recall after a random delay")
    left.grid(alpha=0.3)
    left.legend(loc="center right")
    bars = right.bar(list(speeds), list(speeds.values()), color=["C0", "C1"])
    right.bar_label(bars, [f"{v:,.0f}" for v in speeds.values()])
    right.set(ylabel="steps/s, forward and backward", title="A rollout in one call, and step by step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"figure: {path}")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    jadro.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    policy = Policy(options.hidden)
    player = Player(policy, Recall(options.environments, options.delay, rng), rng)
    try:
        history, rollout = learn(policy, player, options)
    except KeyboardInterrupt:
        raise SystemExit("recurrent_rl: interrupted") from None
    speeds = compare(policy, rollout)
    last = float(np.nanmean(history["return"][-20:]))
    solved = next(
        (i for i in range(len(history["return"])) if np.mean(history["return"][max(0, i - 9) : i + 1]) > SOLVED), None
    )
    print(f"\n{'policy':16} {'mean return':>12}\n{'random':16} {1 / SYMBOLS:12.3f}\n{'LSTM':16} {last:12.3f}")
    print("not solved" if solved is None else f"solved (mean return over {SOLVED}) after {solved + 1} updates")
    print(f"\n{'a rollout':16} {'steps/s':>12}")
    for name, speed in speeds.items():
        print(f"{name:16} {speed:12,.0f}")
    print(f"in one call {speeds['one call'] / speeds['step by step']:.1f} times as fast\n")
    draw(history, speeds, options.out / "recurrent_rl.png")


if __name__ == "__main__":
    main()
