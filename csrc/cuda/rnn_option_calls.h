// What the calls with options share: tables of rows and tokens on the device, and arrays in their order.
#pragma once

#include <utility>
#include <vector>

#include "cuda/dropout.h"
#include "cuda/rnn_option_parts.h"
#include "cuda/rnn_parts.h"
#include "cuda/upload.h"

namespace jadro::cuda {
namespace {

template <class T, class F>
cudaError_t with_option_cell(Cell cell, F f) {
  switch (cell) {
    case Cell::kRnnTanh:
      return f(OptionRnn<T, false>{});
    case Cell::kRnnRelu:
      return f(OptionRnn<T, true>{});
    case Cell::kLstm:
      return f(OptionLstm<T, false>{});
    case Cell::kLstmCoupled:
      return f(OptionLstm<T, true>{});
    case Cell::kGru:
      return f(OptionGru<T, false>{});
    case Cell::kGruBefore:
      return f(OptionGru<T, true>{});
  }
  return cudaErrorInvalidValue;
}

inline dim3 grid_of(i64 steps, i64 elements) {
  constexpr i64 kHighest = 65535;
  return dim3(blocks_for(elements), static_cast<unsigned>(steps < kHighest ? steps : kHighest));
}
// A block a row where options want whole rows, else pieces of rows.
template <class T>
dim3 grid_of_rows(const RnnStack<T>& s, i64 rows) {
  return dim3(static_cast<unsigned>(rows), s.settings.layer_norm ? 1 : blocks_for(s.hidden));
}

// [T,N,from_row..] -> [tokens,width]
template <class T>
__global__ void gather_kernel(RnnPlaces p, const T* from, i64 from_row, i64 width, T* to) {
  for (i64 t = blockIdx.y; t < p.steps; t += gridDim.y) {
    const i64 size = p.rows(t) * width, at = p.at(t) * width;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
      to[at + i] = from[(t * p.batch + p.original(i / width)) * from_row + i % width];
    }
  }
}
// Back, with zeros where no token is: [tokens,width] -> [T,N,to_row..]
template <class From, class To>
__global__ void scatter_kernel(RnnPlaces p, const From* from, i64 width, To* to, i64 to_row) {
  for (i64 t = blockIdx.y; t < p.steps; t += gridDim.y) {
    const i64 size = p.batch * width, live = p.rows(t) * width, at = p.at(t) * width;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
      to[(t * p.batch + p.original(i / width)) * to_row + i % width] =
          static_cast<To>(i < live ? number(from[at + i]) : Sum<From>(0));
    }
  }
}
// [N,width] from the call's order, or back into it.
template <class From, class To>
__global__ void order_kernel(RnnPlaces p, const From* from, i64 width, To* to, bool back) {
  const i64 size = p.batch * width;
  for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
    const i64 there = p.original(i / width) * width + i % width;
    to[back ? there : i] = static_cast<To>(number(from[back ? i : there]));
  }
}
// Dropout behind a layer, y = x on live rows: a mask's words stand in the order of all rows and steps.
template <class T>
__global__ void dropout_rows_kernel(RnnPlaces p, const T* x, T* y, i64 width, Sum<T> drop, Sum<T> keep, u64 seed,
                                    u64 offset) {
  using S = Sum<T>;
  for (i64 t = blockIdx.y; t < p.steps; t += gridDim.y) {
    const i64 size = p.rows(t) * width, at = p.at(t) * width;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += i64{gridDim.x} * blockDim.x) {
      const i64 place = (t * p.batch + p.original(i / width)) * width + i % width;
      y[at + i] =
          static_cast<T>(number(x[at + i]) * drawn(seed, offset + static_cast<u64>(place), drop, S(0), S(1)) / keep);
    }
  }
}

