"""Module: registration, walking, states, moving, copies, containers."""

import copy
import pickle

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import Parameter


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.scale = Parameter(np.ones(4, np.float32))
        self.register_buffer("kept", jadro.zeros(2))
        self.register_buffer("passing", jadro.zeros(1), persistent=False)
        self.plain = 3

    def forward(self, x):
        return self.norm(self.fc(x)) * self.scale


NAMES = ["scale", "kept", "fc.weight", "fc.bias"]
NAMES += [f"norm.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


# --- registration -----------------------------------------------------------------------------------------------------
def test_attributes_are_registered():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "fc.weight", "fc.bias", "norm.weight", "norm.bias"]
    buffers = ["kept", "passing", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert [n for n, _ in net.named_buffers()] == buffers
    assert [n for n, _ in net.named_modules()] == ["", "fc", "norm"]
    assert [n for n, _ in net.named_children()] == ["fc", "norm"]
    assert list(net.children()) == [net.fc, net.norm]
    assert [p for p, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert len(list(net.parameters())) == 5
    assert {"fc", "scale", "kept", "plain", "forward"} <= set(dir(net))


def test_an_attribute_changes_its_kind():
    net = Net()
    net.fc = Parameter(np.ones(1))
    assert [n for n, _ in net.named_children()] == ["norm"]
    with pytest.raises(TypeError, match=r"Net\.scale"):
        net.scale = nn.Identity()
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale", "fc"]
    net.plain = nn.ReLU()
    assert "plain" not in vars(net)
    net.fc = None
    assert net.fc is None
    assert [n for n, _ in net.named_parameters()] == ["scale", "norm.weight", "norm.bias"]
    del net.scale
    with pytest.raises(AttributeError, match="scale"):
        _ = net.scale
    with pytest.raises(AttributeError):
        del net.scale


def test_a_buffer_keeps_its_kind():
    net = Net()
    net.kept = jadro.ones(3)
    assert net.get_buffer("kept").shape == (3,)
    for wrong in (np.ones(2), 3):
        with pytest.raises(TypeError, match=r"Net\.kept"):
            net.kept = wrong
    with pytest.raises(TypeError, match=r"Net\.scale"):
        net.scale = jadro.ones(4)
    with pytest.raises(TypeError, match=r"Net\.fc"):
        net.fc = 3


def test_super_init_comes_first():
    class Hasty(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="super"):
        Hasty()


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda m: m.register_parameter("a.b", None)),
        (ValueError, lambda m: m.register_parameter("", None)),
        (ValueError, lambda m: m.register_parameter("forward", None)),
        (ValueError, lambda m: m.register_buffer("plain", None)),
        (TypeError, lambda m: m.register_buffer(3, None)),
        (TypeError, lambda m: m.register_buffer("b", np.ones(2))),
        (TypeError, lambda m: m.register_parameter("p", jadro.ones(2))),
        (TypeError, lambda m: m.add_module("m", jadro.ones(2))),
        (ValueError, lambda m: m.train(1)),
        (TypeError, lambda m: nn.Module()(1)),
        (AttributeError, lambda m: m.get_submodule("fc.weight")),
        (AttributeError, lambda m: m.get_submodule("nothing")),
        (AttributeError, lambda m: m.get_parameter("fc.nothing")),
        (AttributeError, lambda m: m.get_buffer("fc.weight")),
        (TypeError, lambda m: m.to(np.int64)),
        (TypeError, lambda m: m.half()),
        (ValueError, lambda m: m.to(device="tpu")),
    ],
)
def test_bad_calls_change_nothing(error, call):
    net = Net()
    before = {n: (p, p.data) for n, p in net.named_parameters()}
    with pytest.raises(error):
        call(net)
    for name, p in net.named_parameters():
        assert before.pop(name) == (p, p.data)
    assert not before


def test_paths():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("fc") is net.fc
    assert net.get_parameter("fc.weight") is net.fc.weight
    assert net.get_buffer("norm.running_mean") is net.norm.running_mean


# --- sharing ----------------------------------------------------------------------------------------------------------
def test_shared_parameters_count_once_and_are_saved_under_both_names():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.double()):
        assert twin[0].weight is twin[1].weight


def test_a_module_twice_is_walked_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert [n for n, _ in net.named_modules()] == ["", "0"]
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert len(list(net.children())) == 1


