#pragma once

#include <memory>
#include <span>
#include <string>

#include "flame/experts/bundle.h"
#include "flame/io/memory_map.h"
#include "flame/model/moe_device.h"
#include "flame/model/weights.h"

namespace flame::experts {

/// The MoeDevice that leaves all to the kernel: the bundle's file is mapped, experts are computed where they lie, and
/// the page cache decides what stays in memory. What loaders that map their weights do (llama.cpp), for comparison: no
/// slots, no prediction, no checksums, and a file that shrinks meanwhile kills the process. Every lookup counts as a
/// hit, since nobody knows better. Page faults cannot be called back: when they have brought nothing for
/// `timeout_seconds`, be it of experts or of other weights, a message says so, and the process ends with status 1.
class MappedDevice final : public model::MoeDevice {
 public:
  /// `dense` (the routers) must outlive the device. Throws FileError.
  MappedDevice(std::shared_ptr<const Bundle> bundle, const model::DenseWeights& dense, double timeout_seconds);
  ~MappedDevice() override;

  void begin_batch(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override;
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override;
  [[nodiscard]] std::string describe() const override;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace flame::experts
