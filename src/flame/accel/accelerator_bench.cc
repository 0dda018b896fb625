#include "flame/accel/accelerator_bench.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <random>

#include "flame/base/error.h"

namespace flame::accel {

namespace {

constexpr std::size_t kDistinctExperts = 2;  // time does not depend on the weights; a few keep packing short
constexpr std::size_t kStepsPerRun = 64;     // tokens of one command list

/// Random int8 weights that obey the pattern.
std::vector<std::int8_t> random_weights(std::size_t rows, std::size_t columns, DevicePattern pattern,
                                        std::mt19937& random) {
  std::vector<std::int8_t> weights(rows * columns);
  std::vector<std::size_t> places(pattern.m());
  std::iota(places.begin(), places.end(), 0U);
  std::uniform_int_distribution<int> value(-127, 127);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t group = 0; group < columns; group += pattern.m()) {
      std::shuffle(places.begin(), places.end(), random);
      for (std::size_t i = 0; i < pattern.n(); ++i) {
        const std::size_t column = group + places[i];
        if (column < columns) weights[row * columns + column] = static_cast<std::int8_t>(value(random));
      }
    }
  }
  return weights;
}

}  // namespace

double belady_hit_ratio(const RoutingReplay& replay, std::size_t slots, std::size_t warm_up) {
  const std::size_t count = replay.decisions.size();
  const auto key_of = [&](std::size_t i) { return i % replay.layers * replay.experts + replay.decisions[i]; };
  std::vector<std::size_t> next(count);  // [decisions]: the following use of the same expert
  std::vector<std::size_t> seen(replay.layers * replay.experts, count);
  for (std::size_t i = count; i-- > 0;) {
    next[i] = seen[key_of(i)];
    seen[key_of(i)] = i;
  }
  std::map<std::size_t, std::size_t> resident;  // next use -> expert; those without one share a key past the end
  std::vector<std::size_t> due(replay.layers * replay.experts, 0);  // the key of a resident expert in `resident`
  std::vector<bool> held(replay.layers * replay.experts, false);
  const std::size_t first = warm_up * replay.layers;
  std::size_t hits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t key = key_of(i);
    if (held[key]) {
      hits += i >= first ? 1 : 0;
      resident.erase(due[key]);
    } else if (resident.size() == slots) {
      const auto last = std::prev(resident.end());
      held[last->second] = false;
      resident.erase(last);
    }
    due[key] = next[i] == count ? count + key : next[i];
    resident.emplace(due[key], key);
    held[key] = true;
  }
  return count == first ? 0.0 : static_cast<double>(hits) / static_cast<double>(count - first);
}

double sequential_lines_per_cycle(const Ddr4Parameters& parameters) {
  Ddr4Timing timing(parameters);
  constexpr std::uint64_t kLines = 1 << 18;  // 16 MiB: many refreshes
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  for (std::uint64_t line = 0; line < kLines; ++line) {
    last = timing.schedule(line * kLineBytes, false, 0);
    if (line == 0) first = last;
  }
  return static_cast<double>(kLines - 1) / static_cast<double>(last - first);
}

double sequential_beats_per_cycle(const Ddr4Parameters& parameters, std::size_t axi_bytes) {
  const double beats_per_line = static_cast<double>(kLineBytes) / static_cast<double>(axi_bytes);
  return std::min(1.0, sequential_lines_per_cycle(parameters) * beats_per_line);
}

double sequential_load_cycles(const ExpertLayout& layout, const Ddr4Parameters& parameters) {
  return static_cast<double>(layout.channel_beats()) / sequential_beats_per_cycle(parameters, layout.axi_bytes);
}

