#include "flame/routing/distributed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

#include "flame/base/error.h"

#ifdef FLAME_WITH_MPI
#define OMPI_SKIP_MPICXX 1  // the C interface only: the C++ one is gone from the standard
#include <mpi.h>
#endif

namespace flame::routing {

#ifdef FLAME_WITH_MPI

namespace {

constexpr int kTag = 1;
/// One message; the length of MPI's messages is an int.
constexpr std::size_t kChunk = std::size_t{1} << 30;

void send_text(const std::string& text) {
  const std::uint64_t bytes = text.size();
  MPI_Send(&bytes, 1, MPI_UINT64_T, 0, kTag, MPI_COMM_WORLD);
  for (std::size_t sent = 0; sent < text.size(); sent += kChunk) {
    const std::size_t count = std::min(kChunk, text.size() - sent);
    MPI_Send(text.data() + sent, static_cast<int>(count), MPI_CHAR, 0, kTag, MPI_COMM_WORLD);
  }
}

std::string receive_text(int rank) {
  std::uint64_t bytes = 0;
  MPI_Recv(&bytes, 1, MPI_UINT64_T, rank, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  std::string text(bytes, '\0');
  for (std::size_t received = 0; received < text.size(); received += kChunk) {
    const std::size_t count = std::min(kChunk, text.size() - received);
    MPI_Recv(text.data() + received, static_cast<int>(count), MPI_CHAR, rank, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  return text;
}

}  // namespace

Distribution::Distribution() {
  // Without mpirun there is nobody to talk to: the library need not be started.
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr && std::getenv("PMI_SIZE") == nullptr) return;
  MPI_Init(nullptr, nullptr);
  started_ = true;
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  rank_ = static_cast<std::size_t>(rank);
  size_ = static_cast<std::size_t>(size);
}

Distribution::~Distribution() {
  // While an exception is on its way out the others wait for a message that will not come: end them too.
  if (started_) std::uncaught_exceptions() > 0 ? MPI_Abort(MPI_COMM_WORLD, 1) : MPI_Finalize();
}

std::optional<Profile> Distribution::gather(std::optional<Profile> part) const {
  if (size_ == 1) return part;
  if (rank_ > 0) {
    send_text(part ? part->to_json() : std::string());
    return std::nullopt;
  }
  for (std::size_t rank = 1; rank < size_; ++rank) {
    const std::string text = receive_text(static_cast<int>(rank));
    if (text.empty()) continue;
    Profile other = Profile::parse(text, fmt::format("profile of process {}", rank));
    if (part) {
      part->merge(other);
    } else {
      part = std::move(other);
    }
  }
  return part;
}

#else

Distribution::Distribution() {
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) {
    throw UsageError("this flame was built without OpenMPI: build with -DFLAME_WITH_MPI=ON to run it under mpirun");
  }
}

Distribution::~Distribution() = default;

std::optional<Profile> Distribution::gather(std::optional<Profile> part) const { return part; }

#endif

}  // namespace flame::routing
