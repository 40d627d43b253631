#include "ops/rnn_stepper.h"

#include <cstring>
#include <memory>
#include <string>
#include <variant>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/rnn.h"

namespace jadro {
namespace {

using Arrays = std::vector<py::array>;
using Maybe = std::optional<py::array>;

constexpr i64 kWorkToUnlock = 1 << 18;  // multiply-adds beside which releasing the GIL costs nothing

// What Python calls: a stepper of one dtype, and the arrays that it reads and writes.
class Stepper {
 public:
  Stepper(const std::string& cell, i64 input, const Arrays& weights, bool bias, py::array h, Maybe c, py::array y,
          const std::optional<RnnCallOptions>& options)
      : h_(std::move(h)), c_(std::move(c)), y_(std::move(y)), input_(input) {
    Call call("RnnStepper");
    const Cell which = rnn_cell(call, cell);
    call.set_dtype(h_, "h");
    call.check_rank(h_, "h", 3);
    call.require(input >= 0, [&] { return "input is " + std::to_string(input) + ", expected no negative size"; });
    call.require(h_.size() > 0, [&] { return "h has shape " + shape_text(shape_of(h_)) + ", expected no empty axis"; });
    call.require(c_.has_value() == is_lstm(which), [&] {
      return std::string("c was ") + (c_ ? "given" : "left out") + ", expected it for an lstm alone";
    });
    RnnCallOptions o{1, 1, bias, 0, 0, 0, {}};
    if (options) o = *options;
    call.require(o.directions == 1 && !o.settings.training,
                 [&] { return std::string("options are for two directions or for training, expected a stream's"); });
    o.layers = h_.shape(0);
    const i64 output = h_.shape(2), rows = weights.empty() || weights[0].ndim() != 2 ? 0 : weights[0].shape(0);
    const bool projects = is_lstm(which) && rows > gates_of(which) * output;
    sizes_ = rnn_sizes(call, which, 1, h_.shape(1), input, projects ? rows / gates_of(which) : output, output, o);
    shapes_ = rnn_parameter_shapes(sizes_);
    with_dtype(call, [&](auto zero) { build(call, weights, zero); });
    dtype_ = h_.dtype();
  }

  void refresh(const Arrays& weights) {
    const Call call("RnnStepper.refresh");
    const auto pack = [&](auto& stepper, auto zero) { stepper->pack(pointers<decltype(zero)>(call, weights).data()); };
    if (Of<float>* const single = std::get_if<Of<float>>(&stepper_)) {
      pack(*single, float{});
    } else {
      pack(std::get<Of<double>>(stepper_), double{});
    }
  }

  py::array step(const py::handle& given) {
    if (!py::isinstance<py::array>(given)) {
      const std::string type = py::str(py::type::handle_of(given).attr("__name__")).cast<std::string>();
      Call("stepper").type_error("x is a " + type + ", expected a NumPy array");
    }
    const auto x = py::reinterpret_borrow<py::array>(given);
    if (!x.dtype().is(dtype_) || x.ndim() != 2 || x.shape(0) != h_.shape(1) || x.shape(1) != input_) refuse(x);
    std::visit([&](auto& stepper) { run(*stepper, x); }, stepper_);
    return y_;
  }

 private:
  template <class T>
  using Of = std::unique_ptr<RnnStepper<T>>;

  template <class T>
  void build(const Call& call, const Arrays& weights, T) {
    const i64 L = sizes_.layers, N = sizes_.batch;
    T* const h = call.out<T>(h_, "h", {L, N, sizes_.output});
    T* const c = call.out<T>(c_, "c", {L, N, sizes_.hidden});
    T* const y = call.out<T>(y_, "y", {N, sizes_.output});
    const std::vector<const T*> found = pointers<T>(call, weights);
    auto stepper = std::make_unique<RnnStepper<T>>(sizes_, h, c, y);
    stepper->pack(found.data());
    stepper_ = std::move(stepper);
    staging_.resize(static_cast<std::size_t>(N * input_) * sizeof(T));
  }

  template <class T>
  std::vector<const T*> pointers(const Call& call, const Arrays& weights) const {
    call.require(weights.size() == shapes_.size(), [&] {
      return "weights has " + std::to_string(weights.size()) + " arrays, expected " + std::to_string(shapes_.size());
    });
    std::vector<const T*> found;
    for (std::size_t i = 0; i < weights.size(); ++i) found.push_back(call.in<T>(weights[i], "weights", shapes_[i]));
    return found;
  }

  [[noreturn]] void refuse(const py::array& x) const {
    const Call call("stepper");
    if (!x.dtype().is(dtype_)) {
      call.type_error("x has dtype " + py::str(x.dtype()).cast<std::string>() + ", expected " +
                      py::str(dtype_).cast<std::string>());
    }
    call.value_error("x has shape " + shape_text(shape_of(x)) + ", expected " + shape_text({h_.shape(1), input_}));
  }

  template <class T>
  void run(RnnStepper<T>& stepper, const py::array& x) {
    const T* from = static_cast<const T*>(x.data());
    constexpr int kPlain = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if ((x.flags() & kPlain) != kPlain) from = staged<T>(x);
    if (stepper.work() < kWorkToUnlock) return stepper.step(from);
    py::gil_scoped_release unlocked;
    stepper.step(from);
  }

  template <class T>
  const T* staged(const py::array& x) {
    char* to = staging_.data();
    for (i64 n = 0; n < x.shape(0); ++n) {
      for (i64 i = 0; i < x.shape(1); ++i, to += sizeof(T)) std::memcpy(to, x.data(n, i), sizeof(T));
    }
    return reinterpret_cast<const T*>(staging_.data());
  }

  py::array h_;
  Maybe c_;
  py::array y_;
  py::dtype dtype_;
  i64 input_;
  RnnSizes sizes_{};
  std::vector<std::vector<i64>> shapes_;  // of the weights
  std::variant<Of<float>, Of<double>> stepper_;
  std::vector<char> staging_;  // x where it is not contiguous
};

}  // namespace

void bind_rnn_stepper(py::module_& m) {
  py::class_<Stepper>(m, "RnnStepper")
      .def(py::init<const std::string&, i64, const Arrays&, bool, py::array, Maybe, py::array,
                    const std::optional<RnnCallOptions>&>(),
           py::arg("cell"), py::arg("input"), py::arg("weights"), py::arg("bias"), py::arg("h"), py::arg("c"),
           py::arg("y"), py::arg("options") = py::none())
      .def("refresh", &Stepper::refresh, py::arg("weights"))
      .def("__call__", &Stepper::step, py::arg("x"));
}

}  // namespace jadro
