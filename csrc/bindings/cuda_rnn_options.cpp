// Recurrent layers with options: the general form of rnn_forward, lstm_forward and gru_forward.
#include <memory>
#include <stdexcept>
#include <string>

#include "bindings/cuda_arrays.h"
#include "bindings/cuda_module.h"
#include "bindings/cuda_rnn.h"
#include "bindings/rnn.h"
#include "cuda/launch.h"

namespace jadro::cuda {
namespace {

using GivenList = std::vector<py::object>;

// The arrays that both calls are given; lengths and reset lie on the host.
struct Inputs {
  Array x, y;
  Maybe h0, c0, reset_h, reset_c;
  std::vector<Array> weights;
  std::optional<py::array> lengths, reset;
};

std::optional<py::array> host_array(const Call& call, const Given& given, const char* argument) {
  if (!given) return std::nullopt;
  if (!py::isinstance<py::array>(*given)) {
    call.type_error(std::string(argument) + " is a " + Py_TYPE(given->ptr())->tp_name +
                    ", expected a NumPy array, on the CPU");
  }
  return py::reinterpret_borrow<py::array>(*given);
}

// The sizes and arrays of a call but for its outputs' gradients.
class Problem {
 public:
  Problem(Call& call, const std::string& cell_name, const Inputs& in, const RnnCallOptions& o)
      : call_(call), in_(in), cell_(rnn_cell(call, cell_name)) {
    call.set_any_dtype(in.x);
    call.check_rank(in.x, 3);
    call.check_rank(in.y, 3);
    call.require(in.x.shape[0] >= 1,
                 [&] { return "x has shape " + shape_text(in.x.shape) + ", expected at least one time step"; });
    call.require(!in.weights.empty() && in.weights[0].shape.size() == 2,
                 [] { return std::string("weights holds no matrix w_ih, expected one first"); });
    sizes = rnn_sizes(call, cell_, in.x.shape[0], in.x.shape[1], in.x.shape[2],
                      in.weights[0].shape[0] / gates_of(cell_), in.y.shape[2] / o.directions, o);
    call.require(is_lstm(cell_) || !(in.c0 || in.reset_c),
                 [] { return std::string("c0 or reset_c was given, expected them for an lstm alone"); });
    call.require(in.reset.has_value() || !(in.reset_h || in.reset_c),
                 [] { return std::string("reset_h or reset_c was given without reset"); });
    make_rows();
  }

  RnnSizes sizes;
  std::vector<i64> h_shape() const { return {sizes.layers * sizes.directions, sizes.batch, sizes.output}; }
  std::vector<i64> c_shape() const { return {sizes.layers * sizes.directions, sizes.batch, sizes.hidden}; }
  std::vector<i64> y_shape() const { return {sizes.steps, sizes.batch, sizes.directions * sizes.output}; }
  std::vector<i64> cells_shape() const { return {sizes.steps, sizes.batch, sizes.directions * sizes.hidden}; }

  // Pointers to the arrays of all parameters, in their order.
  template <class Pointer>
  std::vector<Pointer> pointers(const std::vector<Array>& arrays, const char* argument) const {
    using T = std::remove_const_t<std::remove_pointer_t<Pointer>>;
    const auto shapes = rnn_parameter_shapes(sizes);
    call_.require(arrays.size() == shapes.size(), [&] {
      return std::string(argument) + " has " + std::to_string(arrays.size()) + " arrays, expected " +
             std::to_string(shapes.size());
    });
    std::vector<Pointer> found;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      if constexpr (std::is_const_v<std::remove_pointer_t<Pointer>>) {
        found.push_back(call_.in<T>(arrays[i], shapes[i]));
      } else {
        found.push_back(call_.out<T>(arrays[i], shapes[i]));
      }
    }
    return found;
  }

  template <class T>
  RnnStack<T> stack(const std::vector<const T*>& weights, const std::string& algorithm) const {
    RnnStack<T> s{};
    static_cast<RnnSizes&>(s) = sizes;
    s.x = call_.in<T>(in_.x, {sizes.steps, sizes.batch, sizes.input});
    s.h0 = call_.in<T>(in_.h0, h_shape());
    s.c0 = call_.in<T>(in_.c0, c_shape());
    s.reset_h = call_.in<T>(in_.reset_h, h_shape());
    s.reset_c = call_.in<T>(in_.reset_c, c_shape());
    s.weights = weights.data();
    s.algorithm = rnn_algorithm(call_, algorithm);
    s.rows = rows_.get();
    call_.require(s.algorithm != RnnAlgorithm::kPersistent || rnn_is_persistent(s), [&] {
      return "algorithm is 'persistent', but " + std::to_string(sizes.hidden) +
             " units with these options do not run in one launch";
    });
    return s;
  }

