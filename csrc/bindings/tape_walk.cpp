// One pass back over the graph.
#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "bindings/tape.h"

namespace jadro {
namespace {

using Target = std::pair<PyObject*, Py_ssize_t>;

Target key(const Edge& edge) { return {edge.target.ptr(), edge.index}; }

struct Pending {
  py::object grad;
  bool owned = false;  // a sum that nobody else can see
};

// A node that waits for its turn, and the gradients of its outputs so far.
struct Waiting {
  py::object node;
  std::vector<Pending> outputs;
};

class Walk {
 public:
  Walk(bool create_graph, bool retain_graph) : create_graph_(create_graph), retain_graph_(retain_graph) {}

  // Only what leads from `outs` to these edges is visited, and their gradients are kept.
  void want(const std::vector<Edge>& edges, const std::vector<Edge>& outs);
  void deliver(const Edge& edge, py::object grad);
  void run();

  // The gradient that reached an edge that was wanted, or a leaf; empty for none.
  py::object found(const Edge& edge) const;
  const std::vector<std::pair<py::object, Pending>>& leaves() const { return leaves_; }

 private:
  bool is_pruned(const Edge& edge) const {
    return reach_ && !reach_->count(edge.target.ptr()) && !wanted_.count(key(edge));
  }
  py::object fitted(py::object grad, const Form& form) const;
  Pending& slot(const Edge& edge);
  void visit(NodeObject* node, const std::vector<py::object>& dys);
  py::object take_waiting(const NodeObject* node, const std::vector<Edge>& edges);
  py::object backward(NodeObject* node, const std::vector<py::object>& dys, const py::object& waiting) const;

