#include "flame/experts/mapped_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/experts/expert_tokens.h"
#include "flame/experts/routers.h"
#include "flame/io/file.h"
#include "flame/kernels/expert.h"

namespace flame::experts {

struct MappedDevice::Implementation {
  std::shared_ptr<const Bundle> bundle;
  std::vector<model::Router> routers;  ///< [layers of the grid]
  io::MemoryMap map;
  ExpertTokens tokens;
  kernels::ExpertRun run;
  model::MoeStatistics statistics;
};

MappedDevice::MappedDevice(std::shared_ptr<const Bundle> bundle, const model::DenseWeights& dense)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->bundle = std::move(bundle);
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
    ++self.statistics.hits;
    const std::uint64_t offset = self.bundle->expert(grid.expert(layer, number)).offset;
    const auto bytes = self.map.bytes().subspan(static_cast<std::size_t>(offset), layout.size_bytes());
    self.run.begin(kernels::parts_of(layout, bytes), self.tokens.input(), self.tokens.probabilities(),
                   self.tokens.computed());
    self.run.finish();
    self.tokens.scatter(output);
  }
}

void MappedDevice::begin_statistics() { implementation_->statistics = {}; }
model::MoeStatistics MappedDevice::statistics() const { return implementation_->statistics; }

std::string MappedDevice::describe() const {
  return fmt::format("cpu, {} experts in a memory map ({}), kept or dropped by the kernel",
                     implementation_->bundle->grid().size(), implementation_->bundle->describe());
}

}  // namespace flame::experts
