// The types _TensorBase and Node.
#include <atomic>
#include <cstddef>
#include <string>
#include <utility>

#include "bindings/tape.h"

namespace jadro {
namespace {

std::atomic<std::uint64_t> next_number{0};

// --- _TensorBase -------------------------------------------------------------------------------------------------
int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  TensorObject* t = as_tensor(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(t->data);
  Py_VISIT(t->grad);
  Py_VISIT(t->node);
  Py_VISIT(t->version);
  Py_VISIT(t->hooks);
  return 0;
}

int tensor_clear(PyObject* self) {
  TensorObject* t = as_tensor(self);
  Py_CLEAR(t->data);
  Py_CLEAR(t->grad);
  Py_CLEAR(t->node);
  Py_CLEAR(t->version);
  Py_CLEAR(t->hooks);
  return 0;
}

void tensor_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, tensor_dealloc);
  if (as_tensor(self)->weakrefs) PyObject_ClearWeakRefs(self);
  tensor_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
  Py_TRASHCAN_END
}

PyObject* get_version(PyObject* self, void*) {
  return guarded([&] { return version_of(as_tensor(self)); });
}

PyObject* get_hooks(PyObject* self, void*) {
  return guarded([&] { return hooks_of(as_tensor(self)); });
}

int set_version(PyObject* self, PyObject* value, void*) {
  if (!value || !PyList_CheckExact(value)) {
    PyErr_SetString(PyExc_TypeError, "_version: expected a list of one count");
    return -1;
  }
  Py_INCREF(value);
  Py_XSETREF(as_tensor(self)->version, value);
  return 0;
}

PyMemberDef tensor_members[] = {
    {"data", T_OBJECT_EX, offsetof(TensorObject, data), 0, nullptr},
    {"grad", T_OBJECT, offsetof(TensorObject, grad), 0, nullptr},
    {"_node", T_OBJECT, offsetof(TensorObject, node), READONLY, nullptr},
    {"_index", T_PYSSIZET, offsetof(TensorObject, index), READONLY, nullptr},
    {"_requires_grad", T_BOOL, offsetof(TensorObject, requires_grad), 0, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weakrefs), READONLY, nullptr},
    {},
};
PyGetSetDef tensor_properties[] = {
    {"_version", get_version, set_version, nullptr, nullptr}, {"_hooks", get_hooks, nullptr, nullptr, nullptr}, {}};
PyType_Slot tensor_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(tensor_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(tensor_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(tensor_clear)},
    {Py_tp_members, tensor_members},
    {Py_tp_getset, tensor_properties},
    {0, nullptr},
};
PyType_Spec tensor_spec = {"jadro._core._TensorBase", sizeof(TensorObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, tensor_slots};

// --- Node ----------------------------------------------------------------------------------------------------------
int node_traverse(PyObject* self, visitproc visit, void* arg) {
  NodeObject* node = as_node(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(node->fn);
  Py_VISIT(node->needs);
  Py_VISIT(node->saved);
  Py_VISIT(node->dict);
  if (!node->record) return 0;
  for (const Edge& edge : node->record->edges) Py_VISIT(edge.target.ptr());
  for (const Origin& origin : node->record->origins) {
    Py_VISIT(origin.version.ptr());
    Py_VISIT(origin.input.ptr());
  }
  Py_VISIT(node->record->hooks.ptr());
  return 0;
}

int node_clear(PyObject* self) {
  release_node(as_node(self));
  Py_CLEAR(as_node(self)->dict);
  return 0;
}

void node_dealloc(PyObject* self) {
  NodeObject* node = as_node(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, node_dealloc);  // a long chain of nodes does not recurse
  delete std::exchange(node->record, nullptr);
  Py_CLEAR(node->saved);
  Py_CLEAR(node->dict);
  Py_CLEAR(node->needs);
  Py_CLEAR(node->fn);
  type->tp_free(self);
  Py_DECREF(type);
  Py_TRASHCAN_END
}

PyObject* node_save(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (as_node(self)->record) {
    PyErr_SetString(PyExc_RuntimeError, "save: the call is recorded already; save in forward");
    return nullptr;
  }
  PyObject* saved = PyTuple_New(count);
  if (!saved) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    Py_INCREF(args[i]);
    PyTuple_SET_ITEM(saved, i, args[i]);
  }
  Py_XSETREF(as_node(self)->saved, saved);
  Py_RETURN_NONE;
}

// The count of a version list, -1 where it holds none.
Py_ssize_t count_of(const py::object& version) {
  if (PyList_GET_SIZE(version.ptr()) != 1) return -1;
  const Py_ssize_t count = PyLong_AsSsize_t(PyList_GET_ITEM(version.ptr(), 0));
  if (count == -1) PyErr_Clear();
  return count;
}

void check_versions(NodeObject* node) {
  for (const Origin& origin : node->record->origins) {
    if (!origin.version) continue;
    if (count_of(origin.version) == origin.count) continue;
    const std::string name = py::str(steal(PyObject_GetAttr(node->fn, tape.name)));
    PyErr_SetString(PyExc_RuntimeError,
                    ("backward: a tensor that " + name + " needs was modified in place since it was saved").c_str());
    throw py::error_already_set();
  }
}

PyObject* node_saved(PyObject* self, void*) {
  return guarded([&]() -> py::object {
    NodeObject* node = as_node(self);
    const py::object saved = load(node, node->saved);
    if (!saved) throw_freed();
    if (!node->record) return saved;
    check_versions(node);
    if (!node->graph) return saved;
    const std::vector<Origin> origins = node->record->origins;
    const py::object with_history = steal(PyTuple_New(static_cast<Py_ssize_t>(origins.size())));
    for (std::size_t i = 0; i < origins.size(); ++i) {
      const auto array = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(saved.ptr(), i));
      const Origin& origin = origins[i];
      py::object item = !origin.version ? array
                        : !origin.input ? new_tensor(as_array(array), node, origin.output)
                                        : origin.input;
      PyTuple_SET_ITEM(with_history.ptr(), i, item.release().ptr());
    }
    return with_history;
  });
}

