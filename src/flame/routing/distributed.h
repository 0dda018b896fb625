#pragma once

#include <cstddef>
#include <optional>

#include "flame/routing/profile.h"

namespace flame::routing {

/// The processes that `mpirun flame profile` starts; a single one when FLAME is built without OpenMPI
/// (FLAME_WITH_MPI) or run without mpirun. At most one object a process, and once only: MPI cannot be started again.
class Distribution {
 public:
  Distribution();
  ~Distribution();
  Distribution(const Distribution&) = delete;
  Distribution& operator=(const Distribution&) = delete;

  [[nodiscard]] std::size_t rank() const { return rank_; }
  [[nodiscard]] std::size_t size() const { return size_; }

  /// Merges the processes' profiles in the order of their ranks. Rank 0 gets the whole, the others nothing. A process
  /// that had nothing to count passes nothing. Collective: every process calls it.
  [[nodiscard]] std::optional<Profile> gather(std::optional<Profile> part) const;

 private:
  std::size_t rank_ = 0;
  std::size_t size_ = 1;
  [[maybe_unused]] bool started_ = false;  ///< only an MPI build reads it
};

}  // namespace flame::routing
