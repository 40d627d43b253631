// Recurrent layers with options: the general form of rnn_forward, lstm_forward and gru_forward.
#include <cmath>
#include <string>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/rnn.h"
#include "ops/rnn.h"

namespace jadro {
namespace {

using Arrays = std::vector<py::array>;
using Maybe = std::optional<py::array>;

RnnCallOptions make_options(i64 layers, i64 directions, bool bias, double dropout, u64 seed, u64 offset,
                            bool layer_norm, bool peephole, std::optional<double> gate_clip,
                            std::optional<double> cell_clip, double zoneout_h, double zoneout_c,
                            double recurrent_dropout, bool update, bool training, i64 checkpoint) {
  const Call call("RnnOptions");
  const auto at_least = [&](const char* name, i64 value, i64 least) {
    call.require(value >= least, [&] {
      return std::string(name) + " is " + std::to_string(value) + ", expected at least " + std::to_string(least);
    });
  };
  const auto probability = [&](const char* name, double p, double most) {
    call.require(p >= 0 && p <= most, [&] {
      return std::string(name) + " is " + std::to_string(p) + ", expected 0 <= " + name + (most < 1 ? " < 1" : " <= 1");
    });
  };
  const auto bound = [&](const char* name, std::optional<double> v) {
    call.require(!v || *v > 0, [&] { return std::string(name) + " is " + std::to_string(*v) + ", expected above 0"; });
  };
  at_least("layers", layers, 1);
  at_least("checkpoint", checkpoint, 0);
  call.require(directions == 1 || directions == 2,
               [&] { return "directions is " + std::to_string(directions) + ", expected 1 or 2"; });
  probability("dropout", dropout, 1);
  probability("zoneout_h", zoneout_h, 1);
  probability("zoneout_c", zoneout_c, 1);
  probability("recurrent_dropout", recurrent_dropout, std::nextafter(1.0, 0.0));
  bound("gate_clip", gate_clip);
  bound("cell_clip", cell_clip);
  RnnSettings s;
  s.layer_norm = layer_norm;
  s.peephole = peephole;
  s.training = training;
  s.update = update;
  s.gate_clip = gate_clip.value_or(s.gate_clip);
  s.cell_clip = cell_clip.value_or(s.cell_clip);
  s.zoneout_h = zoneout_h;
  s.zoneout_c = zoneout_c;
  s.recurrent_dropout = recurrent_dropout;
  s.checkpoint = checkpoint;
  return {layers, directions, bias, dropout, seed, offset, s};
}

// The sizes and arrays of a call but for its outputs' gradients.
struct Problem {
  Call& call;
  const py::array& x;
  const Maybe &h0, &c0, &reset_h, &reset_c, &lengths, &reset;
  const Arrays& weights;
  RnnSizes sizes;
  i64 tokens;

  Problem(Call& call, const std::string& cell_name, const py::array& x, const Maybe& h0, const Maybe& c0,
          const Arrays& weights, const Maybe& lengths, const Maybe& reset, const Maybe& reset_h, const Maybe& reset_c,
          const py::array& y, const RnnCallOptions& o)
      : call(call),
        x(x),
        h0(h0),
        c0(c0),
        reset_h(reset_h),
        reset_c(reset_c),
        lengths(lengths),
        reset(reset),
        weights(weights) {
    const Cell cell = rnn_cell(call, cell_name);
    call.set_dtype(x, "x");
    call.check_rank(x, "x", 3);
    call.check_rank(y, "y", 3);
    call.require(x.shape(0) >= 1,
                 [&] { return "x has shape " + shape_text(shape_of(x)) + ", expected at least one time step"; });
    call.require(!weights.empty() && weights[0].ndim() == 2,
                 [&] { return std::string("weights holds no matrix w_ih, expected one first"); });
    const i64 hidden = weights[0].shape(0) / gates_of(cell);
    sizes = rnn_sizes(call, cell, x.shape(0), x.shape(1), x.shape(2), hidden, y.shape(2) / o.directions, o);
    call.require(is_lstm(cell) || !(c0 || reset_c),
                 [&] { return std::string("c0 or reset_c was given, expected them for an lstm alone"); });
    call.require(reset.has_value() || !(reset_h || reset_c),
                 [&] { return std::string("reset_h or reset_c was given without reset"); });
    tokens = count_tokens();
  }