 private:
  void make_rows() {
    const jadro::Call& host = call_;
    const i64* const lengths = host.in<i64>(in_.lengths, "lengths", {sizes.batch});
    for (i64 n = 0; lengths && n < sizes.batch; ++n) {
      call_.require(lengths[n] >= 0 && lengths[n] <= sizes.steps, [&] {
        return "lengths[" + std::to_string(n) + "] is " + std::to_string(lengths[n]) + ", expected 0.." +
               std::to_string(sizes.steps);
      });
    }
    const bool* const reset = host.in<bool>(in_.reset, "reset", {sizes.steps, sizes.batch});
    rows_ = std::make_unique<RnnRows>(sizes.steps, sizes.batch, sizes.directions, lengths,
                                      reinterpret_cast<const unsigned char*>(reset));
  }

  Call& call_;
  const Inputs& in_;
  Cell cell_;
  std::unique_ptr<RnnRows> rows_;
};

void refuse_checkpoint(const Call& call, const RnnCallOptions& o) {
  if (o.settings.checkpoint == 0) return;
  throw std::runtime_error(call.name() + ": checkpoint is " + std::to_string(o.settings.checkpoint) +
                           ", which is not available on cuda");
}

Inputs read_inputs(const Call& call, const py::object& x, const Given& h0, const Given& c0, const GivenList& weights,
                   const Given& lengths, const Given& reset, const Given& reset_h, const Given& reset_c,
                   const py::object& y) {
  return {call.read(x, "x"),
          call.read(y, "y"),
          call.read(h0, "h0"),
          call.read(c0, "c0"),
          call.read(reset_h, "reset_h"),
          call.read(reset_c, "reset_c"),
          call.read(weights, "weights"),
          host_array(call, lengths, "lengths"),
          host_array(call, reset, "reset")};
}

void forward(const std::string& cell, const py::object& x, const Given& h0, const Given& c0, const GivenList& weights,
             const Given& lengths, const Given& reset, const Given& reset_h, const Given& reset_c, const py::object& y,
             const py::object& hn_given, const Given& cn_given, const Given& cells_given, const Given& reserve_given,
             const RnnCallOptions& o, const std::string& algorithm, std::uintptr_t stream) {
  Call call("rnn_options_forward");
  const Inputs in = read_inputs(call, x, h0, c0, weights, lengths, reset, reset_h, reset_c, y);
  const Array hn = call.read(hn_given, "hn");
  const Maybe cn = call.read(cn_given, "cn"), cells = call.read(cells_given, "cells");
  const Maybe reserve = call.read(reserve_given, "reserve");
  const Problem p(call, cell, in, o);
  call.require(cn.has_value() == is_lstm(p.sizes.cell) && (cn || !cells),
               [] { return std::string("cn or cells do not fit the cell, expected them for an lstm alone"); });
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const auto w = p.pointers<const T*>(in.weights, "weights");
    RnnStackForward<T> f{p.stack<T>(w, algorithm), nullptr, nullptr, nullptr, nullptr, nullptr};
    f.y = call.out<T>(in.y, p.y_shape());
    f.hn = call.out<T>(hn, p.h_shape());
    f.cn = call.out<T>(cn, p.c_shape());
    f.cells = call.out<T>(cells, p.cells_shape());
    f.reserve = call.out<Sum<T>>(reserve, {rnn_reserve_size(f.stack)});
    call.run(rnn_options_forward_scratch(f),
             [&](void* scratch) { return rnn_options_forward(f, scratch, stream_of(stream)); });
  });
}