// The tables of RnnRows on the device, and what moves arrays by them.
template <class T>
class DeviceRows {
 public:
  DeviceRows(const RnnStack<T>& s, Space& space) : s_(s), rows_(*s.rows) {
    if (rows_.ragged()) {
      space.take(first_, s.steps + 1);
      space.take(order_, s.batch);
      space.take(length_, s.batch);
    }
    for (i64 d = 0; d < s.directions && rows_.resets(); ++d) space.take(restart_[d], rows_.tokens());
  }

  void fill(Queue& queue) const {
    const auto send = [&](const void* from, i64 bytes, void* to) {
      queue.run([&] { return upload(from, bytes, to, queue.stream()); });
    };
    constexpr i64 kSize = sizeof(i64);
    if (rows_.ragged()) {
      std::vector<i64> lengths(static_cast<std::size_t>(s_.batch));
      for (i64 n = 0; n < s_.batch; ++n) lengths[static_cast<std::size_t>(n)] = rows_.length(n);
      send(rows_.first(), (s_.steps + 1) * kSize, first_);
      send(rows_.order(), s_.batch * kSize, order_);
      send(lengths.data(), s_.batch * kSize, length_);
    }
    for (i64 d = 0; d < s_.directions && rows_.resets(); ++d) send(rows_.restart(d), rows_.tokens(), restart_[d]);
  }

  RnnPlaces places(i64 d) const { return {s_.steps, s_.batch, d == 1, first_, order_, length_, restart_[d]}; }

  void gather(const T* from, i64 width, T* to, Queue& queue) const {
    if (s_.batch * width == 0) return;
    queue.run([&] {
      return launch(gather_kernel<T>, grid_of(s_.steps, s_.batch * width), dim3(kThreads), 0, queue.stream(), places(0),
                    from, width, width, to);
    });
  }
  template <class From>
  void scatter(const From* from, i64 width, T* to, i64 to_row, Queue& queue) const {
    if (s_.batch * width == 0) return;
    queue.run([&] {
      return launch(scatter_kernel<From, T>, grid_of(s_.steps, s_.batch * width), dim3(kThreads), 0, queue.stream(),
                    places(0), from, width, to, to_row);
    });
  }
  // A state [N,width] of the call in the order of the rows: where it stands already, or in `room`; zeros for none.
  const T* sorted(const T* from, i64 width, T* room, const T* zeros, Queue& queue) const {
    if (!from || !rows_.ragged()) return from ? from : zeros;
    move(from, width, room, false, queue);
    return room;
  }
  // The same into sums, all of them.
  void sort(const T* from, i64 width, Sum<T>* to, Queue& queue) const {
    if (!from || !rows_.ragged()) return queue.copy(to, from, s_.batch * width);
    move(from, width, to, false, queue);
  }
  void unsort(const Sum<T>* from, i64 width, T* to, Queue& queue) const {
    if (from && to) move(from, width, to, true, queue);
  }
  void dropout(i64 layer, const T* x, T* y, Queue& queue) const {
    const i64 width = s_.directions * s_.output, all = s_.steps * s_.batch * width;
    const u64 offset = s_.offset + static_cast<u64>(layer * all);
    if (all == 0) return;
    queue.run([&] {
      if (!rows_.ragged()) return cuda::dropout(x, y, all, s_.dropout, s_.seed, offset, queue.stream());
      const Sum<T> keep = s_.dropout < 1 ? static_cast<Sum<T>>(1 - s_.dropout) : Sum<T>(1);
      return launch(dropout_rows_kernel<T>, grid_of(s_.steps, s_.batch * width), dim3(kThreads), 0, queue.stream(),
                    places(0), x, y, width, static_cast<Sum<T>>(s_.dropout), keep, s_.seed, offset);
    });
  }

 private:
  template <class From, class To>
  void move(const From* from, i64 width, To* to, bool back, Queue& queue) const {
    if (s_.batch * width == 0) return;
    queue.run([&] {
      return launch(order_kernel<From, To>, dim3(blocks_for(s_.batch * width)), dim3(kThreads), 0, queue.stream(),
                    places(0), from, width, to, back);
    });
  }