  i64 count_tokens() const {
    if (!lengths) return sizes.steps * sizes.batch;
    const i64* const values = call.in<i64>(lengths, "lengths", {sizes.batch});
    i64 sum = 0;
    for (i64 n = 0; n < sizes.batch; ++n) {
      call.require(values[n] >= 0 && values[n] <= sizes.steps, [&] {
        return "lengths[" + std::to_string(n) + "] is " + std::to_string(values[n]) + ", expected 0.." +
               std::to_string(sizes.steps);
      });
      sum += values[n];
    }
    return sum;
  }

  std::vector<i64> h_shape() const { return {sizes.layers * sizes.directions, sizes.batch, sizes.output}; }
  std::vector<i64> c_shape() const { return {sizes.layers * sizes.directions, sizes.batch, sizes.hidden}; }
  std::vector<i64> y_shape() const { return {sizes.steps, sizes.batch, sizes.directions * sizes.output}; }
  std::vector<i64> cells_shape() const { return {sizes.steps, sizes.batch, sizes.directions * sizes.hidden}; }
  std::vector<i64> reserve_shape() const { return {rnn_reserve_size(sizes, lengths.has_value(), tokens)}; }

  template <class T, class Array, class Pointer>
  std::vector<Pointer> pointers(Array& arrays, const char* argument) const {
    const auto shapes = rnn_parameter_shapes(sizes);
    call.require(arrays.size() == shapes.size(), [&] {
      return std::string(argument) + " has " + std::to_string(arrays.size()) + " arrays, expected " +
             std::to_string(shapes.size());
    });
    std::vector<Pointer> found;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      if constexpr (std::is_const_v<std::remove_pointer_t<Pointer>>) {
        found.push_back(call.in<T>(arrays[i], argument, shapes[i]));
      } else {
        found.push_back(call.out<T>(arrays[i], argument, shapes[i]));
      }
    }
    return found;
  }

  template <class T>
  RnnStack<T> stack(const std::vector<const T*>& w) const {
    RnnStack<T> s{};
    static_cast<RnnSizes&>(s) = sizes;
    s.x = call.in<T>(x, "x", {sizes.steps, sizes.batch, sizes.input});
    s.h0 = call.in<T>(h0, "h0", h_shape());
    s.c0 = call.in<T>(c0, "c0", c_shape());
    s.reset_h = call.in<T>(reset_h, "reset_h", h_shape());
    s.reset_c = call.in<T>(reset_c, "reset_c", c_shape());
    s.weights = w.data();
    s.lengths = call.in<i64>(lengths, "lengths", {sizes.batch});
    s.reset = reinterpret_cast<const unsigned char*>(call.in<bool>(reset, "reset", {sizes.steps, sizes.batch}));
    return s;
  }
};

void forward(const std::string& cell, const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights,
             const Maybe& lengths, const Maybe& reset, const Maybe& reset_h, const Maybe& reset_c, py::array& y,
             py::array& hn, Maybe& cn, Maybe& cells, Maybe& reserve, const RnnCallOptions& o) {
  Call call("rnn_options_forward");
  const Problem p(call, cell, x, h0, c0, weights, lengths, reset, reset_h, reset_c, y, o);
  call.require(cn.has_value() == is_lstm(p.sizes.cell) && (cn || !cells),
               [&] { return std::string("cn or cells do not fit the cell, expected them for an lstm alone"); });
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const auto w = p.pointers<T, const Arrays, const T*>(weights, "weights");
    const RnnStackForward<T> f{p.stack<T>(w),
                               call.out<T>(y, "y", p.y_shape()),
                               call.out<T>(hn, "hn", p.h_shape()),
                               call.out<T>(cn, "cn", p.c_shape()),
                               call.out<T>(cells, "cells", p.cells_shape()),
                               call.out<T>(reserve, "reserve", p.reserve_shape())};
    py::gil_scoped_release unlocked;
    rnn_forward(f);
  });
}

