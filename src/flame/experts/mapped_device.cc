#include "flame/experts/mapped_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/stall_watch.h"
#include "flame/experts/bundle_json.h"
#include "flame/experts/expert_tokens.h"
#include "flame/experts/routers.h"
#include "flame/io/file.h"
#include "flame/kernels/expert.h"

namespace flame::experts {

struct MappedDevice::Implementation {
  Implementation(std::shared_ptr<const Bundle> the_bundle, double timeout_seconds)
      : bundle(std::move(the_bundle)), watch(timeout_seconds, [this, timeout_seconds] { give_up(timeout_seconds); }) {}

  [[noreturn]] void give_up(double timeout_seconds) const {
    const ExpertIndex expert = computed;
    fmt::print(stderr,
               "flame: {}: the memory map has brought nothing for {} s, the storage does not answer; last computed: "
               "expert {} at offset {}\n",
               bundle->path().string(), timeout_seconds, stored_name(bundle->config(), bundle->grid(), expert),
               bundle->expert(expert).offset);
    std::_Exit(1);
  }

  std::shared_ptr<const Bundle> bundle;
  std::vector<model::Router> routers;  ///< [layers of the grid]
  io::MemoryMap map;
  ExpertTokens tokens;
  kernels::ExpertRun run;
  std::atomic<ExpertIndex> computed = 0;
  StallWatch watch;
};

MappedDevice::MappedDevice(std::shared_ptr<const Bundle> bundle, const model::DenseWeights& dense,
                           double timeout_seconds)
    : implementation_(std::make_unique<Implementation>(std::move(bundle), timeout_seconds)) {
  implementation_->routers = routers_of(implementation_->bundle->config(), dense);
  const Bundle& opened = *implementation_->bundle;
  implementation_->map = io::FileSystem::real().map(opened.experts_file());
  for (ExpertIndex expert = 0; expert < opened.grid().size(); ++expert) {
    const StoredExpert& stored = opened.expert(expert);
    const std::uint64_t size = implementation_->map.bytes().size();
    if (stored.offset <= size && stored.stored_bytes <= size - stored.offset) continue;
    throw FormatError(opened.experts_file(),
                      fmt::format("ends at {}, before expert {} does: it has been cut", size, expert));
  }
}

MappedDevice::~MappedDevice() = default;

void MappedDevice::begin_batch(std::size_t /*sequences*/) {}
void MappedDevice::reorder(std::span<const std::uint32_t> /*parents*/) {}
void MappedDevice::feed(std::span<const std::int32_t> /*tokens*/) {}
void MappedDevice::approach(model::MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) {}

void MappedDevice::route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) {
  implementation_->routers[implementation_->bundle->grid().layer(input.layer)].route(input, decisions);
}

void MappedDevice::compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                           MatrixView<float> output) {
  Implementation& self = *implementation_;
  const ExpertGrid& grid = self.bundle->grid();
  const LayerIndex layer = grid.layer(input.layer);
  const kernels::PackedExpertLayout& layout = self.bundle->layout(layer);
  for (std::size_t token = 0; token < output.rows(); ++token) std::ranges::fill(output.row(token), 0.0F);
  for (std::uint32_t number = 0; number < grid.experts; ++number) {
    self.tokens.gather(input, decisions, number);
    if (self.tokens.size() == 0) continue;
    self.computed = grid.expert(layer, number);
    const std::uint64_t offset = self.bundle->expert(self.computed).offset;
    const auto bytes = self.map.bytes().subspan(static_cast<std::size_t>(offset), layout.size_bytes());
    self.run.begin(kernels::parts_of(layout, bytes), self.tokens.input(), self.tokens.probabilities(),
                   self.tokens.computed());
    self.run.finish();
    self.tokens.scatter(output);
  }
}

void MappedDevice::begin_statistics() {}
model::MoeStatistics MappedDevice::statistics() const { return {.counted = false}; }

std::string MappedDevice::describe() const {
  return fmt::format("cpu, {} experts in a memory map ({}), kept or dropped by the kernel",
                     implementation_->bundle->grid().size(), implementation_->bundle->describe());
}

}  // namespace flame::experts
