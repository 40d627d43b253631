#include "bindings/tape.h"

#include <array>
#include <memory>
#include <utility>

#include "bindings/module.h"

namespace jadro {

Tape& tape = *new Tape;  // never destroyed: tensors outlive the module
thread_local bool recording = true;

namespace {

thread_local std::vector<bool> modes;      // those before the `with` blocks that this thread is in
thread_local PyObject* watcher = nullptr;  // owned; told of every call of this thread

// The arguments of a call, in memory of their own only where they are many.
class Arguments {
 public:
  explicit Arguments(std::size_t count) : many_(count > few_.size() ? new py::object[count] : nullptr) {}
  py::object& operator[](std::size_t i) { return many_ ? many_[i] : few_[i]; }
  PyObject* const* data() const {  // an object is a pointer
    static_assert(sizeof(py::object) == sizeof(PyObject*), "py::object holds more than its pointer");
    return reinterpret_cast<PyObject* const*>(many_ ? many_.get() : few_.data());
  }

 private:
  std::array<py::object, 12> few_;
  std::unique_ptr<py::object[]> many_;
};

bool class_flag(PyObject* cls, PyObject* name) { return steal(PyObject_GetAttr(cls, name)).ptr() == Py_True; }

// cls.forward(node, *args, **options), Tensors among args by their arrays; options stand behind args.
py::object forward(PyObject* cls, const py::object& node, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t options = names ? PyTuple_GET_SIZE(names) : 0;
  Arguments call(1 + count + options);
  call[0] = node;
  for (Py_ssize_t i = 0; i < count + options; ++i) {
    call[1 + i] =
        i < count && is_tensor(args[i]) ? array_of(as_tensor(args[i])) : py::reinterpret_borrow<py::object>(args[i]);
  }
  const py::object function = steal(PyObject_GetAttr(cls, tape.forward));
  const Quiet quiet(class_flag(cls, tape.may_warn));
  return steal(PyObject_Vectorcall(function.ptr(), call.data(), static_cast<std::size_t>(1 + count), names));
}

py::object share_version(py::object out, PyObject* const* args, Py_ssize_t count) {
  if (count > 0 && is_tensor(args[0])) {
    Py_XSETREF(as_tensor(out.ptr())->version, version_of(as_tensor(args[0])).release().ptr());
  }
  return out;
}

// Runs the Function `cls` and records the call where a Tensor requires a gradient.
py::object run(PyObject* cls, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  py::object needs = steal(PyTuple_New(count));
  bool record = false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const bool need = recording && is_tensor(args[i]) && as_tensor(args[i])->requires_grad;
    record = record || need;
    PyTuple_SET_ITEM(needs.ptr(), i, PyBool_FromLong(need));
  }
  const py::object node = new_node(cls, std::move(needs));
  const py::object result = forward(cls, node, args, count, names);
  const bool several = PyTuple_CheckExact(result.ptr());
  NodeObject* recorded = record ? as_node(node.ptr()) : nullptr;
  if (!several && !record) {
    py::object out = new_output(result, nullptr, 0);
    return class_flag(cls, tape.is_view) ? share_version(std::move(out), args, count) : out;
  }
  std::vector<py::object> results, outs;
  if (several) {
    for (py::handle item : py::reinterpret_borrow<py::tuple>(result)) {
      results.push_back(py::reinterpret_borrow<py::object>(item));
    }
  } else {
    results.push_back(result);
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    outs.push_back(new_output(results[i], recorded, static_cast<Py_ssize_t>(i)));
  }
  if (!outs.empty() && class_flag(cls, tape.is_view)) share_version(outs[0], args, count);
  if (record) record_call(recorded, args, count, results, outs);
  if (!several) return outs[0];
  const py::object all = steal(PyTuple_New(static_cast<Py_ssize_t>(outs.size())));
  for (std::size_t i = 0; i < outs.size(); ++i) PyTuple_SET_ITEM(all.ptr(), i, outs[i].release().ptr());
  return all;
}

// `run`, and the watcher told: watcher(cls, args, options, result).
py::object watched(PyObject* cls, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  py::object result = run(cls, args, count, names);
  if (!watcher) return result;
  const py::tuple given(count);
  for (Py_ssize_t i = 0; i < count; ++i) given[i] = py::handle(args[i]);
  py::dict options;
  for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); ++i) {
    options[PyTuple_GET_ITEM(names, i)] = py::handle(args[count + i]);
  }
  py::reinterpret_borrow<py::object>(watcher)(py::handle(cls), given, options, result);
  return result;
}

bool expects_class(Py_ssize_t count) {
  if (count < 1) PyErr_SetString(PyExc_TypeError, "apply: expected a Function");
  return count >= 1;
}

PyObject* apply(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!expects_class(count)) return nullptr;
  return guarded([&] { return watched(args[0], args + 1, count - 1, names); });
}

// `apply` where an argument is a Tensor, else the forward on arrays.
PyObject* call(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!expects_class(count)) return nullptr;
  return guarded([&]() -> py::object {
    py::object needs = steal(PyTuple_New(count - 1));
    for (Py_ssize_t i = 1; i < count; ++i) {
      if (is_tensor(args[i])) return watched(args[0], args + 1, count - 1, names);
      PyTuple_SET_ITEM(needs.ptr(), i - 1, PyBool_FromLong(0));
    }
    return forward(args[0], new_node(args[0], std::move(needs)), args + 1, count - 1, names);
  });
}

