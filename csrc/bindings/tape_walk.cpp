// One pass back over the graph.
#include <algorithm>
#include <map>
#include <optional>
#include <queue>
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

// A node that waits for its turn; the newest comes first.
struct Waiting {
  std::uint64_t number;
  py::object node;
  bool operator<(const Waiting& other) const { return number < other.number; }
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
  Pending& slot(const Edge& edge);
  void visit(NodeObject* node, const std::vector<py::object>& dys);
  py::object take_waiting(const NodeObject* node, const std::vector<Edge>& edges);
  py::object backward(NodeObject* node, const std::vector<py::object>& dys, const py::object& waiting) const;

  const bool create_graph_, retain_graph_;
  std::map<Target, py::object> wanted_;
  std::optional<std::unordered_set<PyObject*>> reach_;  // the nodes worth visiting
  // Of the nodes that are or were in the queue: nobody older delivers to one that was visited.
  std::unordered_map<PyObject*, std::vector<Pending>> nodes_;
  std::priority_queue<Waiting> queue_;
  std::vector<std::pair<py::object, Pending>> leaves_;  // in the order in which they were met
  std::unordered_map<PyObject*, std::size_t> leaf_places_;
};

void Walk::want(const std::vector<Edge>& edges, const std::vector<Edge>& outs) {
  for (const Edge& edge : edges) wanted_.emplace(key(edge), py::object());
  std::unordered_set<PyObject*> met;
  std::vector<PyObject*> stack, nodes;  // borrowed: `outs` hold the newest, and those the others
  const auto enter = [&](const Edge& edge) {
    PyObject* target = edge.target.ptr();
    if (target && is_node(target) && met.insert(target).second) stack.push_back(target);
  };
  for (const Edge& edge : outs) enter(edge);
  while (!stack.empty()) {
    PyObject* node = stack.back();
    stack.pop_back();
    nodes.push_back(node);
    for (const Edge& edge : as_node(node)->record->edges) enter(edge);
  }
  std::sort(nodes.begin(), nodes.end(),
            [](PyObject* a, PyObject* b) { return as_node(a)->record->number < as_node(b)->record->number; });
  reach_.emplace();
  for (PyObject* node : nodes) {
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
    std::vector<Pending>& outputs = nodes_[target];
    if (outputs.empty()) {
      outputs.resize(record.dtypes.size());
      queue_.push({record.number, edge.target});
    }
    return outputs[edge.index];
  }
  const auto [place, is_new] = leaf_places_.emplace(target, leaves_.size());
  if (is_new) leaves_.emplace_back(edge.target, Pending{});
  return leaves_[place->second].second;
}

void Walk::deliver(const Edge& edge, py::object grad) {
  if (is_pruned(edge)) return;
  PyObject* target = edge.target.ptr();
  if (!py::isinstance<py::array>(grad)) grad = as_array(std::move(grad));
  const py::object dtype = is_node(target) ? as_node(target)->record->dtypes[edge.index] : dtype_of(target);
  const py::object came = dtype_of(grad.ptr());
  if (!came.is(dtype) && !came.equal(dtype)) {
    grad = steal(PyObject_CallMethodObjArgs(grad.ptr(), create_graph_ ? tape.to : tape.astype, dtype.ptr(), nullptr));
  }
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
  if (create_graph_ || edges.empty()) return {};
  const auto place = nodes_.find(edges[0].target.ptr());
  if (place == nodes_.end()) return {};
  py::object& grad = place->second[edges[0].index].grad;
  if (!grad || !py::isinstance<py::array>(grad)) return {};
  const py::object adds = steal(PyObject_GetAttr(node->fn, tape.adds_waiting));
  if (adds.ptr() != Py_True) return {};
  place->second[edges[0].index].owned = false;
  return std::move(grad);
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

void Walk::run() {
  while (!queue_.empty()) {
    const py::object node = queue_.top().node;
    queue_.pop();
    std::vector<Pending>& outputs = nodes_[node.ptr()];
    std::vector<py::object> dys;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      dys.push_back(std::move(outputs[i].grad));
      const auto wanted = wanted_.find({node.ptr(), static_cast<Py_ssize_t>(i)});
      if (dys[i] && wanted != wanted_.end()) wanted->second = dys[i];
    }
    if (!reach_ || reach_->count(node.ptr())) visit(as_node(node.ptr()), dys);
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

py::object as_grad(const py::object& found) {
  if (!found) return py::none();
  return is_tensor(found.ptr()) ? found : new_tensor(found, nullptr, 0);
}

bool are_tensors(PyObject* list) {
  if (!PyList_CheckExact(list)) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    if (!is_tensor(PyList_GET_ITEM(list, i))) return false;
  }
  return true;
}

}  // namespace

// (outs, seeds, inputs, create_graph, retain_graph), lists of Tensors: the gradients of the inputs as a list, or with
// None for inputs a list of (leaf, gradient) with the gradients as arrays, with create_graph as Tensors.
PyObject* tape_walk(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !are_tensors(args[0]) || !are_tensors(args[1]) || (args[2] != Py_None && !are_tensors(args[2])) ||
      PyList_GET_SIZE(args[0]) != PyList_GET_SIZE(args[1])) {
    PyErr_SetString(PyExc_TypeError, "tape_walk: expected lists of tensors and two booleans");
    return nullptr;
  }
  return guarded([&]() -> py::object {
    const bool create_graph = args[3] == Py_True;
    Walk walk(create_graph, args[4] == Py_True);
    const std::vector<Edge> outs = edges_of(args[0]);
    std::vector<Edge> inputs;
    if (args[2] != Py_None) {
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
    py::list result;
    for (const Edge& edge : inputs) result.append(as_grad(walk.found(edge)));
    if (args[2] == Py_None) {
      for (const auto& [leaf, pending] : walk.leaves()) result.append(py::make_tuple(leaf, pending.grad));
    }
    return result;
  });
}

}  // namespace jadro