# --- state ------------------------------------------------------------------------------------------------------------
def test_state_dict():
    net = Net()
    state = net.state_dict()
    assert list(state) == NAMES
    assert state["norm.num_batches_tracked"].dtype == np.int64
    assert not state["fc.weight"].requires_grad
    assert np.shares_memory(state["fc.weight"].numpy(), net.fc.weight.numpy())
    assert net.state_dict(keep_vars=True)["fc.weight"] is net.fc.weight
    assert list(net.state_dict(prefix="net.")) == [f"net.{n}" for n in NAMES]
    given = {}
    assert net.state_dict(destination=given) is given
    assert list(given) == NAMES


@pytest.mark.parametrize("kind", ["jadro", "numpy", "float64", "fortran", "torch", "torch parameters"])
def test_load_state_dict(kind):
    source, target = Net(), Net()
    source(jadro.randn(5, 3))
    state = {n: t.numpy() for n, t in source.state_dict().items()}
    if kind == "jadro":
        given = source.state_dict()
    elif kind == "float64":
        given = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in state.items()}
    elif kind == "fortran":
        given = {n: a.copy("F") for n, a in state.items()}
    elif kind.startswith("torch"):
        torch = pytest.importorskip("torch")
        given = {n: torch.tensor(a, requires_grad="param" in kind and a.dtype.kind == "f") for n, a in state.items()}
    else:
        given = state
    memory = {n: t.data for n, t in target.state_dict(keep_vars=True).items()}
    assert target.load_state_dict(given) == ([], [])
    for name, tensor in target.state_dict(keep_vars=True).items():
        np.testing.assert_array_equal(tensor.numpy(), state[name])
        assert tensor.data is memory[name]
    target.fc.weight.data[...] = 7  # no memory is shared
    assert not (np.asarray(source.fc.weight) == 7).any()


def bad_states():
    state = {n: t.numpy().copy() + 1 for n, t in Net().state_dict().items()}
    wrong_shape = {**state, "fc.weight": np.ones((4, 4), np.float32)}
    missing = {n: a for n, a in state.items() if n != "norm.bias"}
    yield wrong_shape, [r"fc\.weight: has shape \(4, 4\), expected \(4, 3\)"]
    yield {**state, "norm.running_mean": np.ones((4, 1))}, [r"norm\.running_mean: has shape \(4, 1\)"]
    yield missing, [r"missing: norm\.bias$"]
    yield {**state, "passing": np.zeros(1)}, ["unexpected: passing"]
    yield {**state, "kept": None}, ["kept: is a NoneType"]
    yield {**state, "kept": [0, 0]}, ["kept: is a list"]
    yield {**state, "kept": np.array(["a", "b"])}, ["kept: .*dtype"]
    yield {**state, "norm.num_batches_tracked": np.array(1.5)}, ["num_batches_tracked: has dtype float64"]
    both = {n: a for n, a in wrong_shape.items() if n not in ("kept", "norm.bias")}
    yield {**both, "x": 1, "y": 2}, [r"missing: kept, norm\.bias", "unexpected: x, y", r"fc\.weight: has shape"]


@pytest.mark.parametrize(("state", "words"), list(bad_states()))
def test_a_bad_state_is_listed_in_full_and_changes_nothing(state, words):
    net = Net()
    before = {n: t.numpy().copy() for n, t in net.state_dict().items()}
    for error in (ValueError, RuntimeError):  # ours, and what PyTorch's users catch
        for word in words:
            with pytest.raises(error, match=f"(?m){word}"):
                net.load_state_dict(state)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_not_strict():
    net = Net()
    result = net.load_state_dict({"fc.bias": np.arange(4), "new": 1}, strict=False)
    assert result.missing_keys == [n for n in NAMES if n not in ("fc.bias", "norm.num_batches_tracked")]
    assert result.unexpected_keys == ["new"]
    np.testing.assert_array_equal(net.fc.bias.numpy(), np.arange(4))
    with pytest.raises(ValueError, match=r"fc\.bias"):
        net.load_state_dict({"fc.bias": np.arange(5)}, strict=False)
    with pytest.raises(TypeError, match="mapping"):
        net.load_state_dict([("fc.bias", np.arange(4))])


def test_old_states_lack_the_number_of_batches():
    net = nn.BatchNorm2d(3)
    state = net.state_dict()
    del state["num_batches_tracked"]
    assert net.load_state_dict(state) == ([], [])


# --- all at once ------------------------------------------------------------------------------------------------------
def test_train_and_eval_reach_everything():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert net.train() is net
    assert all(m.training for m in net.modules())