void backward(const std::string& cell, const py::object& x, const Given& h0, const Given& c0, const GivenList& weights,
              const Given& lengths, const Given& reset, const Given& reset_h, const Given& reset_c, const py::object& y,
              const py::object& reserve_given, const Given& dy_given, const Given& dhn_given, const Given& dcn_given,
              const Given& dcells_given, const Given& dx_given, const Given& dh0_given, const Given& dc0_given,
              const Given& dreset_h_given, const Given& dreset_c_given, const std::optional<GivenList>& dweights_given,
              const RnnCallOptions& o, const std::string& algorithm, std::uintptr_t stream) {
  Call call("rnn_options_backward");
  refuse_checkpoint(call, o);
  const Inputs in = read_inputs(call, x, h0, c0, weights, lengths, reset, reset_h, reset_c, y);
  const Array reserve = call.read(reserve_given, "reserve");
  const Maybe dy = call.read(dy_given, "dy"), dhn = call.read(dhn_given, "dhn"), dcn = call.read(dcn_given, "dcn");
  const Maybe dcells = call.read(dcells_given, "dcells"), dx = call.read(dx_given, "dx");
  const Maybe dh0 = call.read(dh0_given, "dh0"), dc0 = call.read(dc0_given, "dc0");
  const Maybe dreset_h = call.read(dreset_h_given, "dreset_h"), dreset_c = call.read(dreset_c_given, "dreset_c");
  std::vector<Array> dweights;
  if (dweights_given) dweights = call.read(*dweights_given, "dweights");
  const Problem p(call, cell, in, o);
  call.require(is_lstm(p.sizes.cell) || !(dcn || dcells || dc0 || dreset_c),
               [] { return std::string("a gradient of c was given, expected it for an lstm alone"); });
  call.with_any_dtype([&](auto zero) {
    using T = decltype(zero);
    const auto w = p.pointers<const T*>(in.weights, "weights");
    std::vector<T*> dw;
    if (dweights_given) dw = p.pointers<T*>(dweights, "dweights");
    RnnStackBackward<T> b{};
    b.stack = p.stack<T>(w, algorithm);
    b.y = call.in<T>(in.y, p.y_shape());
    b.reserve = call.in<Sum<T>>(reserve, {rnn_reserve_size(b.stack)});
    b.dy = call.in<T>(dy, p.y_shape());
    b.dhn = call.in<T>(dhn, p.h_shape());
    b.dcn = call.in<T>(dcn, p.c_shape());
    b.dcells = call.in<T>(dcells, p.cells_shape());
    b.dx = call.out<T>(dx, in.x.shape);
    b.dh0 = call.out<T>(dh0, p.h_shape());
    b.dc0 = call.out<T>(dc0, p.c_shape());
    b.dreset_h = call.out<T>(dreset_h, p.h_shape());
    b.dreset_c = call.out<T>(dreset_c, p.c_shape());
    b.dweights = dweights_given ? dw.data() : nullptr;
    call.run(rnn_options_backward_scratch(b),
             [&](void* scratch) { return rnn_options_backward(b, scratch, stream_of(stream)); });
  });
}

i64 reserve_size(const std::string& cell, i64 T, i64 N, i64 I, i64 H, i64 P, i64 tokens, bool ragged,
                 const RnnCallOptions& o, std::uintptr_t) {
  const Call call("rnn_options_reserve_size");
  refuse_checkpoint(call, o);
  const RnnSizes s = rnn_sizes(call, rnn_cell(call, cell), T, N, I, H, P, o);
  call.require(tokens >= 0 && static_cast<double>(tokens) <= static_cast<double>(T) * static_cast<double>(N),
               [&] { return "tokens is " + std::to_string(tokens) + ", expected 0..T*N"; });
  return rnn_options_reserve_size(s, ragged, tokens);
}

}  // namespace

void bind_rnn_options(py::module_& m) {
  const py::arg_v algorithm = py::arg("algorithm") = "auto", on_stream = py::arg("stream") = 0;
  m.def("rnn_options_reserve_size", reserve_size, py::arg("cell"), py::arg("T"), py::arg("N"), py::arg("I"),
        py::arg("H"), py::arg("P"), py::arg("tokens"), py::arg("ragged"), py::arg("options"), py::kw_only(), on_stream);
  m.def("rnn_options_forward", forward, py::arg("cell"), py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"),
        py::arg("lengths"), py::arg("reset"), py::arg("reset_h"), py::arg("reset_c"), py::arg("y"), py::arg("hn"),
        py::arg("cn"), py::arg("cells"), py::arg("reserve"), py::arg("options"), py::kw_only(), algorithm, on_stream);
  m.def("rnn_options_backward", backward, py::arg("cell"), py::arg("x"), py::arg("h0"), py::arg("c0"),
        py::arg("weights"), py::arg("lengths"), py::arg("reset"), py::arg("reset_h"), py::arg("reset_c"), py::arg("y"),
        py::arg("reserve"), py::arg("dy"), py::arg("dhn"), py::arg("dcn"), py::arg("dcells"), py::arg("dx"),
        py::arg("dh0"), py::arg("dc0"), py::arg("dreset_h"), py::arg("dreset_c"), py::arg("dweights"),
        py::arg("options"), py::kw_only(), algorithm, on_stream);
}

}  // namespace jadro::cuda