PyMemberDef node_members[] = {
    {"fn", T_OBJECT_EX, offsetof(NodeObject, fn), READONLY, nullptr},
    {"needs", T_OBJECT_EX, offsetof(NodeObject, needs), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(NodeObject, dict), READONLY, nullptr},
    {},
};
PyMethodDef node_methods[] = {
    {"save", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(node_save)), METH_FASTCALL,
     "save(self: Node, *arrays) -> None\n\n"
     "Keeps inputs and outputs for backward. Save them as they came and as they are returned: a changed copy (also a\n"
     "contiguous one) is a constant to a differentiable backward."},
    {},
};
PyGetSetDef node_properties[] = {
    {"saved", node_saved, nullptr,
     "What was saved: arrays, or Tensors with their history while a differentiable backward runs.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {},
};
PyType_Slot node_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(node_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(node_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(node_clear)},
    {Py_tp_members, node_members},
    {Py_tp_methods, node_methods},
    {Py_tp_getset, node_properties},
    {Py_tp_doc, const_cast<char*>("One recorded call, and the ctx that its Function's forward and backward share.\n\n"
                                  "needs[i] says whether argument i wants a gradient; attributes are free.")},
    {0, nullptr},
};
PyType_Spec node_spec = {"jadro._core.Node", sizeof(NodeObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                         node_slots};

PyTypeObject* make_type(py::module_& m, const char* name, PyType_Spec& spec) {
  py::object type = steal(PyType_FromSpec(&spec));
  m.attr(name) = type;
  return reinterpret_cast<PyTypeObject*>(type.release().ptr());
}

}  // namespace

void make_tape_types(py::module_& m) {
  tape.tensor_base = make_type(m, "_TensorBase", tensor_spec);
  tape.node = make_type(m, "Node", node_spec);
  tape.node->tp_new = nullptr;  // made by apply alone
}

py::object array_of(TensorObject* tensor) {
  py::object data = load(tensor, tensor->data);
  if (!data) {
    PyErr_SetString(PyExc_AttributeError, "the tensor has no data: it was not initialised");
    throw py::error_already_set();
  }
  return data;
}

py::object as_array(py::object result) {
  const int found = PyObject_IsInstance(result.ptr(), tape.scalar.ptr());
  if (found < 0) throw py::error_already_set();
  return found ? steal(PyObject_CallOneArg(tape.asarray.ptr(), result.ptr())) : result;
}

Form form_of(PyObject* array) {
  if (is_tensor(array)) return form_of(array_of(as_tensor(array)).ptr());
  if (py::isinstance<py::array>(array)) {
    const auto* a = py::detail::array_proxy(array);
    return {py::reinterpret_borrow<py::object>(a->descr), {a->dimensions, a->dimensions + a->nd}};
  }
  Form form{steal(PyObject_GetAttr(array, tape.dtype)), {}};
  for (py::handle size : steal(PyObject_GetAttr(array, tape.shape))) form.shape.push_back(size.cast<Py_ssize_t>());
  return form;
}

py::object version_of(TensorObject* tensor) {
  py::object version = load(tensor, tensor->version);
  if (version) return version;
  version = steal(PyList_New(1));
  PyList_SET_ITEM(version.ptr(), 0, steal(PyLong_FromLong(0)).release().ptr());
  tensor->version = version.inc_ref().ptr();
  return version;
}

py::object hooks_of(TensorObject* tensor) {
  const py::object node = load(tensor, tensor->node);
  if (!node) {
    if (!tensor->hooks) tensor->hooks = py::dict().release().ptr();
    return load(tensor, tensor->hooks);
  }
  py::object& outputs = as_node(node.ptr())->record->hooks;
  if (!outputs) outputs = py::dict();
  return outputs.attr("setdefault")(tensor->index, py::dict());
}

Edge edge_of(TensorObject* tensor) {
  py::object node = load(tensor, tensor->node);
  if (node) return {std::move(node), tensor->index};
  return {py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(tensor)), 0};
}

