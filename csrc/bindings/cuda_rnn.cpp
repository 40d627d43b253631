#include "bindings/cuda_rnn.h"

#include <string>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/rnn.h"
#include "cuda/launch.h"

namespace jadro::cuda {

RnnAlgorithm rnn_algorithm(const Call& call, const std::string& name) {
  if (name == "auto") return RnnAlgorithm::kAuto;
  if (name == "persistent") return RnnAlgorithm::kPersistent;
  if (name == "steps") return RnnAlgorithm::kSteps;
  call.value_error("algorithm is '" + name + "', expected auto, persistent or steps");
}

namespace {

using GivenList = std::vector<py::object>;
using Shape = std::vector<i64>;

struct Options {
  i64 layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
  std::string algorithm;
};

// The arrays that both calls are given.
struct Inputs {
  Array x, y;
  Maybe h0, c0;
  std::vector<Array> weights;
};

// The sizes of a call, from x, y and the options, and the shapes that follow from them.
struct Sizes {
  i64 gates;
  Shape state, output;
  std::vector<Shape> weights;
};

template <class T>
Sizes sizes_of(const Call& call, Cell cell, const Array& x, const Array& y, const Options& o, RnnStack<T>& s) {
  call.check_rank(x, 3);
  call.check_rank(y, 3);
  call.require(o.layers >= 1, [&] { return "layers is " + std::to_string(o.layers) + ", expected at least 1"; });
  call.require(o.directions == 1 || o.directions == 2,
               [&] { return "directions is " + std::to_string(o.directions) + ", expected 1 or 2"; });
  call.require(o.dropout >= 0 && o.dropout <= 1,
               [&] { return "dropout is " + std::to_string(o.dropout) + ", expected 0 <= dropout <= 1"; });
  s.cell = cell;
  s.steps = x.shape[0], s.batch = x.shape[1], s.input = x.shape[2], s.hidden = s.output = y.shape[2] / o.directions;
  s.layers = o.layers, s.directions = o.directions, s.bias = o.bias;
  s.dropout = o.dropout, s.seed = o.seed, s.offset = o.offset;
  s.algorithm = rnn_algorithm(call, o.algorithm);
  call.require(s.steps >= 1,
               [&] { return "x has shape " + shape_text(x.shape) + ", expected at least one time step"; });
  call.require(s.hidden >= 1,
               [&] { return "y has shape " + shape_text(y.shape) + ", expected at least one hidden unit"; });
  const i64 rows = s.gates() * s.hidden;
  Sizes z{s.gates(), {o.layers * o.directions, s.batch, s.hidden}, {s.steps, s.batch, o.directions * s.hidden}, {}};
  for (i64 layer = 0; layer < o.layers; ++layer) {
    for (i64 d = 0; d < o.directions; ++d) {
      z.weights.push_back({rows, s.layer_input(layer)});
      z.weights.push_back({rows, s.hidden});
      if (o.bias) z.weights.insert(z.weights.end(), 2, {rows});
    }
  }
  return z;
}

void check_count(const Call& call, const std::vector<Array>& arrays, const char* argument, const Sizes& z) {
  call.require(arrays.size() == z.weights.size(), [&] {
    return std::string(argument) + " has " + std::to_string(arrays.size()) + " arrays, expected " +
           std::to_string(z.weights.size());
  });
}

// Fills in the pointers of the stack; `pointers` holds those of the weights.
template <class T>
void read_stack(Call& call, const Inputs& in, const Sizes& z, RnnStack<T>& s, std::vector<const T*>& pointers) {
  check_count(call, in.weights, "weights", z);
  for (std::size_t i = 0; i < in.weights.size(); ++i) pointers.push_back(call.in<T>(in.weights[i], z.weights[i]));
  s.x = call.in<T>(in.x, {s.steps, s.batch, s.input});
  s.h0 = call.in<T>(in.h0, z.state);
  s.c0 = call.in<T>(in.c0, z.state);
  s.weights = pointers.data();
  call.require(s.algorithm != RnnAlgorithm::kPersistent || rnn_is_persistent(s), [&] {
    return "algorithm is 'persistent', but the weights of " + std::to_string(s.hidden) +
           " units do not fit in the card's shared memory";
  });
}

void forward(Call& call, Cell cell, const Inputs& in, const py::object& hn_given, const Given& cn_given,
             const Given& reserve_given, const Options& o, std::uintptr_t stream) {
  const Array hn = call.read(hn_given, "hn");
  const Maybe cn = call.read(cn_given, "cn"), reserve = call.read(reserve_given, "reserve");
  call.set_any_dtype(in.x);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    RnnStackForward<T> f{};
    const Sizes z = sizes_of(call, cell, in.x, in.y, o, f.stack);
    std::vector<const T*> pointers;
    read_stack(call, in, z, f.stack, pointers);
    f.y = call.out<T>(in.y, z.output);
    f.hn = call.out<T>(hn, z.state);
    f.cn = call.out<T>(cn, z.state);
    f.reserve = call.out<Sum<T>>(reserve, {rnn_reserve_size(f.stack)});
    call.run(rnn_forward_scratch(f), [&](void* scratch) { return rnn_forward(f, scratch, stream_of(stream)); });
  });
}

