"""PyTorch as it comes: NCHW, the default allocator, its default Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.bench_activation import Activation, PRelu
from benchmarks.bench_avg_pool import AvgPool
from benchmarks.bench_batch_norm import BatchNorm
from benchmarks.bench_cell import Cell
from benchmarks.bench_conv2d import Conv2d, ConvForm
from benchmarks.bench_cross_entropy import CrossEntropy
from benchmarks.bench_dropout import Dropout
from benchmarks.bench_embedding import Embedding
from benchmarks.bench_gemm import Linear
from benchmarks.bench_group_norm import GroupNorm
from benchmarks.bench_optim import HIGH, OptimStep
from benchmarks.bench_overhead import BINARY, OPERATORS, Overhead
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import Rnn
from benchmarks.bench_rnn_options import RaggedRnn
from benchmarks.bench_softmax import Softmax
from benchmarks.bench_step import LEARNING_RATE, Step
from benchmarks.cases import Array, Case, Job
from benchmarks.models import charlm, resnet20

RNNS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


class Peer:
    """channels_last and fused_adam are what the tuned peer turns on."""

    channels_last = False
    fused_adam = False

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.version = str(torch.__version__)

    def tensor(self, array: Array, train: bool = False) -> Tensor:
        """An image batch or a filter bank (rank 4) in the memory order that this peer prefers."""
        t = torch.from_numpy(array)
        if self.channels_last and t.ndim == 4:
            t = t.to(memory_format=torch.channels_last)
        return t.requires_grad_(train)

    def job(self, case: Case, forward: Callable[..., Tensor], names: str | Sequence[str]) -> Job:
        """forward(*inputs) on the case's arrays of these names and, in training, their gradients for dy."""
        a = case.arrays()
        inputs = [self.tensor(a[k], case.train) for k in names]
        dy = self.tensor(a["dy"]) if case.train else None
        return grad_job(lambda: forward(*inputs), inputs, dy)

    def linear(self, case: Linear) -> Job:
        return self.job(case, F.linear, "xwb")

    def conv2d(self, case: Conv2d) -> Job:
        def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return F.conv2d(x, w, b, stride=case.stride, padding=case.padding, groups=case.groups)

        return self.job(case, forward, "xwb")

    def conv_form(self, case: ConvForm) -> Job:
        function = getattr(F, f"conv{'_transpose' if case.transposed else ''}{case.axes}d")

        def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            if case.mode == "zeros":
                return function(x, w, b, stride=case.stride, padding=case.padding)
            return function(F.pad(x, [case.padding] * 2 * case.axes, case.mode), w, b, stride=case.stride)

        return self.job(case, forward, "xwb")

    def max_pool2d(self, case: MaxPool2d) -> Job:
        return self.job(case, lambda x: F.max_pool2d(x, case.kernel, case.stride, case.padding), "x")

    def avg_pool(self, case: AvgPool) -> Job:
        return self.job(case, lambda x: getattr(F, case.function)(x, case.size), "x")

    def rnn(self, case: Rnn) -> Job:
        return self.recurrent(case, lambda model, x: model(x)[0])

    def ragged_rnn(self, case: RaggedRnn) -> Job:
        lengths = torch.from_numpy(case.lengths)

        def forward(model: nn.Module, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            return pad_packed_sequence(model(packed)[0], total_length=case.T)[0]

        return self.recurrent(case, forward)

    def rnn_cell(self, case: Cell) -> Job:
        state = torch.from_numpy(case.arrays()["state"])
        model = CELLS[case.cell](case.I, case.H)
        return self.recurrent(case, lambda model, x: case.forward(model, x, state), model)

    def recurrent(
        self, case: Rnn, forward: Callable[[nn.Module, Tensor], Tensor], model: nn.Module | None = None
    ) -> Job:
        a, weights = case.arrays(), case.weights()
        if model is None:
            model = RNNS[case.cell](case.I, case.H, num_layers=case.layers, bidirectional=case.directions == 2)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        model.train(case.train)
        x = torch.from_numpy(a["x"]).requires_grad_(case.train)
        parameters = dict(model.named_parameters())
        dy = torch.from_numpy(a["dy"]) if case.train else None
        return grad_job(lambda: forward(model, x), [x, *(parameters[k] for k in weights)], dy)

    def batch_norm(self, case: BatchNorm) -> Job:
        a = case.arrays()
        mean, var = torch.from_numpy(a["mean"]), torch.from_numpy(a["var"])

        def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return F.batch_norm(x, mean, var, w, b, training=True)

        return self.job(case, forward, "xwb")

    def group_norm(self, case: GroupNorm) -> Job:
        def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return F.group_norm(x, case.groups, w, b) if case.groups else F.layer_norm(x, x.shape[-1:], w, b)

        return self.job(case, forward, "xwb")

    def softmax(self, case: Softmax) -> Job:
        return self.job(case, lambda x: getattr(F, case.function)(x, case.axis), "x")

    def activation(self, case: Activation) -> Job:
        return self.job(case, getattr(torch, case.function, None) or getattr(F, case.function), "x")

    def prelu(self, case: PRelu) -> Job:
        return self.job(case, F.prelu, "xw")

    def embedding(self, case: Embedding) -> Job:
        ids = torch.from_numpy(case.arrays()["ids"])
        return self.job(case, lambda w: F.embedding(ids, w), "w")

    def cross_entropy(self, case: CrossEntropy) -> Job:
        target = torch.from_numpy(case.arrays()["target"])
        return self.job(case, lambda x: F.cross_entropy(x, target), "x")

    def dropout(self, case: Dropout) -> Job:
        job = self.job(case, lambda x: F.dropout(x, case.p), "x")
        return Job(job.run, case.summarise(job.results))

    def overhead(self, case: Overhead) -> Job:
        a = case.arrays()
        function = OPERATORS[case.operator]
        x, y = (torch.from_numpy(a[k]).requires_grad_(case.train or case.recorded) for k in "ab")
        if not case.train:
            return Job(lambda: function(x, y), lambda out: [out.detach().numpy()])
        inputs = [x, y] if case.operator in BINARY else [x]
        return grad_job(lambda: function(x, y), inputs, torch.from_numpy(a["dy"]))

    def optim(self, case: OptimStep) -> Job:
        pairs = [(torch.from_numpy(p), torch.from_numpy(g)) for p, g in case.pairs()]
        parameters = [p.requires_grad_() for p, _ in pairs]
        for p, (_, g) in zip(parameters, pairs, strict=True):
            p.grad = g
        if case.kind == "clip":
            return Job(lambda: torch.nn.utils.clip_grad_norm_(parameters, HIGH), lambda norm: [norm.numpy()])
        optimizer = (
            torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=self.fused_adam)
            if case.kind == "adam"
            else torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9, fused=self.fused_adam)
        )
        return Job(optimizer.step, lambda _: [p.detach().numpy() for p in parameters])

    def step(self, case: Step) -> Job:
        a = case.arrays()
        model = charlm(torch, case.cell) if case.cell else LeNet() if case.model == "lenet" else resnet20(torch)
        # batch norm's buffers keep their start values
        model.load_state_dict({k: torch.from_numpy(v) for k, v in case.weights().items()}, strict=False)
        if self.channels_last and not case.cell:
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=self.fused_adam)
        x, target = self.tensor(a["x"]), torch.from_numpy(a["target"])

        def run() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        return Job(run, lambda loss: [loss.detach().numpy()])


def grad_job(forward: Callable[[], Tensor], inputs: Sequence[Tensor], dy: Tensor | None) -> Job:
    """Forward under no_grad where there is no dy, otherwise forward and the gradients of all inputs."""
    if dy is None:

        def run_forward() -> Tensor:
            with torch.no_grad():
                return forward()

        return Job(run_forward, lambda y: [y.numpy()])

    def run() -> Any:
        y = forward()
        return y, torch.autograd.grad(y, inputs, dy)

    return Job(run, lambda out: [out[0].detach().numpy(), *(g.numpy() for g in out[1])])


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