AcceleratorBenchResult run_accelerator_bench(const AcceleratorBenchOptions& options, const RoutingReplay& replay) {
  if (replay.steps() == 0 || replay.decisions.size() != replay.steps() * replay.layers) {
    throw UsageError("the routing to replay is empty, or does not have one decision a step and layer");
  }
  SimulatedCardOptions card;
  card.configuration = options.configuration;
  card.ddr4 = options.ddr4;
  Driver driver(std::make_unique<SimulatedCard>(card));
  driver.configure(options.d_model, options.d_ff, options.pattern, replay.layers, replay.experts, 0);
  driver.set_slots(options.slots, options.budget_bytes);

  std::mt19937 random(7);
  std::vector<std::uint16_t> multipliers(options.d_ff, 1U << 14);
  for (std::size_t variant = 0; variant < kDistinctExperts; ++variant) {
    const auto wi = random_weights(options.d_ff, options.d_model, options.pattern, random);
    const auto wo = random_weights(options.d_model, options.d_ff, options.pattern, random);
    const kernels::Int8ExpertView view{options.d_model, options.d_ff, wi, wo, multipliers, 1.0F, {}};
    driver.load_expert_everywhere(view, variant, kDistinctExperts);
  }
  std::normal_distribution<float> normal;
  std::vector<float> router(replay.experts * options.d_model);
  for (float& weight : router) weight = normal(random);
  for (std::size_t layer = 0; layer < replay.layers; ++layer) driver.load_router(layer, router);

  PolicySettings policy = options.policy;
  policy.path_layers = replay.layers;
  driver.set_policy(policy);
  if (policy.prefetch_count != 0) driver.load_table(options.table);
  if (!options.keep.empty()) driver.load_keep(options.keep);

  std::vector<float> x(options.d_model);
  for (float& value : x) value = normal(random);
  driver.reserve(1);
  driver.upload_token(0, driver.make_token(x, true, true));

  const auto run_steps = [&](std::size_t first, std::size_t end) {
    for (std::size_t begin = first; begin < end; begin += kStepsPerRun) {
      CommandList commands;
      for (std::size_t step = begin; step < std::min(end, begin + kStepsPerRun); ++step) {
        if (step == 0 || replay.example[step] != replay.example[step - 1]) commands.clear_sequence(0);
        for (std::size_t layer = 0; layer < replay.layers; ++layer) {
          const LayerFlags flags{
              .route = true, .forced = true, .lookup = true, .observe = policy.prefetch_count != 0, .compute = true};
          commands.layer(flags, layer, replay.decisions[step * replay.layers + layer], 0, driver.token_address(0),
                         driver.result_address(0));
          commands.delay(static_cast<std::uint32_t>(options.dense_cycles));
        }
      }
      driver.run(commands, begin == first && first == options.warm_up);
    }
  };
  if (options.all_resident) {
    // Each expert the replay asks for is computed once beforehand, so that all of them are in slots.
    CommandList commands;
    std::vector<bool> loaded(replay.layers * replay.experts);
    for (std::size_t i = 0; i < replay.decisions.size(); ++i) {
      const std::size_t layer = i % replay.layers;
      const std::size_t expert = replay.decisions[i];
      if (loaded[layer * replay.experts + expert]) continue;
      loaded[layer * replay.experts + expert] = true;
      commands.layer({.lookup = false, .compute = true}, layer, expert, 0, driver.token_address(0),
                     driver.result_address(0));
    }
    driver.run(commands);
  }
  if (options.warm_up > 0) run_steps(0, options.warm_up);
  run_steps(options.warm_up, replay.steps());

  return summarise(options, driver.layout(), driver.slots(), replay.steps() - options.warm_up, replay.layers,
                   driver.counters());
}

AcceleratorBenchResult summarise(const AcceleratorBenchOptions& options, const ExpertLayout& layout, std::size_t slots,
                                 std::size_t token_count, std::size_t layers, const KernelCounters& counters) {
  AcceleratorBenchResult result;
  result.slots = slots;
  result.slot_bytes = layout.slot_bytes();
  result.tokens = token_count;
  result.layer_runs = token_count * layers;
  result.counters = counters;
  result.steps_per_expert = layout.steps();
  result.kept_macs_per_expert = static_cast<double>(layout.kept_macs());
  const auto tokens = static_cast<double>(result.tokens);
  const auto cycles = static_cast<double>(result.counters.busy_cycles());
  result.cycles_per_token = cycles / tokens;
  result.seconds_per_token = result.cycles_per_token / (options.ddr4.kernel_clock_mhz * 1e6);
  result.moe_cycles_per_token = (cycles - static_cast<double>(result.counters[CycleKind::kDelay])) / tokens;
  const double load = sequential_load_cycles(layout, options.ddr4);
  result.load_cycles_per_expert = load;
  const auto steps = static_cast<double>(result.steps_per_expert);
  const KernelCounters::Lookups lookups = result.counters.lookups();
  // Two bounds: each lookup on its own, a miss at the pace of the memory; and all bytes that were used over the
  // bandwidth, which bites where loads of one layer delay the next.
  const double alone = static_cast<double>(lookups.hits + lookups.late) * steps +
                       static_cast<double>(lookups.misses) * std::max(steps, load);
  const double bytes = static_cast<double>(result.counters.demand_loads + result.counters.prefetch_used) * load -
                       static_cast<double>(result.counters[CycleKind::kDelay]);
  result.bound_cycles_per_token = std::max(alone, bytes) / tokens;
  const auto all = static_cast<double>(lookups.hits + lookups.late + lookups.misses);
  result.overlapped_bound_cycles_per_token = std::max(all * steps, static_cast<double>(lookups.misses) * load) / tokens;
  const KernelCounters& c = result.counters;
  result.array_busy = static_cast<double>(c[CycleKind::kCompute]) /
                      static_cast<double>(c[CycleKind::kCompute] + c[CycleKind::kMemory] + c[CycleKind::kOverhead]);
  return result;
}

}  // namespace flame::accel