py::object new_node(PyObject* fn, py::object needs) {
  py::object made = steal(tape.node->tp_alloc(tape.node, 0));
  NodeObject* node = as_node(made.ptr());
  Py_INCREF(fn);
  node->fn = fn;
  node->needs = needs.release().ptr();
  node->saved = steal(PyTuple_New(0)).release().ptr();
  return made;
}

py::object new_tensor(const py::object& array, NodeObject* node, Py_ssize_t index) {
  py::object made = steal(tape.tensor->tp_alloc(tape.tensor, 0));
  TensorObject* t = as_tensor(made.ptr());
  t->data = py::object(array).release().ptr();
  if (node) {
    t->node = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(node)).release().ptr();
    t->index = index;
    t->requires_grad = 1;
  }
  return made;
}

py::object new_output(const py::object& result, NodeObject* node, Py_ssize_t index) {
  py::object array = result;
  char kind;
  if (py::isinstance<py::array>(array)) {
    kind = py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr)->kind;
  } else {
    array = as_array(std::move(array));
    const py::object dtype = steal(PyObject_GetAttr(array.ptr(), tape.dtype));
    const std::string text = py::str(steal(PyObject_GetAttr(dtype.ptr(), tape.kind)));
    kind = text.empty() ? ' ' : text[0];
  }
  const bool discrete = kind == 'i' || kind == 'u' || kind == 'b';
  return new_tensor(array, discrete ? nullptr : node, index);
}

void record_call(NodeObject* node, PyObject* const* args, Py_ssize_t count, const std::vector<py::object>& results,
                 const std::vector<py::object>& outs) {
  Record* record = node->record = new Record{};
  record->number = next_number++;
  record->edges.resize(count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (PyTuple_GET_ITEM(node->needs, i) == Py_True) record->edges[i] = edge_of(as_tensor(args[i]));
  }
  for (const py::object& out : outs) record->outputs.push_back(form_of(out.ptr()));
  const Py_ssize_t saved = node->saved ? PyTuple_GET_SIZE(node->saved) : 0;
  record->origins.resize(saved);
  const auto fill = [](Origin& origin, PyObject* tensor) {
    origin.version = version_of(as_tensor(tensor));
    origin.count = count_of(origin.version);
  };
  for (Py_ssize_t s = 0; s < saved; ++s) {
    PyObject* array = PyTuple_GET_ITEM(node->saved, s);
    Origin& origin = record->origins[s];
    for (Py_ssize_t i = 0; i < count && !origin.version; ++i) {  // an input goes before an output
      if (!is_tensor(args[i]) || as_tensor(args[i])->data != array) continue;
      fill(origin, args[i]);
      origin.input = py::reinterpret_borrow<py::object>(args[i]);
    }
    for (std::size_t i = 0; i < outs.size() && !origin.version; ++i) {
      if (results[i].ptr() != array) continue;
      fill(origin, outs[i].ptr());
      origin.output = static_cast<Py_ssize_t>(i);
    }
  }
}

void release_node(NodeObject* node) {
  Py_CLEAR(node->saved);
  if (node->record) {
    node->record->freed = true;
    const std::vector<Edge> edges = std::move(node->record->edges);  // dropped once nothing points to them any more
    const std::vector<Origin> origins = std::move(node->record->origins);
    const py::object hooks = std::move(node->record->hooks);
    node->record->edges.clear();
    node->record->origins.clear();
  }
  if (node->dict) PyDict_Clear(node->dict);
}

void throw_freed() {
  PyErr_SetString(PyExc_RuntimeError,
                  "backward: the graph was freed by an earlier backward; pass retain_graph=True there, or compute the "
                  "result again");
  throw py::error_already_set();
}

}  // namespace jadro