  const bool create_graph_, retain_graph_;
  std::map<Target, py::object> wanted_;
  std::optional<std::unordered_set<PyObject*>> reach_;  // the nodes worth visiting
  std::map<std::uint64_t, Waiting> waiting_;  // by number: the newest is last, and nobody older delivers to it
  std::vector<std::pair<py::object, Pending>> leaves_;  // in the order in which they were met
  std::unordered_map<PyObject*, std::size_t> leaf_places_;
};

void Walk::want(const std::vector<Edge>& edges, const std::vector<Edge>& outs) {
  for (const Edge& edge : edges) wanted_.emplace(key(edge), py::object());
  std::map<std::uint64_t, PyObject*> met;
  std::vector<PyObject*> stack;  // borrowed: `outs` hold the newest, and those the others
  const auto enter = [&](const Edge& edge) {
    PyObject* target = edge.target.ptr();
    if (target && is_node(target) && met.emplace(as_node(target)->record->number, target).second) {
      stack.push_back(target);
    }
  };
  for (const Edge& edge : outs) enter(edge);
  while (!stack.empty()) {
    PyObject* node = stack.back();
    stack.pop_back();
    for (const Edge& edge : as_node(node)->record->edges) enter(edge);
  }
  reach_.emplace();
  for (const auto& [number, node] : met) {  // the oldest first
    const Record& record = *as_node(node)->record;
    const bool leads = std::any_of(record.edges.begin(), record.edges.end(), [&](const Edge& edge) {
      return edge.target && (wanted_.count(key(edge)) || reach_->count(edge.target.ptr()));
    });
    if (record.freed || leads) reach_->insert(node);
  }
}

Pending& Walk::slot(const Edge& edge) {
  PyObject* target = edge.target.ptr();
  if (is_node(target)) {
    const Record& record = *as_node(target)->record;
    Waiting& node = waiting_[record.number];
    if (!node.node) node = {edge.target, std::vector<Pending>(record.outputs.size())};
    return node.outputs[edge.index];
  }
  const auto [place, is_new] = leaf_places_.emplace(target, leaves_.size());
  if (is_new) leaves_.emplace_back(edge.target, Pending{});
  return leaves_[place->second].second;
}

// The gradient in the dtype and the shape of what it belongs to, which may have been broadcast.
py::object Walk::fitted(py::object grad, const Form& form) const {
  if (!py::isinstance<py::array>(grad)) grad = as_array(std::move(grad));
  const Form came = form_of(grad.ptr());
  if (!came.dtype.is(form.dtype) && !came.dtype.equal(form.dtype)) {
    PyObject* cast = create_graph_ ? tape.to : tape.astype;
    grad = steal(PyObject_CallMethodObjArgs(grad.ptr(), cast, form.dtype.ptr(), nullptr));
  }
  if (came.shape == form.shape) return grad;
  py::tuple shape(form.shape.size());
  for (std::size_t i = 0; i < form.shape.size(); ++i) shape[i] = form.shape[i];
  return as_array(tape.fit(grad, shape));
}

void Walk::deliver(const Edge& edge, py::object grad) {
  if (is_pruned(edge)) return;
  PyObject* target = edge.target.ptr();
  grad = is_node(target) ? fitted(std::move(grad), as_node(target)->record->outputs[edge.index])
                         : fitted(std::move(grad), form_of(target));
  Pending& have = slot(edge);
  if (!have.grad) {
    have.grad = std::move(grad);
  } else if (have.owned) {
    have.grad = steal(PyNumber_InPlaceAdd(have.grad.ptr(), grad.ptr()));
  } else if (create_graph_) {
    have.grad = steal(PyNumber_Add(have.grad.ptr(), grad.ptr()));
  } else {
    have.grad = as_array(tape.add(have.grad, grad));
    have.owned = true;
  }
}

// What has come to a node's first input before, for a Function that adds it to its own gradient.
py::object Walk::take_waiting(const NodeObject* node, const std::vector<Edge>& edges) {
  if (create_graph_ || edges.empty() || !edges[0].target || !is_node(edges[0].target.ptr())) return {};
  const auto place = waiting_.find(as_node(edges[0].target.ptr())->record->number);
  if (place == waiting_.end()) return {};
  Pending& have = place->second.outputs[edges[0].index];
  if (!have.grad || !py::isinstance<py::array>(have.grad)) return {};
  const py::object adds = steal(PyObject_GetAttr(node->fn, tape.adds_waiting));
  if (adds.ptr() != Py_True) return {};
  have.owned = false;
  return std::move(have.grad);
}

py::object Walk::backward(NodeObject* node, const std::vector<py::object>& dys, const py::object& waiting) const {
  const py::object function = steal(PyObject_GetAttr(node->fn, create_graph_ ? tape.backward_graph : tape.backward));
  std::vector<PyObject*> args{reinterpret_cast<PyObject*>(node)};
  for (const py::object& dy : dys) args.push_back(dy ? dy.ptr() : Py_None);
  if (waiting) args.push_back(waiting.ptr());
  return steal(PyObject_Vectorcall(function.ptr(), args.data(), args.size(), nullptr));
}

void Walk::visit(NodeObject* node, const std::vector<py::object>& dys) {
  if (node->record->freed) throw_freed();
  const std::vector<Edge> edges = node->record->edges;  // a copy: another thread may free the graph
  node->graph = create_graph_;
  const py::object dxs = backward(node, dys, take_waiting(node, edges));
  const auto give = [&](const Edge& edge, PyObject* dx) {
    if (edge.target && dx != Py_None) deliver(edge, py::reinterpret_borrow<py::object>(dx));
  };
  if (PyTuple_CheckExact(dxs.ptr())) {
    const std::size_t count = std::min(edges.size(), static_cast<std::size_t>(PyTuple_GET_SIZE(dxs.ptr())));
    for (std::size_t i = 0; i < count; ++i) give(edges[i], PyTuple_GET_ITEM(dxs.ptr(), i));
  } else if (!edges.empty()) {
    give(edges[0], dxs.ptr());
  }
  if (!retain_graph_) release_node(node);
}

// The whole gradient of output `i`, or what its hooks make of it.
void run_hooks(NodeObject* node, std::size_t i, py::object& grad) {
  const py::object outputs = node->record->hooks;
  PyObject* hooks = PyDict_GetItem(outputs.ptr(), py::int_(i).ptr());
  if (hooks && grad) grad = tape.hooked(py::handle(hooks), grad);
}

void Walk::run() {
  while (!waiting_.empty()) {
    const Waiting newest = std::move(waiting_.extract(std::prev(waiting_.end())).mapped());
    std::vector<py::object> dys;
    for (std::size_t i = 0; i < newest.outputs.size(); ++i) {
      dys.push_back(newest.outputs[i].grad);
      if (as_node(newest.node.ptr())->record->hooks) run_hooks(as_node(newest.node.ptr()), i, dys[i]);
      const auto wanted = wanted_.find({newest.node.ptr(), static_cast<Py_ssize_t>(i)});
      if (dys[i] && wanted != wanted_.end()) wanted->second = dys[i];
    }
    if (!reach_ || reach_->count(newest.node.ptr())) visit(as_node(newest.node.ptr()), dys);
  }
  for (auto& [leaf, pending] : leaves_) {
    TensorObject* tensor = as_tensor(leaf.ptr());
    if (tensor->hooks && pending.grad) pending.grad = tape.hooked(load(tensor, tensor->hooks), pending.grad);
  }
}

py::object Walk::found(const Edge& edge) const {
  if (is_node(edge.target.ptr())) return wanted_.at(key(edge));
  const auto place = leaf_places_.find(edge.target.ptr());
  return place == leaf_places_.end() ? py::object() : leaves_[place->second].second.grad;
}

class Recording {
 public:
  explicit Recording(bool on) : before_(std::exchange(recording, on)) {}
  ~Recording() { recording = before_; }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  const bool before_;
};

std::vector<Edge> edges_of(PyObject* tensors) {
  std::vector<Edge> edges;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tensors); ++i) {
    edges.push_back(edge_of(as_tensor(PyList_GET_ITEM(tensors, i))));
  }
  return edges;
}