  const RnnStack<T>& s_;
  const RnnRows& rows_;
  i64 *first_ = nullptr, *order_ = nullptr, *length_ = nullptr;
  unsigned char* restart_[2] = {};
};

// The states at the start and after resets, where they have to be sorted; zeros [N,max(H,P)]; of 16-bit floats the
// vectors of weights that cells read.
template <class T>
struct StateScratch {
  T *h0, *c0, *h_restart, *c_restart, *zeros;
  Sum<T>* vectors;

  StateScratch(const RnnStack<T>& s, Space& space) {
    const i64 h = s.ragged() ? s.batch * s.output : 0, c = s.ragged() ? s.batch * s.hidden : 0;
    space.take(h0, h);
    space.take(c0, c);
    space.take(h_restart, h);
    space.take(c_restart, c);
    space.take(zeros, s.batch * (s.hidden > s.output ? s.hidden : s.output));
    space.take(vectors, sizeof(T) == 2 ? (2 * s.gates() + 5) * s.hidden : 0);
  }
};

// The part of a run that forward and backward share, but for what the reserve holds.
template <class T>
OptionRun<T> option_run(const RnnStack<T>& s, const DeviceRows<T>& rows, i64 layer, i64 d,
                        const StateScratch<T>& states, Queue& queue) {
  const i64 index = s.index_of(layer, d), H = s.hidden, P = s.output;
  const RnnSettings& o = s.settings;
  const auto place = [&](double p, i64 size) { return p > 0 ? static_cast<u64>(size) : 0; };
  const u64 each = place(o.zoneout_h, s.steps * s.batch * P);
  const u64 each_c = place(s.lstm() ? o.zoneout_c : 0, s.steps * s.batch * H);
  const u64 each_drop = place(o.recurrent_dropout, o.update ? s.steps * s.batch * H : s.batch * P);
  const u64 between = place(s.dropout, (s.layers - 1) * s.steps * s.batch * s.directions * P);
  const u64 at = s.offset + between + static_cast<u64>(index) * (each + each_c + each_drop);
  Sum<T>* room = states.vectors;
  const auto vector = [&](RnnParameter which, i64 size) -> const Sum<T>* {
    const T* const from = s.weight(index, which);
    if constexpr (std::is_same_v<T, Sum<T>>) {
      return from;
    } else {
      if (!from) return nullptr;
      Sum<T>* const to = std::exchange(room, room + size);
      queue.copy(to, from, size);
      return to;
    }
  };
  OptionRun<T> a{};
  a.places = rows.places(d);
  a.hidden = H, a.output = P, a.y_row = s.directions * P;
  a.options = {vector(kGainIh, s.gates() * H),
               vector(kGainHh, s.gates() * H),
               vector(kGainC, H),
               vector(kNormBiasC, H),
               vector(kPeepI, H),
               vector(kPeepF, H),
               vector(kPeepO, H),
               static_cast<Sum<T>>(o.gate_clip),
               static_cast<Sum<T>>(o.cell_clip),
               static_cast<Sum<T>>(o.zoneout_h),
               static_cast<Sum<T>>(o.zoneout_c),
               static_cast<Sum<T>>(o.recurrent_dropout),
               o.training,
               o.update,
               s.seed,
               at,
               at + each,
               at + each + each_c,
               nullptr};
  const auto state = [&](const T* from, i64 width, T* room) {
    return rows.sorted(from ? from + index * s.batch * width : nullptr, width, room, states.zeros, queue);
  };
  a.h0 = state(s.h0, P, states.h0);
  a.h_restart = state(s.reset_h, P, states.h_restart);
  a.c0 = state(s.c0, H, states.c0);
  a.c_restart = state(s.reset_c, H, states.c_restart);
  return a;
}

}  // namespace
}  // namespace jadro::cuda
