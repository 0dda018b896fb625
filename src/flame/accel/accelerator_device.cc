#include "flame/accel/accelerator_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "flame/accel/history_rows.h"
#include "flame/accel/predictor_table.h"
#include "flame/base/error.h"

namespace flame::accel {

namespace {

/// What the host keeps of an expert: the factors that the device's integers are brought back with.
struct OutputScales {
  float input_unit = 0.0F;
  std::vector<float> wo;  // [d_model]
};

/// Tokens of a pass that one command list runs: with their records, tables and commands of the largest shape the host
/// port's memory (rtl/vitis/plram.tcl) is three quarters full.
constexpr std::size_t kTokensPerRun = 128;

DevicePattern pattern_of(const experts::Bundle& bundle) {
  const kernels::PackedExpertLayout& first = bundle.layout(0);
  for (experts::LayerIndex layer = 1; layer < bundle.grid().layers(); ++layer) {
    if (!(bundle.layout(layer).format == first.format)) {
      throw UsageError(fmt::format(
          "the accelerator runs experts of one pattern, this bundle has {}; pack it with a single --pattern",
          bundle.pattern()));
    }
  }
  return DevicePattern::from(first.format.n, first.format.m);
}

std::size_t argmax(std::span<const std::int32_t> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

struct AcceleratorDevice::Implementation {
  const model::SwitchConfig& config;
  Driver driver;
  HistoryRows rows;
  AcceleratorOptions options;
  PolicySettings policy;
  std::string description;
  std::string written;  // by finish()
  std::size_t decoder_layers = 0;
  std::vector<model::Router> encoder_routers, decoder_routers;
  std::vector<OutputScales> scales;  // [device layer * experts + expert]

  KernelCounters at_begin;  // when statistics began
  std::uint64_t layer_runs = 0, decisions = 0, disagreements = 0;
  std::optional<std::uint16_t> looked_up;  // expert that route() looked up for the compute() to come
  bool dropping = true;

  Implementation(const model::SwitchConfig& configuration, std::unique_ptr<KernelBackend> backend)
      : config(configuration), driver(std::move(backend)), rows(driver.limits().sequences) {}

  /// Decoder layers come first on the device: they are the predictor's path.
  [[nodiscard]] std::size_t device_layer(model::MoeLayer layer) const {
    return layer.stack == model::Stack::kDecoder ? layer.index : decoder_layers + layer.index;
  }

  /// Adds one layer command for token `t` of the command list, and tells the timeline of it.
  void layer_command(CommandList& commands, const LayerFlags& flags, std::size_t layer, std::size_t expert,
                     std::size_t sequence, std::size_t t) {
    commands.layer(flags, layer, expert, sequence, driver.token_address(t), driver.result_address(t));
    if (options.timeline) {
      options.timeline->expect(static_cast<std::uint32_t>(layer), static_cast<std::uint32_t>(expert), flags.compute,
                               driver.token_address(t));
    }
  }

  /// Contradicted loads may be given up only where one token decides; others of a batch may still want them.
  void set_dropping(bool wanted) {
    if (wanted == dropping) return;
    dropping = wanted;
    policy.drop_contradicted = wanted;
    driver.set_policy(policy);
  }
};

AcceleratorDevice::AcceleratorDevice(const model::SwitchConfig& config, const model::DenseWeights& dense,
                                     const experts::Bundle& bundle, const routing::Profile* profile,
                                     std::unique_ptr<KernelBackend> backend, const AcceleratorOptions& options)
    : implementation_(std::make_unique<Implementation>(config, std::move(backend))) {
  Implementation& self = *implementation_;
  self.options = options;
  const experts::ExpertGrid& grid = bundle.grid();
  self.decoder_layers = grid.decoder_layers;
  const DevicePattern pattern = pattern_of(bundle);
  self.driver.configure(config.d_model, config.d_ff, pattern, grid.layers(), grid.experts, 0);
  self.driver.set_slots(options.slots, options.budget_bytes);

  self.scales.resize(grid.size());
  for (experts::ExpertIndex index = 0; index < grid.size(); ++index) {
    const ExpertCodes codes = read_codes(bundle, index);
    const std::size_t layer = self.device_layer(grid.layer(grid.layer_of(index)));
    const std::size_t expert = grid.number_of(index);
    self.driver.load_expert(layer, expert, codes.view());
    self.scales[layer * grid.experts + expert] = {codes.input.unit, codes.wo_scales};
  }

  for (const model::Stack stack : {model::Stack::kDecoder, model::Stack::kEncoder}) {
    const bool encoder = stack == model::Stack::kEncoder;
    auto& routers = encoder ? self.encoder_routers : self.decoder_routers;
    for (const model::BlockWeights& block : (encoder ? dense.encoder : dense.decoder).blocks) {
      if (!block.router) continue;
      const MatrixView<const float> weights = block.router->classifier.view();
      std::vector<float> rows;
      for (std::size_t e = 0; e < weights.rows(); ++e)
        rows.insert(rows.end(), weights.row(e).begin(), weights.row(e).end());
      self.driver.load_router(self.device_layer({stack, static_cast<std::uint32_t>(routers.size())}), rows);
      routers.emplace_back(*block.router, config.expert_capacity, config.router_dtype);
    }
  }

  self.policy.path_layers = std::max<std::size_t>(self.decoder_layers, 1);
  if (profile != nullptr && options.prefetch_count != 0) {
    self.policy.order = options.order;
    self.policy.prefetch_count =
        std::min<std::size_t>(options.prefetch_count, self.driver.slots() > 1 ? self.driver.slots() - 1 : 1);
  }
  self.driver.set_policy(self.policy);
  if (self.policy.prefetch_count != 0) {
    self.driver.load_table(predictor_table(*profile, options.order, self.driver.limits().ranked));
  }
  self.description = fmt::format("{}, {}, {} slots of {} bytes, {}", self.driver.backend().describe(),
                                 bundle.describe(), self.driver.slots(), self.driver.layout().slot_bytes(),
                                 self.policy.prefetch_count != 0
                                     ? fmt::format("cepr({}) prefetching {}", options.order, self.policy.prefetch_count)
                                     : std::string("no prediction"));
  if (options.timeline) {
    std::vector<std::string> names;
    for (const model::Stack stack : {model::Stack::kDecoder, model::Stack::kEncoder}) {
      const std::uint32_t layers = stack == model::Stack::kDecoder ? grid.decoder_layers : grid.encoder_layers;
      for (std::uint32_t i = 0; i < layers; ++i) names.push_back(fmt::format("{} layer {}", model::name_of(stack), i));
    }
    options.timeline->set_experts(self.driver.weights_address(0), self.driver.layout().channel_stride(), grid.experts,
                                  std::move(names));
  }
  begin_statistics();
}

AcceleratorDevice::~AcceleratorDevice() = default;

void AcceleratorDevice::begin_batch(std::size_t sequences) {
  Implementation& self = *implementation_;
  self.rows.begin(sequences);
  CommandList commands;
  for (std::size_t s = 0; s < most_sequences(); ++s) commands.clear_sequence(s);
  self.driver.run(commands);
}

void AcceleratorDevice::reorder(std::span<const std::uint32_t> parents) {
  Implementation& self = *implementation_;
  CommandList commands;
  for (const HistoryRows::Copy& copy : self.rows.reorder(parents)) commands.copy_sequence(copy.to, copy.from);
  if (commands.size() != 0) self.driver.run(commands);
}

std::size_t AcceleratorDevice::most_sequences() const { return implementation_->driver.limits().sequences; }

void AcceleratorDevice::feed(std::span<const std::int32_t> /*tokens*/) {}
void AcceleratorDevice::approach(model::MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) {}

void AcceleratorDevice::route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) {
  Implementation& self = *implementation_;
  const bool decoder = input.layer.stack == model::Stack::kDecoder;
  auto& routers = decoder ? self.decoder_routers : self.encoder_routers;
  routers[input.layer.index].route(input, decisions);
  self.set_dropping(decoder && decisions.size() == 1);
  if (decoder) self.driver.backend().let_pass(self.options.dense_cycles);

  const std::size_t layer = self.device_layer(input.layer);
  self.driver.reserve(std::min(decisions.size(), kTokensPerRun));
  CommandList commands;
  std::size_t begin = 0;  // the first token of the list at hand
  const auto run_until = [&](std::size_t end) {
    self.driver.run(commands);
    for (std::size_t t = begin; t < end; ++t) {
      const LayerResult result = self.driver.download_result(t - begin, false);
      ++self.decisions;
      if (argmax(result.logits) != decisions[t].expert) ++self.disagreements;
    }
    commands.clear();
    begin = end;
  };
  // The load of the expert that computes first starts with its decision; of a batch's others, when their turn comes
  // near, so that each finds a slot.
  self.looked_up.reset();
  for (const model::RoutingDecision& decision : decisions) {
    if (decoder && !decision.dropped)
      self.looked_up = std::min(decision.expert, self.looked_up.value_or(decision.expert));
  }
  bool looking = self.looked_up.has_value();
  for (std::size_t t = 0; t < decisions.size(); ++t) {
    if (t - begin == kTokensPerRun) run_until(t);
    self.driver.upload_token(t - begin, self.driver.make_token(input.hidden.row(t), true, false));
    const std::size_t expert = decisions[t].expert;
    const bool lookup = looking && !decisions[t].dropped && expert == *self.looked_up;
    if (lookup) looking = false;
    const LayerFlags flags{.route = true, .forced = true, .lookup = lookup, .observe = decoder, .compute = false};
    self.layer_command(commands, flags, layer, expert,
                       input.sequence.empty() ? 0 : self.rows.history_of(input.sequence[t]), t - begin);
  }
  run_until(decisions.size());
}

void AcceleratorDevice::compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                                MatrixView<float> output) {
  Implementation& self = *implementation_;
  const bool decoder = input.layer.stack == model::Stack::kDecoder;
  const std::size_t layer = self.device_layer(input.layer);
  for (std::size_t t = 0; t < decisions.size(); ++t) std::ranges::fill(output.row(t), 0.0F);

  std::vector<std::size_t> order;
  for (std::size_t t = 0; t < decisions.size(); ++t) {
    if (!decisions[t].dropped) order.push_back(t);
  }
  std::ranges::stable_sort(order, {}, [&](std::size_t t) { return decisions[t].expert; });
  if (order.empty()) return;

  self.driver.reserve(std::min(order.size(), kTokensPerRun));
  std::vector<float> activation_scales(decisions.size());
  CommandList commands;
  std::size_t begin = 0;  // in `order`: the first token of the list at hand
  const auto run_until = [&](std::size_t end) {
    self.driver.run(commands);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t t = order[i];
      const LayerResult result = self.driver.download_result(i - begin, true);
      const OutputScales& scales = self.scales[layer * self.config.num_experts + decisions[t].expert];
      const float unit = kernels::output_unit(activation_scales[t], scales.input_unit, result.hidden_maximum);
      const std::span<float> row = output.row(t);
      for (std::size_t o = 0; o < row.size(); ++o) {
        row[o] = decisions[t].probability * kernels::output_value(result.accumulators[o], scales.wo[o], unit);
      }
    }
    commands.clear();
    begin = end;
  };
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i - begin == kTokensPerRun) run_until(i);
    const std::size_t t = order[i];
    const std::size_t expert = decisions[t].expert;
    const TokenRecord record = self.driver.make_token(input.hidden.row(t), false, true);
    activation_scales[t] = record.activation_scale;
    self.driver.upload_token(i - begin, record);
    const bool first = i == 0 || decisions[order[i - 1]].expert != expert;
    // While one expert computes its tokens, the next one of the pass is on its way.
    if (first) {
      const auto next = std::find_if(order.begin() + static_cast<std::ptrdiff_t>(i), order.end(),
                                     [&](std::size_t other) { return decisions[other].expert != expert; });
      if (next != order.end()) commands.prefetch(layer, decisions[*next].expert);
    }
    const LayerFlags flags{.route = false,
                           .forced = false,
                           .lookup = first && expert != self.looked_up,
                           .observe = false,
                           .compute = true};
    self.layer_command(commands, flags, layer, expert, 0, i - begin);
  }
  run_until(order.size());
  if (decoder) self.layer_runs += order.size();
}