bool is_true(PyObject* value) {
  const int found = PyObject_IsTrue(value);
  if (found < 0) throw py::error_already_set();
  return found != 0;
}

void check_inputs(PyObject* inputs) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(inputs); ++i) {
    if (as_tensor(PyList_GET_ITEM(inputs, i))->requires_grad) continue;
    PyErr_Format(PyExc_RuntimeError, "grad: inputs[%zd] does not require a gradient", i);
    throw py::error_already_set();
  }
}

[[noreturn]] void throw_unused(std::size_t i) {
  PyErr_Format(PyExc_RuntimeError, "grad: the outputs do not depend on inputs[%zu]; allow_unused=True gives None there",
               i);
  throw py::error_already_set();
}

bool are_tensors(PyObject* list) {
  if (!PyList_CheckExact(list)) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    if (!is_tensor(PyList_GET_ITEM(list, i))) return false;
  }
  return true;
}

}  // namespace

// (outs, seeds, inputs, create_graph, retain_graph, allow_unused), the first three lists of Tensors: the gradients of
// the inputs as a tuple, or with None for inputs a list of (leaf, gradient) with the gradients as arrays, with
// create_graph as Tensors.
PyObject* tape_walk(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 6 || !are_tensors(args[0]) || !are_tensors(args[1]) || (args[2] != Py_None && !are_tensors(args[2])) ||
      PyList_GET_SIZE(args[0]) != PyList_GET_SIZE(args[1])) {
    PyErr_SetString(PyExc_TypeError, "tape_walk: expected lists of tensors and three booleans");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const bool create_graph = is_true(args[3]), allow_unused = is_true(args[5]);
    Walk walk(create_graph, is_true(args[4]));
    const std::vector<Edge> outs = edges_of(args[0]);
    std::vector<Edge> inputs;
    if (args[2] != Py_None) {
      check_inputs(args[2]);
      inputs = edges_of(args[2]);
      walk.want(inputs, outs);
    }
    const Recording mode(create_graph);
    const Quiet quiet(true);
    for (std::size_t i = 0; i < outs.size(); ++i) {
      PyObject* seed = PyList_GET_ITEM(args[1], i);
      walk.deliver(outs[i], create_graph ? py::reinterpret_borrow<py::object>(seed) : array_of(as_tensor(seed)));
    }
    walk.run();
    if (args[2] == Py_None) {
      py::list leaves;
      for (const auto& [leaf, pending] : walk.leaves()) leaves.append(py::make_tuple(leaf, pending.grad));
      return leaves;
    }
    py::tuple grads(inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      py::object found = walk.found(inputs[i]);
      if (!found && !allow_unused) throw_unused(i);
      if (found && !is_tensor(found.ptr())) found = new_tensor(found, nullptr, 0);
      grads[i] = found ? found : py::none();
    }
    return grads;
  });
}

}  // namespace jadro
