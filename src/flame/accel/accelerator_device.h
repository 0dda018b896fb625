#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "flame/accel/accelerator_report.h"
#include "flame/accel/card_timeline.h"
#include "flame/accel/driver.h"
#include "flame/accel/expert_codes.h"
#include "flame/model/config.h"
#include "flame/model/moe_device.h"
#include "flame/model/router.h"
#include "flame/model/weights.h"
#include "flame/routing/profile.h"

namespace flame::accel {

struct AcceleratorOptions {
  std::uint64_t budget_bytes = 0;  ///< of fast memory; 0: not given
  std::size_t slots = 0;           ///< 0: not given. Neither given: as many as the accelerator holds
  std::size_t order = 3;           ///< m of CEPR(m)
  std::size_t prefetch_count = 2;  ///< of the ranked experts; 0: no prediction
  /// Modelled kernel cycles between one MoE layer's end and the next one's router: the dense layers. A card has time of
  /// its own.
  std::uint64_t dense_cycles = 0;
  std::shared_ptr<CardTimeline> timeline = nullptr;  ///< also the card's observer; may be null
};

/// The MoeDevice behind flame_kernel, simulated or on a card: router unit, CEPR unit, expert buffer and experts on the
/// device; probabilities, capacity and the last scaling on the host.
///
/// The fp32 router of the host decides where the two disagree (they are compared on every token), so that the text is
/// that of
/// `--device cpu --dtype int8`. All tokens of a pass are routed, then computed expert by expert: each expert is looked
/// up, counted and loaded once a pass, the next one's load under way while one computes.
class AcceleratorDevice final : public model::MoeDevice {
 public:
  /// `config` and `dense` (its routers) outlive the device; `bundle` must be int8 with one pattern; `profile` may be
  /// null, which switches prediction off. Throws UsageError where the accelerator cannot hold or run the model.
  AcceleratorDevice(const model::SwitchConfig& config, const model::DenseWeights& dense, const experts::Bundle& bundle,
                    const routing::Profile* profile, std::unique_ptr<KernelBackend> backend,
                    const AcceleratorOptions& options);
  ~AcceleratorDevice() override;

  void begin_batch(std::size_t sequences) override;
  void reorder(std::span<const std::uint32_t> parents) override;
  void feed(std::span<const std::int32_t> tokens) override;
  void approach(model::MoeLayer layer, MatrixView<const float> hidden) override;
  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override;
  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override;
  void begin_statistics() override;
  [[nodiscard]] model::MoeStatistics statistics() const override;
  /// Ends the card's waveform, where there is one, as KernelBackend::finish.
  void finish() override;
  [[nodiscard]] std::string describe() const override;

  /// How many sequences the kernel keeps the histories of: the rows of the largest batch, beams and all.
  [[nodiscard]] std::size_t most_sequences() const;

  /// Since begin_statistics(), as statistics(); sums of them are a run's.
  [[nodiscard]] AcceleratorReport report() const;
  /// What finish() has ended, in a phrase; empty for nothing.
  [[nodiscard]] const std::string& written() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace flame::accel
