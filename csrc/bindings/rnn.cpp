#include "ops/rnn.h"

#include <array>
#include <string>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/rnn.h"

namespace jadro {

namespace {

using Arrays = std::vector<py::array>;
using Maybe = std::optional<py::array>;

struct Options {
  i64 layers, directions;
  bool bias;
  double dropout;
  u64 seed, offset;
};

// The sizes of the call, from x, y and the options, and the shapes that follow from them.
struct Sizes {
  i64 steps, batch, input, hidden, gates, width;  // of x, y and the gates; width: of the inputs of all layers but one
  std::size_t weights;
  std::array<i64, 3> state, output;

  Sizes(const Call& call, Cell cell, const py::array& x, const py::array& y, const Options& o) {
    call.check_rank(x, "x", 3);
    call.check_rank(y, "y", 3);
    call.require(o.layers >= 1, [&] { return "layers is " + std::to_string(o.layers) + ", expected at least 1"; });
    call.require(o.directions == 1 || o.directions == 2,
                 [&] { return "directions is " + std::to_string(o.directions) + ", expected 1 or 2"; });
    call.require(o.dropout >= 0 && o.dropout <= 1,
                 [&] { return "dropout is " + std::to_string(o.dropout) + ", expected 0 <= dropout <= 1"; });
    steps = x.shape(0);
    batch = x.shape(1);
    input = x.shape(2);
    hidden = y.shape(2) / o.directions;
    call.require(steps >= 1,
                 [&] { return "x has shape " + shape_text(shape_of(x)) + ", expected at least one time step"; });
    call.require(hidden >= 1,
                 [&] { return "y has shape " + shape_text(shape_of(y)) + ", expected at least one hidden unit"; });
    gates = gates_of(cell);
    width = o.directions * hidden;
    state = {o.layers * o.directions, batch, hidden};
    output = {steps, batch, width};
    each_ = o.bias ? 4 : 2;
    first_ = static_cast<std::size_t>(o.directions) * each_;
    weights = static_cast<std::size_t>(o.layers) * first_;
  }

  // Calls f with the shape of weight i: w_ih, w_hh and perhaps two biases for each layer and direction.
  template <class F>
  auto with_weight_shape(std::size_t i, F f) const {
    const i64 rows = gates * hidden;
    if (i % each_ >= 2) return f({rows});
    return f({rows, i % each_ == 1 ? hidden : i < first_ ? input : width});
  }

 private:
  std::size_t each_, first_;
};

void check_count(const Call& call, const Arrays& arrays, const char* argument, const Sizes& z) {
  call.require(arrays.size() == z.weights, [&] {
    return std::string(argument) + " has " + std::to_string(arrays.size()) + " arrays, expected " +
           std::to_string(z.weights);
  });
}

template <class T>
std::vector<const T*> weight_pointers(const Call& call, const Arrays& weights, const Sizes& z) {
  check_count(call, weights, "weights", z);
  std::vector<const T*> pointers;
  pointers.reserve(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    pointers.push_back(
        z.with_weight_shape(i, [&](const Dims& shape) { return call.in<T>(weights[i], "weights", shape); }));
  }
  return pointers;
}

template <class T>
RnnStack<T> stack_of(const Call& call, Cell cell, const Sizes& z, const Options& o, const py::array& x, const Maybe& h0,
                     const Maybe& c0, const std::vector<const T*>& weights) {
  RnnStack<T> s{};
  static_cast<RnnSizes&>(s) = {cell,         z.steps, z.batch,   z.input, z.hidden, z.hidden, o.layers,
                               o.directions, o.bias,  o.dropout, o.seed,  o.offset, {}};
  s.x = call.in<T>(x, "x", {z.steps, z.batch, z.input});
  s.h0 = call.in<T>(h0, "h0", z.state);
  s.c0 = call.in<T>(c0, "c0", z.state);
  s.weights = weights.data();
  return s;
}

i64 plain_reserve(Cell cell, i64 T, i64 N, i64 H, i64 layers, i64 directions, double dropout) {
  return rnn_reserve_size({cell, T, N, 0, H, H, layers, directions, false, dropout, 0, 0, {}}, false, T * N);
}

i64 reserve_size(const std::string& cell, i64 T, i64 N, i64 H, i64 layers, i64 directions, double dropout) {
  const Call call("rnn_reserve_size");
  const Cell which = rnn_cell(call, cell);
  const i64 sizes[] = {T, N, H, layers};
  double elements = 10.0 * static_cast<double>(directions);  // an upper bound of what one layer, unit and step need
  for (i64 size : sizes) {
    call.require(size >= 0, [&] {
      return "T, N, H, layers are " + shape_text({T, N, H, layers}) + ", expected no negative size";
    });
    elements *= static_cast<double>(size);
  }
  call.require(layers >= 1 && (directions == 1 || directions == 2), [&] {
    return "layers is " + std::to_string(layers) + " and directions " + std::to_string(directions) +
           ", expected at least 1 layer and 1 or 2 directions";
  });
  call.require(elements < 4e18, [&] {
    return "T, N, H, layers are " + shape_text({T, N, H, layers}) + ", expected sizes that fit in memory";
  });
  return plain_reserve(which, T, N, H, layers, directions, dropout);
}

std::array<i64, 1> reserve_shape(Cell cell, const Sizes& z, const Options& o) {
  return {plain_reserve(cell, z.steps, z.batch, z.hidden, o.layers, o.directions, o.dropout)};
}

void forward(Call& call, Cell cell, const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights,
             py::array& y, py::array& hn, Maybe cn, Maybe& reserve, const Options& o) {
  call.set_dtype(x, "x");
  const Sizes z(call, cell, x, y, o);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<const T*> w = weight_pointers<T>(call, weights, z);
    const RnnStackForward<T> f{stack_of<T>(call, cell, z, o, x, h0, c0, w),
                               call.out<T>(y, "y", z.output),
                               call.out<T>(hn, "hn", z.state),
                               call.out<T>(cn, "cn", z.state),
                               nullptr,
                               call.out<T>(reserve, "reserve", reserve_shape(cell, z, o))};
    py::gil_scoped_release unlocked;
    rnn_forward(f);
  });
}