def test_to_casts_what_is_floating_and_keeps_the_objects():
    net = Net()
    parameters = list(net.parameters())
    net(jadro.randn(5, 3)).sum().backward()
    for change, dtype in ((net.double, "f8"), (net.float, "f4"), (lambda: net.to("float64"), "f8"), (net.cpu, "f8")):
        assert change() is net
        assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
        assert {t.dtype for t in (*net.parameters(), net.norm.running_mean, net.fc.weight.grad)} == {np.dtype(dtype)}
        assert net.norm.num_batches_tracked.dtype == np.int64
    net.to(jadro.zeros(1))
    assert net.scale.dtype == np.float32
    assert net(jadro.randn(5, 3)).dtype == np.float32
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())


def test_a_missing_device_changes_nothing(monkeypatch):
    def missing():
        raise RuntimeError("CUDA is not there")

    monkeypatch.setattr(jadro.backend, "cupy", missing)
    net = Net()
    with pytest.raises(RuntimeError, match="CUDA"):
        net.cuda()
    assert net.fc.weight.device == "cpu"


def test_apply_calls_children_first():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(seen.append) is net
    assert seen == [net[0], net[1][0], net[1], net]


def test_gradients_and_freezing():
    net = Net()
    net(jadro.randn(5, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.fc.requires_grad_(False)
    net(jadro.randn(5, 3)).sum().backward()
    assert net.fc.weight.grad is None
    assert net.scale.grad is not None


# --- copies -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_equal_and_apart(how):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.LSTM(3, 2))
    twin = how(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert not np.shares_memory(a.numpy(), b.numpy())
    assert isinstance(twin[0].weight, Parameter)
    twin[0].weight.data[...] = 0
    x = jadro.randn(4, 2)
    assert (twin[0](x).numpy() == twin[0].bias.numpy()).all()


def test_repr():
    net = nn.Sequential(nn.Linear(1, 2), nn.Residual(nn.Sequential(nn.ReLU())))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=1, out_features=2, bias=True)\n"
        "  (1): Residual(\n"
        "    (body): Sequential(\n"
        "      (0): ReLU()\n"
        "    )\n"
        "    (shortcut): Identity()\n"
        "  )\n"
        ")"
    )
    assert repr(Parameter(np.ones(1, np.float32))).startswith("Parameter containing:\ntensor([1.]")


# --- containers -------------------------------------------------------------------------------------------------------
def test_sequential():
    layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)]
    net = nn.Sequential(*layers)
    x = jadro.randn(4, 2)
    np.testing.assert_array_equal(net(x).numpy(), layers[2](layers[1](layers[0](x))).numpy())
    assert len(net) == 3
    assert net[-1] is layers[2]
    assert list(net) == layers
    assert layers[1] in net
    part = net[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part) == layers[1:]
    named = nn.Sequential({"first": layers[0], "second": layers[1]})
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert named.second is layers[1]
    del named[0]
    assert list(named) == layers[1:2]
    with pytest.raises(IndexError):
        net[3]
    with pytest.raises(TypeError):
        nn.Sequential(nn.ReLU(), 3)


def test_lists_join_repeat_and_lose_members():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b)
    assert list(net.insert(0, c)) == [c, a, b]
    assert net.pop(0) is c
    assert net.pop() is b
    more = [b]
    assert list(net + nn.Sequential(b)) == list(nn.ModuleList([a]) + more) == [a, b]
    net += [b]
    assert list(net) == [a, b]
    assert list(2 * net) == list(net * 2) == [a, b, a, b]
    with pytest.raises(ValueError, match="Sequential: times is 0, expected at least 1"):
        net * 0
    with pytest.raises(TypeError):
        net.insert(0, 3)
    assert list(net) == [a, b]


def test_module_list():
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Tanh()
    modules = nn.ModuleList([a])
    modules.append(b).extend([c])
    modules.insert(1, c)
    assert list(modules) == [a, c, b, c]
    assert isinstance(modules[1:], nn.ModuleList)
    del modules[1]
    modules[-1] = b
    assert list(modules) == [a, b, b]
    assert [n for n, _ in modules.named_parameters()] == ["0.weight", "0.bias"]
    del modules[:2]
    assert list(modules) == [b]
    assert modules[0] is b
    with pytest.raises(TypeError, match="forward"):
        modules(1)


def test_module_dict():
    a, b = nn.Linear(1, 1), nn.ReLU()
    modules = nn.ModuleDict({"a": a})
    modules["b"] = b
    assert list(modules) == list(modules.keys()) == ["a", "b"]
    assert list(modules.items()) == [("a", a), ("b", b)]
    assert list(modules.values()) == [a, b]
    assert modules["a"] is a
    assert "b" in modules
    assert modules.pop("b") is b
    assert len(modules) == 1
    modules.update({"c": b})
    del modules["a"]
    assert list(modules) == ["c"]
    modules.clear()
    assert not len(modules)