PyObject* quiet(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count == 0) {
    PyErr_SetString(PyExc_TypeError, "tape_quiet: expected a function and arrays");
    return nullptr;
  }
  return guarded([&] {
    Arguments arrays(static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      arrays[i] = is_tensor(args[i]) ? array_of(as_tensor(args[i])) : py::reinterpret_borrow<py::object>(args[i]);
    }
    const Quiet nothing_said(true);
    PyObject* const result = PyObject_Vectorcall(arrays[0].ptr(), arrays.data() + 1, count - 1, nullptr);
    return new_tensor(as_array(steal(result)), nullptr, 0);
  });
}

PyObject* wrap(PyObject*, PyObject* array) {
  return guarded([&] { return new_tensor(py::reinterpret_borrow<py::object>(array), nullptr, 0); });
}

PyObject* is_grad_enabled(PyObject*, PyObject*) { return PyBool_FromLong(recording); }

PyObject* enter_mode(PyObject*, PyObject* enabled) {
  modes.push_back(recording);
  recording = enabled == Py_True;
  Py_RETURN_NONE;
}

PyObject* leave_mode(PyObject*, PyObject*) {
  if (!modes.empty()) {
    recording = modes.back();
    modes.pop_back();
  }
  Py_RETURN_NONE;
}

PyObject* set_mode(PyObject*, PyObject* enabled) {
  recording = enabled == Py_True;
  Py_RETURN_NONE;
}

PyObject* watch(PyObject*, PyObject* told) {
  Py_XSETREF(watcher, told == Py_None ? nullptr : Py_NewRef(told));
  Py_RETURN_NONE;
}

void setup(const py::type& tensor, py::object scalar, py::object asarray, py::object add, py::object fit,
           py::object hooked, py::object errstate, py::object quiet_var, py::object quiet_value) {
  tape.tensor = reinterpret_cast<PyTypeObject*>(py::object(tensor).release().ptr());
  tape.scalar = std::move(scalar);
  tape.asarray = std::move(asarray);
  tape.add = std::move(add);
  tape.fit = std::move(fit);
  tape.hooked = std::move(hooked);
  tape.errstate = std::move(errstate);
  tape.quiet_var = std::move(quiet_var);
  tape.quiet_value = std::move(quiet_value);
}

PyCFunction function(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef functions[] = {
    {"tape_apply", function(apply), METH_FASTCALL | METH_KEYWORDS,
     "tape_apply(function: object, *args, **options) -> object\n\n"
     "Runs `forward` on Tensors, arrays and other arguments, and records the call where a Tensor requires a gradient."},
    {"tape_call", function(call), METH_FASTCALL | METH_KEYWORDS,
     "tape_call(function: object, *args, **options) -> object\n\n"
     "`apply` where an argument is a Tensor, else `forward` on arrays; for backward formulas that serve both."},
    {"tape_walk", jadro::function(tape_walk), METH_FASTCALL,
     "tape_walk(outs: list, seeds: list, inputs: list | None, create_graph: bool, retain: bool, allow_unused: bool) -> "
     "object"},
    {"tape_watch", watch, METH_O,
     "tape_watch(told: object) -> None\n\n"
     "told(function, args, options, result) after every call of this thread; None ends it."},
    {"tape_quiet", jadro::function(quiet), METH_FASTCALL,
     "tape_quiet(function: object, *args) -> Tensor\n\n"
     "Calls `function` on arrays and the arrays of Tensors, outside the graph and without NumPy's warnings."},
    {"tape_wrap", wrap, METH_O, "tape_wrap(array: object) -> Tensor"},
    {"is_grad_enabled", is_grad_enabled, METH_NOARGS,
     "is_grad_enabled() -> bool\n\nWhether operations are recorded in this thread."},
    {"enter_mode", enter_mode, METH_O, "enter_mode(enabled: bool) -> None"},
    {"leave_mode", leave_mode, METH_NOARGS, "leave_mode() -> None"},
    {"set_mode", set_mode, METH_O, "set_mode(enabled: bool) -> None"},
    {},
};

}  // namespace

Quiet::Quiet(bool wanted) {
  if (!wanted) return;
  if (tape.quiet_var && !tape.quiet_var.is_none()) {
    token_ = steal(PyContextVar_Set(tape.quiet_var.ptr(), tape.quiet_value.ptr()));
  } else {
    manager_ = tape.errstate();
    manager_.attr("__enter__")();
  }
}

Quiet::~Quiet() {
  if (token_ && PyContextVar_Reset(tape.quiet_var.ptr(), token_.ptr()) != 0) PyErr_Clear();
  if (manager_) manager_.attr("__exit__")(py::none(), py::none(), py::none());
}

void bind_tape(py::module_& m) {
  make_tape_types(m);
  bind_operands(m);
  bind_arithmetic(m);
  const std::pair<PyObject**, const char*> names[] = {
      {&tape.forward, "forward"},
      {&tape.backward, "backward"},
      {&tape.backward_graph, "backward_graph"},
      {&tape.may_warn, "may_warn"},
      {&tape.adds_waiting, "adds_waiting"},
      {&tape.is_view, "is_view"},
      {&tape.dtype, "dtype"},
      {&tape.shape, "shape"},
      {&tape.kind, "kind"},
      {&tape.name, "name"},
      {&tape.astype, "astype"},
      {&tape.to, "to"},
  };
  for (const auto& [slot, text] : names) *slot = PyUnicode_InternFromString(text);
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
  m.def("tape_setup", &setup, py::arg("tensor"), py::arg("scalar"), py::arg("asarray"), py::arg("add"), py::arg("fit"),
        py::arg("hooked"), py::arg("errstate"), py::arg("quiet_var"), py::arg("quiet_value"));
}

}  // namespace jadro
