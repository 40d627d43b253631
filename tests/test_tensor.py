"""The Tensor: what comes in, what goes out, and what it refuses."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import jadro
from jadro import Tensor


def test_python_numbers_become_float32_and_int64():
    assert jadro.tensor(1.5).dtype == np.float32
    assert jadro.tensor([[1.0, 2], [3, 4]]).dtype == np.float32
    assert jadro.tensor([1, 2]).dtype == np.int64
    assert jadro.tensor([True]).dtype == np.bool_
    assert jadro.tensor([]).dtype == np.float32
    assert jadro.tensor([np.float64(1.0), 2.0]).dtype == np.float64
    assert jadro.tensor([1.0], dtype="float64").dtype == np.float64


def test_arrays_keep_their_dtype():
    for dtype in ("float32", "float64", "int32", "int64", "uint8", "bool"):
        assert jadro.tensor(np.zeros(2, dtype)).dtype == dtype


def test_tensor_copies_and_as_tensor_shares():
    a = np.arange(3.0)
    assert not np.shares_memory(jadro.tensor(a).data, a)
    assert jadro.as_tensor(a).data is a
    t = jadro.tensor(a)
    assert jadro.as_tensor(t) is t
    assert not np.shares_memory(jadro.tensor(t).data, t.data)


def test_byte_swapped_arrays_are_converted():
    t = jadro.as_tensor(np.array([1.0, 2.0], ">f4"))
    assert t.dtype.isnative
    assert t.tolist() == [1.0, 2.0]


def test_read_only_and_strided_arrays_come_in():
    a = np.arange(12.0).reshape(3, 4)
    a.flags.writeable = False
    t = jadro.as_tensor(a[:, ::2].T)
    np.testing.assert_array_equal((t * 2).data, a[:, ::2].T * 2)
    assert not t.is_contiguous()
    assert t.contiguous().is_contiguous()


@pytest.mark.parametrize("data", ["text", None, [1, "a"], np.zeros(2, complex), [object()]])
def test_data_that_is_not_numeric_is_a_type_error(data):
    with pytest.raises(TypeError, match="dtype"):
        jadro.tensor(data)


def test_arrays_come_out_without_a_copy():
    t = jadro.tensor([[1.0, 2.0]])
    assert t.numpy() is t.data
    assert np.asarray(t) is t.data
    assert np.shares_memory(np.from_dlpack(t), t.data)
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(t), t.data)


def test_dlpack_goes_both_ways_with_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(4.0)
    ours = jadro.from_dlpack(theirs)
    theirs[0] = 7
    assert ours.tolist() == [7, 1, 2, 3]
    back = torch.from_dlpack(jadro.tensor([1.0, 2.0]))
    assert back.tolist() == [1.0, 2.0]
    assert jadro.as_tensor(theirs).tolist() == [7, 1, 2, 3]
    with pytest.raises(TypeError, match="from_dlpack: data is a list"):
        jadro.from_dlpack([1])
    for data in (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True)):
        with pytest.raises(TypeError, match=r"from_dlpack: data is a Tensor of torch\.\w+, which cannot be shared: "):
            jadro.as_tensor(data)


@pytest.mark.parametrize(
    ("data", "dtype", "wanted"),
    [
        ([[1, 2], [3]], None, "one array"),
        ([300], "uint8", "an array of uint8"),
        (["a"], "float32", "an array of float32"),
    ],
)
def test_lists_that_are_no_array(data, dtype, wanted):
    with pytest.raises(ValueError, match=f"tensor: data does not fit {wanted}: "):
        jadro.tensor(data, dtype)


def test_properties():
    t = jadro.zeros(2, 3, requires_grad=True)
    assert (t.shape, t.ndim, t.device, t.requires_grad, t.grad) == ((2, 3), 2, "cpu", True, None)
    assert t.size() == (2, 3) and t.size(1) == 3 and t.size(-2) == 2
    assert t.numel() == 6 and t.dim() == 2 and len(t) == 2 and t.is_leaf
    assert t.is_floating_point() and not t.is_cuda


def test_numbers_and_truth():
    assert jadro.tensor(2.5).item() == 2.5
    assert float(jadro.tensor([2.5])) == 2.5 and int(jadro.tensor(2.5)) == 2
    assert [10, 20, 30][jadro.tensor(1)] == 20
    assert bool(jadro.tensor([True])) and not jadro.tensor(0.0)
    with pytest.raises(ValueError, match=r"item: the tensor has shape \(2,\)"):
        jadro.zeros(2).item()
    with pytest.raises(ValueError, match="any"):
        bool(jadro.zeros(2))
    with pytest.raises(TypeError, match="one integer"):
        [1][jadro.tensor(0.0)]
    with pytest.raises(TypeError, match="no axes"):
        len(jadro.tensor(1.0))


def test_iteration_gives_the_rows():
    assert [row.tolist() for row in jadro.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (jadro.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (jadro.tensor([1]), "tensor([1])"),
        (jadro.tensor([1.0], dtype="float64"), "tensor([1.], dtype=float64)"),
        (jadro.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (jadro.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<Mul>)"),
    ],
)
def test_repr(t, text):
    assert repr(t) == text


def test_only_floats_require_gradients():
    with pytest.raises(TypeError, match="requires_grad: dtype is int64"):
        jadro.tensor([1], requires_grad=True)
    with pytest.raises(TypeError, match="expected a floating dtype"):
        jadro.tensor([1]).requires_grad = True


def test_requires_grad_of_a_result_cannot_be_turned_off():
    y = jadro.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad = False
    assert not y.detach().requires_grad


def test_conversions():
    t = jadro.tensor([1.0, 2.0])
    assert t.double().dtype == np.float64 and t.double().float().dtype == np.float32
    assert t.long().dtype == np.int64 and t.int().dtype == np.int32 and t.bool().dtype == np.bool_
    assert t.float() is t and t.to("cpu") is t and t.to(np.float32) is t
    assert t.to(jadro.float64).dtype == np.float64
    assert t.to("cpu", "float64").dtype == np.float64
    assert t.to(jadro.zeros(1, dtype="float64")).dtype == np.float64


@pytest.mark.parametrize("convert", [Tensor.half, Tensor.bfloat16, lambda t: t.to("float16")])
def test_16_bit_floats_need_cuda(convert):
    with pytest.raises(TypeError, match="CUDA"):
        convert(jadro.ones(2))


def test_a_missing_device_is_named():
    if jadro.tensor(0.0).is_cuda:
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="device is 'gpu', expected 'cpu', 'cuda'"):
        jadro.zeros(2, device="gpu")
    try:
        import cupy  # noqa: F401
    except ImportError:
        with pytest.raises(RuntimeError, match=r"pip install 'jadro\[cuda\]'"):
            jadro.zeros(2).to("cuda")


def test_deepcopy_and_pickle_keep_leaves():
    t = jadro.tensor([1.0, 2.0], requires_grad=True)
    (t * t).sum().backward()
    twin = copy.deepcopy(t)
    assert twin.requires_grad and twin.tolist() == [1.0, 2.0] and twin.grad.tolist() == [2.0, 4.0]
    assert not np.shares_memory(twin.data, t.data)
    loaded = pickle.loads(pickle.dumps(t))
    assert loaded.requires_grad and loaded.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(t * 2)
    with pytest.raises(RuntimeError, match="leaves"):
        pickle.dumps(t * 2)


def test_writes_in_place():
    t = jadro.zeros(2, 3)
    memory = t.data
    t += 1
    t *= 3
    t[0] = jadro.tensor([1.0, 2.0, 3.0])
    t[:, 2] = 9
    t[t > 8] = -1.0
    assert t.data is memory
    assert t.tolist() == [[1.0, 2.0, -1.0], [3.0, 3.0, -1.0]]
    t.copy_(np.ones(3)).mul_(4).sub_(1).div_(3)
    assert t.tolist() == [[1.0] * 3] * 2
    t[0, 1] = jadro.tensor([7.0])
    t[1] = np.ones((1, 3), np.float32)
    assert t.tolist() == [[1.0, 7.0, 1.0], [1.0] * 3]
    t.zero_()
    assert not t.any()
    t.fill_(5).clamp_(max=2)
    assert t.tolist() == [[2.0] * 3] * 2


def test_writes_that_cannot_be():
    with pytest.raises(ValueError, match=r"value has shape \(2,\), expected \(3,\)"):
        jadro.zeros(3)[:] = np.zeros(2)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(3,\)"):
        t = jadro.zeros(3)
        t += np.zeros((2, 3))
    with pytest.raises(TypeError, match="int64 cannot hold"):
        t = jadro.tensor([1, 2])
        t += 0.5
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        jadro.as_tensor(frozen).fill_(1)


def test_numpy_functions_take_tensors():
    a, t = np.array([1.0, 4.0]), jadro.tensor([1.0, 4.0], requires_grad=True)
    y = a * t + np.exp(t)
    assert isinstance(y, Tensor) and y.requires_grad
    np.testing.assert_allclose(y.data, a * a + np.exp(a), rtol=1e-6)
    assert isinstance(np.isfinite(t), np.ndarray)
    np.testing.assert_array_equal(np.add.reduce(t.data), np.add.reduce(t))


def test_creation():
    assert jadro.zeros(2, 3).shape == jadro.ones((2, 3)).shape == jadro.empty([2, 3]).shape == (2, 3)
    assert jadro.full((2,), 7).dtype == np.int64 and jadro.full((2,), 7.0).tolist() == [7.0, 7.0]
    assert jadro.eye(2).tolist() == [[1, 0], [0, 1]]
    assert jadro.arange(3).tolist() == [0, 1, 2] and jadro.arange(3).dtype == np.int64
    assert jadro.arange(1, 2, 0.5).tolist() == [1.0, 1.5] and jadro.arange(0.0, 1.0).dtype == np.float32
    assert jadro.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    like = jadro.zeros(2, dtype="float64")
    assert jadro.ones_like(like).dtype == np.float64 and jadro.zeros_like(like).shape == (2,)
    assert jadro.full_like(like, 3).tolist() == [3, 3] and jadro.empty_like(like).dtype == np.float64
    with pytest.raises(ValueError, match="negative"):
        jadro.zeros(-1)
    with pytest.raises(TypeError, match="expected integers"):
        jadro.zeros(1.5)
    with pytest.raises(ValueError, match="step is 0"):
        jadro.arange(0, 1, 0)


def test_random_numbers_repeat_after_seeding():
    draws = [jadro.rand, jadro.randn, lambda n: jadro.randint(0, 100, (n,)), jadro.randperm]
    jadro.manual_seed(3)
    first = [d(50).tolist() for d in draws]
    state = jadro.random.get_state()
    later = jadro.rand(5).tolist()
    jadro.manual_seed(3)
    assert [d(50).tolist() for d in draws] == first
    jadro.random.set_state(state)
    assert jadro.rand(5).tolist() == later
    jadro.manual_seed(4)
    assert jadro.rand(50).tolist() != first[0]


def test_random_numbers_have_their_distribution():
    jadro.manual_seed(0)
    u, g = jadro.rand(100_000).data, jadro.randn(99_999).data
    assert u.dtype == g.dtype == np.float32
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * u.size) and abs(u.var() - 1 / 12) < 1e-3
    assert abs(g.mean()) < 5 / np.sqrt(g.size) and abs(g.std() - 1) < 0.01
    assert abs((np.abs(g) < 1).mean() - 0.6827) < 0.01
    assert sorted(jadro.randperm(100).tolist()) == list(range(100))
    dice = jadro.randint(1, 7, (1000,)).data
    assert set(dice) == {1, 2, 3, 4, 5, 6}


def test_bad_random_states():
    with pytest.raises(TypeError, match="two integers"):
        jadro.random.set_state("abc")
    with pytest.raises(ValueError, match="offset is -1"):
        jadro.random.set_state((0, -1))


def test_initialisers_in_place():
    jadro.manual_seed(0)
    t = jadro.zeros(1000, dtype="float64")
    assert t.uniform_(2, 3).data.min() >= 2 and t.data.max() < 3
    assert abs(t.normal_(5, 0.1).data.mean() - 5) < 0.02


def test_threads_and_configuration(capsys):
    before = jadro.get_num_threads()
    jadro.set_num_threads(1)
    assert jadro.get_num_threads() == 1
    jadro.set_num_threads(before)
    with pytest.raises(ValueError, match="n is 0"):
        jadro.set_num_threads(0)
    jadro.show_config()
    shown = capsys.readouterr().out
    assert jadro.__version__ in shown and "instruction set" in shown and "CUDA" in shown


def test_import_is_light():
    code = "import sys, numpy, jadro; print([m for m in ('cupy', 'safetensors', 'tqdm', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_m_jadro():
    done = subprocess.run([sys.executable, "-m", "jadro"], capture_output=True, text=True, check=True)
    assert "threads" in done.stdout


def test_numbers_are_written_in_full_precision():
    x = jadro.zeros(3, dtype="float64")
    x.fill_(0.3)
    x[0] = 0.1
    assert x.data.tolist() == [0.1, 0.3, 0.3]
