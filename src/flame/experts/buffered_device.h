#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flame/experts/buffer_options.h"
#include "flame/experts/bundle.h"
#include "flame/experts/pipeline.h"
#include "flame/experts/use_log.h"
#include "flame/io/read_queue.h"
#include "flame/model/moe_device.h"
#include "flame/model/weights.h"
#include "flame/routing/drift.h"
#include "flame/routing/forced_routing.h"

namespace flame::experts {

/// Figures of a buffered run.
struct BufferReport {
  PipelineStatistics pipeline;
  io::ReadQueueStatistics storage;
  double queue_depth = 0.0;  ///< loads queued or under way, the mean over the time that any was
  std::size_t slots = 0;
  std::uint64_t slot_bytes = 0;
  double load_seconds = 0.0;          ///< one whole expert, by measurement (or assumption before the first)
  double chunk_seconds = 0.0;         ///< a demand load may wait so long for prefetches' chunks that are in flight
  double bytes_per_second = 0.0;      ///< delivered while the storage was busy
  double transfer_seconds = 0.0;      ///< of the smallest expert at that rate: no load takes the storage less
  double gap_seconds = 0.0;           ///< between two decoder MoE layers, without waits, by measurement
  bool has_hindsight = false;         ///< pipeline.on_demand_wait_seconds is known
  routing::DriftMeter::Report drift;  ///< since the device was opened; nothing where nothing is predicted
};

/// The MoeDevice whose experts lie in a bundle's file, a fixed number of them in memory, the next ones on their way
/// before the router asks. Results are those of the same experts held in memory, bit for bit, whatever the options.
///
/// A missed expert is computed row by row while it arrives. Every block of 64 KiB is compared with its checksum before
/// the first of its bytes is read by a kernel, so that a corrupt expert is never computed with; a result leaves
/// compute() only when all blocks of all its experts have passed.
class BufferedDevice final : public model::MoeDevice {
 public:
  /// `config`, `dense` (the routers) must outlive the device; `bundle` is kept. `reader` reads bundle.experts_file().
  BufferedDevice(std::shared_ptr<const Bundle> bundle, const model::DenseWeights& dense, const BufferOptions& options,
                 std::unique_ptr<io::AsyncReader> reader);
  ~BufferedDevice() override;

  void begin_batch(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override;
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override;
  /// Writes the timeline, where there is one.
  void finish() override;
  [[nodiscard]] std::string describe() const override;

  /// Loads every expert now, where there is a slot for each. Throws DeviceError.
  void load_all();

  /// From now on tokens are routed as in a trace instead of by the routers.
  void force_routing(routing::ForcedRouting routing);

  /// Since begin_statistics().
  [[nodiscard]] BufferReport report() const;
  /// Since the device was opened.
  [[nodiscard]] BufferReport whole_report() const;
  /// The lookups since begin_statistics(), in order: what a replay needs. Not kept when every expert has a slot.
  [[nodiscard]] const UseLog& uses() const;
  /// Those since the device was opened.
  [[nodiscard]] const UseLog& whole_uses() const;
  [[nodiscard]] const Bundle& bundle() const;
  [[nodiscard]] std::uint64_t slot_memory_bytes() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The slots that `options` give a bundle: floor(budget / slot bytes), at most one an expert. Throws UsageError when
/// that is none, saying what one takes, or when both a budget and a number of slots are given.
[[nodiscard]] std::size_t slots_for(const Bundle& bundle, const BufferOptions& options);

/// A reader of the bundle's experts by the storage and throttle that `options` name. Throws as io::open_reader does.
[[nodiscard]] std::unique_ptr<io::AsyncReader> open_storage(const Bundle& bundle, const BufferOptions& options);

/// Opens the device with the storage, throttle and predictor that `options` name. Throws UsageError, FileError,
/// FormatError or DeviceError.
[[nodiscard]] std::unique_ptr<BufferedDevice> open_buffered_device(std::shared_ptr<const Bundle> bundle,
                                                                   const model::DenseWeights& dense,
                                                                   const BufferOptions& options);

}  // namespace flame::experts
