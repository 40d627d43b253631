// The core of the tape, which python/jadro/autograd.py describes: tensors, the nodes that recorded calls leave behind,
// and the pass back over them. What a Function computes stays Python; this is the bookkeeping around it, which in
// Python would take several times as long as a small array operation.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <structmember.h>

#include <cstdint>
#include <vector>

namespace jadro {
namespace py = pybind11;

// An array, its gradient and its place in the graph: the base of the Python class Tensor.
struct TensorObject {
  PyObject ob_base;
  PyObject *data, *grad;
  PyObject* node;     // the call that made it; NULL for a leaf
  PyObject* version;  // [writes to the memory behind data], one list for all views of it; NULL until it is asked for
  PyObject* hooks;    // of a leaf: a dict of functions of its gradient; NULL until it is asked for
  PyObject* weakrefs;
  Py_ssize_t index;  // which output of that call
  char requires_grad;
};

// Where a gradient goes: output `index` of a Node, or a leaf Tensor. Without a target: nowhere.
struct Edge {
  py::object target;
  Py_ssize_t index = 0;
};

// Of a saved array: the version list of what holds it, its count then, and the input, or the number of the output.
struct Origin {
  py::object version;
  Py_ssize_t count = 0;
  py::object input;
  Py_ssize_t output = 0;
};

// What a gradient must look like: the dtype and the shape of its array.
struct Form {
  py::object dtype;
  std::vector<Py_ssize_t> shape;
};

struct Record {
  std::uint64_t number;  // newer nodes have larger ones: an input is always older than its result
  std::vector<Edge> edges;
  std::vector<Form> outputs;
  std::vector<Origin> origins;  // of the saved arrays
  py::object hooks;             // {output: dict of functions of its gradient}; empty until it is asked for
  bool freed = false;
};

// One recorded call, and the `ctx` that its Function's forward and backward share.
struct NodeObject {
  PyObject ob_base;
  PyObject *fn, *needs, *saved, *dict;
  Record* record;  // NULL for a call that is not recorded
  bool graph;      // a differentiable backward runs: `saved` gives Tensors with their history
};

// What the core knows of Python's side, set once by tape_setup, and the names it looks up.
struct Tape {
  PyTypeObject *tensor_base = nullptr, *node = nullptr, *tensor = nullptr;
  py::object scalar, asarray, add;    // numpy.generic, numpy.asarray, the sum of two gradients
  py::object fit;                     // the gradient of what was broadcast, summed to a shape
  py::object hooked;                  // the gradient that a dict of hooks makes of one
  py::object quiet_var, quiet_value;  // NumPy's context variable of error handling, and "ignore all" in it
  py::object errstate;                // what to do where NumPy has no such variable
  PyObject *forward, *backward, *backward_graph, *may_warn, *is_view, *adds_waiting, *dtype, *shape, *kind, *name,
      *astype, *to;
};
extern Tape& tape;

extern thread_local bool recording;  // operations of this thread are recorded

void make_tape_types(py::module_& m);  // _core._TensorBase and _core.Node
void bind_operands(py::module_& m);    // _core.empty_like, contiguous, same_floats, is_plain, join
void bind_arithmetic(py::module_& m);  // _core.compute, select, reduce, reduce_places
PyObject* tape_walk(PyObject* self, PyObject* const* args, Py_ssize_t count);

inline py::object steal(PyObject* object) {
  if (!object) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

// A new reference to what a slot of `owner` holds, perhaps nothing; where there is no GIL another thread may write it.
inline py::object load(const void* owner, PyObject* const& slot) {
#ifdef Py_GIL_DISABLED
  py::object found;
  Py_BEGIN_CRITICAL_SECTION(reinterpret_cast<PyObject*>(const_cast<void*>(owner)));
  found = py::reinterpret_borrow<py::object>(slot);
  Py_END_CRITICAL_SECTION();
  return found;
#else
  (void)owner;
  return py::reinterpret_borrow<py::object>(slot);
#endif
}

inline bool is_tensor(PyObject* object) { return PyObject_TypeCheck(object, tape.tensor_base); }
inline TensorObject* as_tensor(PyObject* object) { return reinterpret_cast<TensorObject*>(object); }
inline bool is_node(PyObject* object) { return Py_TYPE(object) == tape.node; }
inline NodeObject* as_node(PyObject* object) { return reinterpret_cast<NodeObject*>(object); }

py::object array_of(TensorObject* tensor);    // its data
Form form_of(PyObject* array);                // of an array or a Tensor
py::object version_of(TensorObject* tensor);  // its version list
py::object hooks_of(TensorObject* tensor);    // the dict of its hooks
Edge edge_of(TensorObject* tensor);           // where its gradient goes
py::object as_array(py::object result);       // NumPy's scalars as arrays, the rest as it is

py::object new_node(PyObject* fn, py::object needs);
// A Tensor around `array`; with a node, its output `index`.
py::object new_tensor(const py::object& array, NodeObject* node, Py_ssize_t index);
// new_tensor of a result; integers and booleans have no gradient.
py::object new_output(const py::object& array, NodeObject* node, Py_ssize_t index);
// Enters the graph: where gradients go, and which tensors the saved arrays belong to.
void record_call(NodeObject* node, PyObject* const* args, Py_ssize_t count, const std::vector<py::object>& results,
                 const std::vector<py::object>& outs);
void release_node(NodeObject* node);  // drops what was saved and the way to older nodes
[[noreturn]] void throw_freed();

// NaN and infinity pass without a word from NumPy.
class Quiet {
 public:
  explicit Quiet(bool wanted);
  ~Quiet();
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  py::object token_, manager_;
};

inline PyCFunction function(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

// Runs f, which returns an owned object; C++ exceptions become Python's.
template <class F>
PyObject* guarded(F&& f) {
  try {
    return f().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

}  // namespace jadro