void AcceleratorDevice::begin_statistics() {
  Implementation& self = *implementation_;
  self.at_begin = self.driver.counters();
  self.layer_runs = self.decisions = self.disagreements = 0;
}

AcceleratorReport AcceleratorDevice::report() const {
  Implementation& self = *implementation_;
  AcceleratorReport report;
  report.counters = self.driver.counters();
  report.counters -= self.at_begin;
  report.decoder_layer_runs = self.layer_runs;
  report.router_decisions = self.decisions;
  report.router_disagreements = self.disagreements;
  report.clock_mhz = self.driver.backend().clock_mhz();
  return report;
}

void AcceleratorDevice::finish() { implementation_->written = implementation_->driver.backend().finish(); }

const std::string& AcceleratorDevice::written() const { return implementation_->written; }

model::MoeStatistics AcceleratorDevice::statistics() const {
  const KernelCounters counters = report().counters;
  const KernelCounters::Lookups lookups = counters.lookups();
  const std::uint64_t expert_bytes = implementation_->driver.layout().slot_bytes();
  model::MoeStatistics result;
  result.hits = lookups.hits;
  result.late = lookups.late;
  result.misses = lookups.misses;
  result.bytes_demand = counters.demand_loads * expert_bytes;
  result.bytes_prefetch_used = counters.prefetch_used * expert_bytes;
  // What arrived beyond that was fetched for nothing, whole experts and parts of dropped ones alike.
  const std::uint64_t useful = result.bytes_demand + result.bytes_prefetch_used;
  const std::uint64_t moved = counters.load_bytes;
  result.bytes_prefetch_wasted = moved > useful ? moved - useful : 0;
  result.wait_seconds =
      static_cast<double>(counters[CycleKind::kMemory]) / (implementation_->driver.backend().clock_mhz() * 1e6);
  return result;
}

std::string AcceleratorDevice::describe() const { return "fpga: " + implementation_->description; }

}  // namespace flame::accel