struct Gradients {
  Maybe dy, dhn, dcn, dx, dh0, dc0;
  std::optional<std::vector<Array>> dweights;
};

void backward(Call& call, Cell cell, const Inputs& in, const py::object& reserve_given, const Gradients& d,
              const Options& o, std::uintptr_t stream) {
  const Array reserve = call.read(reserve_given, "reserve");
  call.set_any_dtype(in.x);
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    RnnStackBackward<T> b{};
    const Sizes z = sizes_of(call, cell, in.x, in.y, o, b.stack);
    std::vector<const T*> pointers;
    read_stack(call, in, z, b.stack, pointers);
    std::vector<T*> dweights;
    if (d.dweights) {
      check_count(call, *d.dweights, "dweights", z);
      for (std::size_t i = 0; i < z.weights.size(); ++i) {
        dweights.push_back(call.out<T>((*d.dweights)[i], z.weights[i]));
      }
      b.dweights = dweights.data();
    }
    b.y = call.in<T>(in.y, z.output);
    b.reserve = call.in<Sum<T>>(reserve, {rnn_reserve_size(b.stack)});
    b.dy = call.in<T>(d.dy, z.output);
    b.dhn = call.in<T>(d.dhn, z.state);
    b.dcn = call.in<T>(d.dcn, z.state);
    b.dx = call.out<T>(d.dx, in.x.shape);
    b.dh0 = call.out<T>(d.dh0, z.state);
    b.dc0 = call.out<T>(d.dc0, z.state);
    call.run(rnn_backward_scratch(b), [&](void* scratch) { return rnn_backward(b, scratch, stream_of(stream)); });
  });
}

Inputs read_inputs(const Call& call, const py::object& x, const Given& h0, const Given& c0, const GivenList& weights,
                   const py::object& y) {
  return {call.read(x, "x"), call.read(y, "y"), call.read(h0, "h0"), call.read(c0, "c0"),
          call.read(weights, "weights")};
}

Gradients read_gradients(const Call& call, const Given& dy, const Given& dhn, const Given& dcn, const Given& dx,
                         const Given& dh0, const Given& dc0, const std::optional<GivenList>& dweights) {
  Gradients d{call.read(dy, "dy"),   call.read(dhn, "dhn"), call.read(dcn, "dcn"), call.read(dx, "dx"),
              call.read(dh0, "dh0"), call.read(dc0, "dc0"), std::nullopt};
  if (dweights) d.dweights = call.read(*dweights, "dweights");
  return d;
}

i64 reserve_size(const std::string& name, i64 steps, i64 batch, i64, i64 hidden, i64 layers, i64 directions,
                 double dropout, std::uintptr_t) {
  const Call call("rnn_reserve_size");
  RnnStack<float> s{};
  s.cell = rnn_cell(call, name);
  double elements = 10.0 * static_cast<double>(directions);  // an upper bound of what one layer, unit and step need
  for (i64 size : {steps, batch, hidden, layers}) {
    call.require(size >= 0, [&] {
      return "T, N, H, layers are " + shape_text({steps, batch, hidden, layers}) + ", expected no negative size";
    });
    elements *= static_cast<double>(size);
  }
  call.require(layers >= 1 && (directions == 1 || directions == 2), [&] {
    return "layers is " + std::to_string(layers) + " and directions " + std::to_string(directions) +
           ", expected at least 1 layer and 1 or 2 directions";
  });
  call.require(elements < 4e18, [&] {
    return "T, N, H, layers are " + shape_text({steps, batch, hidden, layers}) + ", expected sizes that fit in memory";
  });
  s.steps = steps, s.batch = batch, s.hidden = s.output = hidden, s.layers = layers, s.directions = directions;
  s.dropout = dropout;
  return rnn_reserve_size(s);
}

// rnn_* take the nonlinearity, gru_* nothing, in front of the options; both have no cell state.
template <class... Extra>
auto plain_forward(const char* name, Cell (*cell)(const jadro::Call&, const Extra&...)) {
  return [=](const py::object& x, const Given& h0, const GivenList& weights, const py::object& y, const py::object& hn,
             const Given& reserve, const Extra&... extra, i64 layers, i64 directions, bool bias, double dropout,
             u64 seed, u64 offset, const std::string& algorithm, std::uintptr_t stream) {
    Call call(name);
    forward(call, cell(call, extra...), read_inputs(call, x, h0, std::nullopt, weights, y), hn, std::nullopt, reserve,
            {layers, directions, bias, dropout, seed, offset, algorithm}, stream);
  };
}
template <class... Extra>
auto plain_backward(const char* name, Cell (*cell)(const jadro::Call&, const Extra&...)) {
  return [=](const py::object& x, const Given& h0, const GivenList& weights, const py::object& y,
             const py::object& reserve, const Given& dy, const Given& dhn, const Given& dx, const Given& dh0,
             const std::optional<GivenList>& dweights, const Extra&... extra, i64 layers, i64 directions, bool bias,
             double dropout, u64 seed, u64 offset, const std::string& algorithm, std::uintptr_t stream) {
    Call call(name);
    const Gradients d = read_gradients(call, dy, dhn, std::nullopt, dx, dh0, std::nullopt, dweights);
    backward(call, cell(call, extra...), read_inputs(call, x, h0, std::nullopt, weights, y), reserve, d,
             {layers, directions, bias, dropout, seed, offset, algorithm}, stream);
  };
}
Cell gru_cell(const jadro::Call&) { return Cell::kGru; }