struct Gradients {
  const Maybe &dy, &dhn, &dcn;
  Maybe &dx, &dh0, &dc0;
  std::optional<Arrays>& dweights;
};

void backward(Call& call, Cell cell, const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights,
              const py::array& y, const py::array& reserve, const Gradients& d, const Options& o) {
  call.set_dtype(x, "x");
  const Sizes z(call, cell, x, y, o);
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const std::vector<const T*> w = weight_pointers<T>(call, weights, z);
    std::vector<T*> dw;
    if (d.dweights) {
      check_count(call, *d.dweights, "dweights", z);
      for (std::size_t i = 0; i < d.dweights->size(); ++i) {
        dw.push_back(z.with_weight_shape(
            i, [&](const Dims& shape) { return call.out<T>((*d.dweights)[i], "dweights", shape); }));
      }
    }
    const RnnStackBackward<T> b{stack_of<T>(call, cell, z, o, x, h0, c0, w),
                                call.in<T>(y, "y", z.output),
                                call.in<T>(reserve, "reserve", reserve_shape(cell, z, o)),
                                call.in<T>(d.dy, "dy", z.output),
                                call.in<T>(d.dhn, "dhn", z.state),
                                call.in<T>(d.dcn, "dcn", z.state),
                                nullptr,
                                call.out<T>(d.dx, "dx", {z.steps, z.batch, z.input}),
                                call.out<T>(d.dh0, "dh0", z.state),
                                call.out<T>(d.dc0, "dc0", z.state),
                                nullptr,
                                nullptr,
                                d.dweights ? dw.data() : nullptr};
    py::gil_scoped_release unlocked;
    rnn_backward(b);
  });
}

// rnn_* take the nonlinearity, gru_* nothing, in front of the options.
void plain_forward(Call call, Cell cell, const py::array& x, const Maybe& h0, const Arrays& weights, py::array& y,
                   py::array& hn, Maybe& reserve, const Options& o) {
  forward(call, cell, x, h0, std::nullopt, weights, y, hn, std::nullopt, reserve, o);
}

void plain_backward(Call call, Cell cell, const py::array& x, const Maybe& h0, const Arrays& weights,
                    const py::array& y, const py::array& reserve, const Maybe& dy, const Maybe& dhn, Maybe& dx,
                    Maybe& dh0, std::optional<Arrays>& dweights, const Options& o) {
  Maybe none;
  backward(call, cell, x, h0, none, weights, y, reserve, {dy, dhn, none, dx, dh0, none, dweights}, o);
}

// The names of the last arguments of every function.
struct Tail {
  py::arg layers{"layers"}, directions{"directions"}, bias{"bias"}, dropout{"dropout"}, seed{"seed"}, offset{"offset"};
};