void backward(const std::string& cell, const py::array& x, const Maybe& h0, const Maybe& c0, const Arrays& weights,
              const Maybe& lengths, const Maybe& reset, const Maybe& reset_h, const Maybe& reset_c, const py::array& y,
              const py::array& reserve, const Maybe& dy, const Maybe& dhn, const Maybe& dcn, const Maybe& dcells,
              Maybe& dx, Maybe& dh0, Maybe& dc0, Maybe& dreset_h, Maybe& dreset_c, std::optional<Arrays>& dweights,
              const RnnCallOptions& o) {
  Call call("rnn_options_backward");
  const Problem p(call, cell, x, h0, c0, weights, lengths, reset, reset_h, reset_c, y, o);
  call.require(is_lstm(p.sizes.cell) || !(dcn || dcells || dc0 || dreset_c),
               [&] { return std::string("a gradient of c was given, expected it for an lstm alone"); });
  with_dtype(call, [&](auto zero) {
    using T = decltype(zero);
    const auto w = p.pointers<T, const Arrays, const T*>(weights, "weights");
    std::vector<T*> dw;
    if (dweights) dw = p.pointers<T, Arrays, T*>(*dweights, "dweights");
    const RnnStackBackward<T> b{p.stack<T>(w),
                                call.in<T>(y, "y", p.y_shape()),
                                call.in<T>(reserve, "reserve", p.reserve_shape()),
                                call.in<T>(dy, "dy", p.y_shape()),
                                call.in<T>(dhn, "dhn", p.h_shape()),
                                call.in<T>(dcn, "dcn", p.c_shape()),
                                call.in<T>(dcells, "dcells", p.cells_shape()),
                                call.out<T>(dx, "dx", {p.sizes.steps, p.sizes.batch, p.sizes.input}),
                                call.out<T>(dh0, "dh0", p.h_shape()),
                                call.out<T>(dc0, "dc0", p.c_shape()),
                                call.out<T>(dreset_h, "dreset_h", p.h_shape()),
                                call.out<T>(dreset_c, "dreset_c", p.c_shape()),
                                dweights ? dw.data() : nullptr};
    py::gil_scoped_release unlocked;
    rnn_backward(b);
  });
}

i64 reserve_size(const std::string& cell, i64 T, i64 N, i64 I, i64 H, i64 P, i64 tokens, bool ragged,
                 const RnnCallOptions& o) {
  const Call call("rnn_options_reserve_size");
  const RnnSizes s = rnn_sizes(call, rnn_cell(call, cell), T, N, I, H, P, o);
  call.require(tokens >= 0 && static_cast<double>(tokens) <= static_cast<double>(T) * static_cast<double>(N),
               [&] { return "tokens is " + std::to_string(tokens) + ", expected 0..T*N"; });
  return rnn_reserve_size(s, ragged, tokens);
}

}  // namespace

void bind_rnn_options(py::module_& m) {
  py::class_<RnnCallOptions>(m, "RnnOptions")
      .def(py::init(&make_options), py::arg("layers") = 1, py::arg("directions") = 1, py::arg("bias") = true,
           py::arg("dropout") = 0.0, py::arg("seed") = 0, py::arg("offset") = 0, py::arg("layer_norm") = false,
           py::arg("peephole") = false, py::arg("gate_clip") = py::none(), py::arg("cell_clip") = py::none(),
           py::arg("zoneout_h") = 0.0, py::arg("zoneout_c") = 0.0, py::arg("recurrent_dropout") = 0.0,
           py::arg("update") = false, py::arg("training") = false, py::arg("checkpoint") = 0);
  m.def("rnn_options_reserve_size", reserve_size, py::arg("cell"), py::arg("T"), py::arg("N"), py::arg("I"),
        py::arg("H"), py::arg("P"), py::arg("tokens"), py::arg("ragged"), py::arg("options"));
  m.def("rnn_options_forward", forward, py::arg("cell"), py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"),
        py::arg("lengths"), py::arg("reset"), py::arg("reset_h"), py::arg("reset_c"), py::arg("y"), py::arg("hn"),
        py::arg("cn"), py::arg("cells"), py::arg("reserve"), py::arg("options"));
  m.def("rnn_options_backward", backward, py::arg("cell"), py::arg("x"), py::arg("h0"), py::arg("c0"),
        py::arg("weights"), py::arg("lengths"), py::arg("reset"), py::arg("reset_h"), py::arg("reset_c"), py::arg("y"),
        py::arg("reserve"), py::arg("dy"), py::arg("dhn"), py::arg("dcn"), py::arg("dcells"), py::arg("dx"),
        py::arg("dh0"), py::arg("dc0"), py::arg("dreset_h"), py::arg("dreset_c"), py::arg("dweights"),
        py::arg("options"));
}

}  // namespace jadro
