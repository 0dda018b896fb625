#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/experts/bundle.h"
#include "flame/experts/slot_memory.h"
#include "flame/experts/stored_loader.h"
#include "flame/model/moe_device.h"

namespace flame::eval {

/// A device with all experts in memory, beside which the storage reads experts that nobody waits for or computes with:
/// what reading alone takes from computing. A buffer that moves as many bytes cannot be faster on the same machine, nor
/// than the storage delivers them: steps do not wait for reads, so that a slow storage reads less than it is asked for.
///
/// Reads go the way of a buffer's prefetches: the same queue, chunks, checks and throttle, a share of the step's bytes
/// from each decoder layer on.
class ReadingDevice final : public model::MoeDevice {
 public:
  /// Opens the bundle's experts once more. Throws as experts::open_buffered_device does.
  ReadingDevice(std::unique_ptr<model::MoeDevice> device, std::shared_ptr<const experts::Bundle> bundle,
                const experts::BufferOptions& options);

  /// From now on so much is asked for in each decoder step.
  void read_each_step(double bytes) { bytes_a_layer_ = bytes / bundle_->grid().decoder_layers; }
  /// Bytes that were asked for, and those that came, since begin_statistics().
  [[nodiscard]] double bytes_asked() const { return asked_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return loader_.statistics().bytes - before_; }
  /// Waits for the reads under way, so that they disturb nobody else; those not begun are given up. Throws DeviceError
  /// for a read that failed.
  void wait_until_idle();

  void begin_batch(std::size_t sequences) override { device_->begin_batch(sequences); }
  void reorder(std::span<const std::uint32_t> parents) override { device_->reorder(parents); }
  void feed(std::span<const std::int32_t> tokens) override { device_->feed(tokens); }
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override { device_->approach(layer, hidden); }
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override { return device_->statistics(); }
  void finish() override { device_->finish(); }
  [[nodiscard]] std::string describe() const override { return device_->describe() + ", reading"; }

 private:
  /// Takes note of reads that have ended, and begins as many as are allowed by now. Throws DeviceError for a read that
  /// failed.
  void go_on();
  void collect();

  std::unique_ptr<model::MoeDevice> device_;
  std::shared_ptr<const experts::Bundle> bundle_;
  experts::Timeline timeline_;  ///< off
  experts::StoredLoader loader_;
  std::vector<experts::SlotIndex> idle_;
  std::vector<experts::ExpertIndex> expert_in_;  ///< [slots]
  experts::ExpertIndex next_ = 0;                ///< expert to be read
  std::uint64_t begun_ = 0;                      ///< reads so far
  double bytes_a_layer_ = 0.0;
  double asked_ = 0.0;
  double allowed_ = 0.0;  ///< bytes that may be begun by now
  std::uint64_t before_ = 0;
};

}  // namespace flame::eval