void bind_vanilla(py::module_& m, const Tail& o) {
  m.def(
      "rnn_reserve_size",  // the inputs' width leaves it as it is
      [](const std::string& cell, i64 T, i64 N, i64, i64 H, i64 layers, i64 directions, double dropout) {
        return reserve_size(cell, T, N, H, layers, directions, dropout);
      },
      py::arg("cell"), py::arg("T"), py::arg("N"), py::arg("I"), py::arg("H"), o.layers, o.directions, o.dropout);
  m.def(
      "rnn_forward",
      [](const py::array& x, const Maybe& h0, const Arrays& weights, py::array& y, py::array& hn, Maybe& reserve,
         const std::string& nonlinearity, i64 layers, i64 directions, bool bias, double dropout, u64 seed, u64 offset) {
        Call call("rnn_forward");
        plain_forward(call, vanilla_cell(call, nonlinearity), x, h0, weights, y, hn, reserve,
                      {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("y"), py::arg("hn"), py::arg("reserve"),
      py::arg("nonlinearity"), o.layers, o.directions, o.bias, o.dropout, o.seed, o.offset);
  m.def(
      "rnn_backward",
      [](const py::array& x, const Maybe& h0, const Arrays& weights, const py::array& y, const py::array& reserve,
         const Maybe& dy, const Maybe& dhn, Maybe& dx, Maybe& dh0, std::optional<Arrays>& dweights,
         const std::string& nonlinearity, i64 layers, i64 directions, bool bias, double dropout, u64 seed, u64 offset) {
        Call call("rnn_backward");
        plain_backward(call, vanilla_cell(call, nonlinearity), x, h0, weights, y, reserve, dy, dhn, dx, dh0, dweights,
                       {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("y"), py::arg("reserve"), py::arg("dy"), py::arg("dhn"),
      py::arg("dx"), py::arg("dh0"), py::arg("dweights"), py::arg("nonlinearity"), o.layers, o.directions, o.bias,
      o.dropout, o.seed, o.offset);
}

void bind_lstm(py::module_& m, const Tail& o) {
  m.def(
      "lstm_forward",
      [](const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights, py::array& y, py::array& hn,
         py::array& cn, Maybe& reserve, i64 layers, i64 directions, bool bias, double dropout, u64 seed, u64 offset) {
        Call call("lstm_forward");
        forward(call, Cell::kLstm, x, h0, c0, weights, y, hn, cn, reserve,
                {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("y"), py::arg("hn"), py::arg("cn"),
      py::arg("reserve"), o.layers, o.directions, o.bias, o.dropout, o.seed, o.offset);
  m.def(
      "lstm_backward",
      [](const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights, const py::array& y,
         const py::array& reserve, const Maybe& dy, const Maybe& dhn, const Maybe& dcn, Maybe& dx, Maybe& dh0,
         Maybe& dc0, std::optional<Arrays>& dweights, i64 layers, i64 directions, bool bias, double dropout, u64 seed,
         u64 offset) {
        Call call("lstm_backward");
        backward(call, Cell::kLstm, x, h0, c0, weights, y, reserve, {dy, dhn, dcn, dx, dh0, dc0, dweights},
                 {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("y"), py::arg("reserve"), py::arg("dy"),
      py::arg("dhn"), py::arg("dcn"), py::arg("dx"), py::arg("dh0"), py::arg("dc0"), py::arg("dweights"), o.layers,
      o.directions, o.bias, o.dropout, o.seed, o.offset);
}

void bind_gru(py::module_& m, const Tail& o) {
  m.def(
      "gru_forward",
      [](const py::array& x, const Maybe& h0, const Arrays& weights, py::array& y, py::array& hn, Maybe& reserve,
         i64 layers, i64 directions, bool bias, double dropout, u64 seed, u64 offset) {
        plain_forward(Call("gru_forward"), Cell::kGru, x, h0, weights, y, hn, reserve,
                      {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("y"), py::arg("hn"), py::arg("reserve"), o.layers,
      o.directions, o.bias, o.dropout, o.seed, o.offset);
  m.def(
      "gru_backward",
      [](const py::array& x, const Maybe& h0, const Arrays& weights, const py::array& y, const py::array& reserve,
         const Maybe& dy, const Maybe& dhn, Maybe& dx, Maybe& dh0, std::optional<Arrays>& dweights, i64 layers,
         i64 directions, bool bias, double dropout, u64 seed, u64 offset) {
        plain_backward(Call("gru_backward"), Cell::kGru, x, h0, weights, y, reserve, dy, dhn, dx, dh0, dweights,
                       {layers, directions, bias, dropout, seed, offset});
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("y"), py::arg("reserve"), py::arg("dy"), py::arg("dhn"),
      py::arg("dx"), py::arg("dh0"), py::arg("dweights"), o.layers, o.directions, o.bias, o.dropout, o.seed, o.offset);
}

}  // namespace

void bind_rnn(py::module_& m) {
  bind_vanilla(m, {});
  bind_lstm(m, {});
  bind_gru(m, {});
}

}  // namespace jadro