void bind_lstm(py::module_& m) {
  const auto layers = py::arg("layers"), directions = py::arg("directions"), bias = py::arg("bias");
  const auto dropout = py::arg("dropout"), seed = py::arg("seed"), offset = py::arg("offset");
  const py::arg_v algorithm = py::arg("algorithm") = "auto", on_stream = py::arg("stream") = 0;
  m.def(
      "lstm_forward",
      [](const py::object& x, const Given& h0, const Given& c0, const GivenList& weights, const py::object& y,
         const py::object& hn, const py::object& cn, const Given& reserve, i64 layers, i64 directions, bool bias,
         double dropout, u64 seed, u64 offset, const std::string& algorithm, std::uintptr_t stream) {
        Call call("lstm_forward");
        forward(call, Cell::kLstm, read_inputs(call, x, h0, c0, weights, y), hn, cn, reserve,
                {layers, directions, bias, dropout, seed, offset, algorithm}, stream);
      },
      py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("y"), py::arg("hn"), py::arg("cn"),
      py::arg("reserve"), layers, directions, bias, dropout, seed, offset, py::kw_only(), algorithm, on_stream);
  m.def(
      "lstm_backward",
      [](const py::object& x, const Given& h0, const Given& c0, const GivenList& weights, const py::object& y,
         const py::object& reserve, const Given& dy, const Given& dhn, const Given& dcn, const Given& dx,
         const Given& dh0, const Given& dc0, const std::optional<GivenList>& dweights, i64 layers, i64 directions,
         bool bias, double dropout, u64 seed, u64 offset, const std::string& algorithm, std::uintptr_t stream) {
        Call call("lstm_backward");
        const Gradients d = read_gradients(call, dy, dhn, dcn, dx, dh0, dc0, dweights);
        backward(call, Cell::kLstm, read_inputs(call, x, h0, c0, weights, y), reserve, d,
                 {layers, directions, bias, dropout, seed, offset, algorithm}, stream);
      },
      py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("y"), py::arg("reserve"), py::arg("dy"),
      py::arg("dhn"), py::arg("dcn"), py::arg("dx"), py::arg("dh0"), py::arg("dc0"), py::arg("dweights"), layers,
      directions, bias, dropout, seed, offset, py::kw_only(), algorithm, on_stream);
}

}  // namespace

void bind_rnn(py::module_& m) {
  const auto layers = py::arg("layers"), directions = py::arg("directions"), bias = py::arg("bias");
  const auto dropout = py::arg("dropout"), seed = py::arg("seed"), offset = py::arg("offset");
  const py::arg_v algorithm = py::arg("algorithm") = "auto", on_stream = py::arg("stream") = 0;
  m.def("rnn_reserve_size", &reserve_size, py::arg("cell"), py::arg("T"), py::arg("N"), py::arg("I"), py::arg("H"),
        layers, directions, dropout, py::kw_only(), on_stream);
  m.def("rnn_forward", plain_forward<std::string>("rnn_forward", vanilla_cell), py::arg("x"), py::arg("h0"),
        py::arg("weights"), py::arg("y"), py::arg("hn"), py::arg("reserve"), py::arg("nonlinearity"), layers,
        directions, bias, dropout, seed, offset, py::kw_only(), algorithm, on_stream);
  m.def("rnn_backward", plain_backward<std::string>("rnn_backward", vanilla_cell), py::arg("x"), py::arg("h0"),
        py::arg("weights"), py::arg("y"), py::arg("reserve"), py::arg("dy"), py::arg("dhn"), py::arg("dx"),
        py::arg("dh0"), py::arg("dweights"), py::arg("nonlinearity"), layers, directions, bias, dropout, seed, offset,
        py::kw_only(), algorithm, on_stream);
  m.def("gru_forward", plain_forward<>("gru_forward", gru_cell), py::arg("x"), py::arg("h0"), py::arg("weights"),
        py::arg("y"), py::arg("hn"), py::arg("reserve"), layers, directions, bias, dropout, seed, offset, py::kw_only(),
        algorithm, on_stream);
  m.def("gru_backward", plain_backward<>("gru_backward", gru_cell), py::arg("x"), py::arg("h0"), py::arg("weights"),
        py::arg("y"), py::arg("reserve"), py::arg("dy"), py::arg("dhn"), py::arg("dx"), py::arg("dh0"),
        py::arg("dweights"), layers, directions, bias, dropout, seed, offset, py::kw_only(), algorithm, on_stream);
  bind_lstm(m);
}

}  // namespace jadro::cuda
