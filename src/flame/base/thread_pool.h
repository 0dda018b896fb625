#pragma once

#include <cstddef>

#include "flame/base/function_ref.h"

namespace flame {

/// The threads that compute: one pool for the whole process, FLAME's only global state.
///
/// The calling thread takes part, so a pool of n threads has n - 1 workers. Workers wait for the next call by spinning
/// some fifty microseconds, giving the processor away between looks, and then sleep in the kernel: calls that follow one
/// another start fast, and a busy machine is left to others. Nothing is pinned to a core.
class ThreadPool {
 public:
  using Body = FunctionRef<void(std::size_t begin, std::size_t end)>;

  /// Uses `threads` threads from the next parallel_for on; 0 stands for all processors this process may run on, which
  /// is also the state before the first call. Must not be called from inside parallel_for.
  static void set_threads(std::size_t threads);

  /// Threads that take part in a call, the caller among them.
  [[nodiscard]] static std::size_t threads();

  /// Calls body(begin, end) for disjoint ranges that cover [0, count) exactly, each a multiple of `grain` long but the
  /// last, on the caller and the workers, and returns when all have returned. Each thread begins with its own equal
  /// share of [0, count), in order, and then helps the others. How the ranges are cut depends on timing: body's results
  /// must not. A body that throws stops ranges not yet begun; one exception is rethrown here. A call from inside a body
  /// runs serially. Calls from several threads run one after another. Allocates nothing.
  static void parallel_for(std::size_t count, std::size_t grain, Body body);
};

}  // namespace flame
