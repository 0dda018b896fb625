#include "flame/eval/buffer.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/thread_pool.h"
#include "flame/eval/foreseen_predictor.h"
#include "flame/eval/prediction_tally.h"
#include "flame/eval/ranking_tape.h"
#include "flame/experts/predictor_choice.h"

namespace flame::eval {
namespace {

using experts::BeladyReplacement;
using experts::ExpertGrid;
using experts::ExpertIndex;
using model::RoutingDecision;
using model::Stack;

/// A trace made ready to be replayed with many settings. Const members may be called by several threads.
class Replayer {
 public:
  Replayer(const routing::Trace& trace, const routing::Profile& profile);

  /// Settings with the same mode, predictor and context.
  void replay(std::span<const BufferCase> settings, std::span<BufferResult> results) const;

 private:
  void replay_paper(std::span<const BufferCase> settings, std::span<BufferResult> results) const;
  /// Example by example through all settings, so that the predictor ranks once for all.
  void replay_runtime(std::span<const BufferCase> settings, std::span<BufferResult> results) const;
  [[nodiscard]] experts::PredictorChoice choice_of(const BufferCase& setting) const;
  [[nodiscard]] std::shared_ptr<routing::Predictor> predictor_of(const experts::PredictorChoice& choice,
                                                                 const BufferCase& setting) const;
  [[nodiscard]] std::unique_ptr<BufferSimulation> simulation_of(const BufferCase& setting,
                                                                const std::shared_ptr<RankingTape>& tape) const;
  void record(std::size_t example, RankingTape& tape) const;
  void replay_example(std::size_t example, BufferSimulation& simulation, BufferResult& result) const;
  void finish(BufferSimulation& simulation, BufferResult& result) const;
  /// Row `step` of a tensor [steps, layers, d_model] as floats in `row`, or nothing where there is no such tensor.
  [[nodiscard]] MatrixView<const float> state(const std::vector<BFloat16>& states, std::size_t step,
                                              std::uint32_t layer, std::vector<float>& row) const;
  /// Every lookup in the order in which a pipeline counts them: layer by layer, within a pass by expert.
  [[nodiscard]] std::vector<ExpertIndex> lookups() const;
  [[nodiscard]] std::span<const RoutingDecision> encoder_pass(std::size_t example, std::uint32_t layer) const;
  [[nodiscard]] std::span<const std::uint16_t> experts_of(const routing::StepRange& steps) const {
    return std::span(trace_.decoder.experts)
        .subspan(steps.first * grid_.decoder_layers, (steps.end - steps.first) * grid_.decoder_layers);
  }

  const routing::Trace& trace_;
  const routing::Profile& profile_;
  ExpertGrid grid_;
  std::vector<float> popularity_;
  std::vector<routing::StepRange> encoder_;
  std::vector<routing::StepRange> decoder_;
  std::vector<RoutingDecision> encoder_decisions_;  ///< [example][layer][token]
  std::vector<std::uint32_t> zeros_;                ///< rows of the tokens of a pass: replays have one
};

Replayer::Replayer(const routing::Trace& trace, const routing::Profile& profile)
    : trace_(trace),
      profile_(profile),
      grid_{trace.info.encoder_layers, trace.info.decoder_layers, trace.info.experts},
      popularity_(experts::popularity_of(profile, grid_)),
      encoder_(routing::examples_of(trace.encoder)),
      decoder_(routing::examples_of(trace.decoder)) {
  const routing::StackTrace& stack = trace.encoder;
  std::size_t longest = 1;
  for (const routing::StepRange& steps : encoder_) {
    longest = std::max(longest, steps.end - steps.first);
    for (std::uint32_t layer = 0; layer < grid_.encoder_layers; ++layer) {
      for (std::size_t step = steps.first; step < steps.end; ++step) {
        const std::size_t at = step * stack.layers + layer;
        encoder_decisions_.push_back({stack.experts[at], !stack.dropped.empty() && stack.dropped[at] != 0, 1.0F});
      }
    }
  }
  zeros_.assign(longest, 0);
}

std::span<const RoutingDecision> Replayer::encoder_pass(std::size_t example, std::uint32_t layer) const {
  const routing::StepRange& steps = encoder_[example];
  const std::size_t tokens = steps.end - steps.first;
  return std::span(encoder_decisions_).subspan(steps.first * grid_.encoder_layers + layer * tokens, tokens);
}

std::vector<ExpertIndex> Replayer::lookups() const {
  std::vector<ExpertIndex> lookups;
  std::vector<bool> used(grid_.experts);
  for (std::size_t example = 0; example < decoder_.size(); ++example) {
    for (std::uint32_t layer = 0; example < encoder_.size() && layer < grid_.encoder_layers; ++layer) {
      used.assign(grid_.experts, false);
      for (const RoutingDecision& decision : encoder_pass(example, layer)) {
        if (!decision.dropped) used[decision.expert] = true;
      }
      for (std::uint32_t number = 0; number < grid_.experts; ++number) {
        if (used[number]) lookups.push_back(grid_.expert(layer, number));
      }
    }
    std::uint32_t layer = 0;
    for (const std::uint16_t expert : experts_of(decoder_[example])) {
      lookups.push_back(grid_.expert(grid_.encoder_layers + layer, expert));
      layer = layer + 1 == grid_.decoder_layers ? 0 : layer + 1;
    }
  }
  return lookups;
}

MatrixView<const float> Replayer::state(const std::vector<BFloat16>& states, std::size_t step, std::uint32_t layer,
                                        std::vector<float>& row) const {
  if (states.empty()) return {};
  const std::size_t width = trace_.info.d_model;
  row.resize(width);
  const BFloat16* const from = states.data() + (step * grid_.decoder_layers + layer) * width;
  for (std::size_t i = 0; i < width; ++i) row[i] = from[i].to_float();
  return {row.data(), 1, width};
}

void Replayer::replay(std::span<const BufferCase> settings, std::span<BufferResult> results) const {
  if (settings.front().mode == BufferMode::kPaper) {
    replay_paper(settings, results);
  } else {
    replay_runtime(settings, results);
  }
}

void Replayer::replay_paper(std::span<const BufferCase> settings, std::span<BufferResult> results) const {
  if (settings.front().predictor == "none") throw UsageError("paper mode needs a predictor: it fills the slots");
  routing::PredictorOptions options;
  options.context = settings.front().context;
  options.depth = 1;
  std::string name = settings.front().predictor;
  if (name == "auto") name = choice_of(settings.front()).predictor;
  const auto predictor = routing::make_predictor(name, options, profile_);
  require_states(*predictor, trace_);
  std::size_t most = 1;
  for (const BufferCase& setting : settings) most = std::max(most, setting.slots);
  std::vector<routing::RankedExpert> top(std::min<std::size_t>(most, grid_.experts));
  // The place in the ranking of the expert that came: it hits with so many slots.
  std::vector<std::uint64_t> at_place(top.size() + 1);
  std::vector<float> row;
  std::uint64_t steps_done = 0;
  for (const routing::StepRange& steps : decoder_) {
    throw_if_interrupted();
    predictor->begin(1);
    if (predictor->needs_future()) predictor->foresee(0, experts_of(steps));
    for (std::size_t step = steps.first; step < steps.end; ++step) {
      predictor->feed({&trace_.decoder.token[step], 1});
      const std::uint16_t* const chosen = trace_.decoder.experts_of(step).data();
      for (std::uint32_t layer = 0; layer < grid_.decoder_layers; ++layer) {
        if (predictor->needs_approach()) {
          predictor->approach(layer, state(trace_.decoder.approach, step, layer, row));
        }
        const std::size_t count = predictor->rank(0, layer, top);
        std::size_t place = 0;
        while (place < count && top[place].expert != chosen[layer]) ++place;
        ++at_place[place == count ? top.size() : place];
        if (predictor->needs_hidden()) predictor->hidden(layer, state(trace_.decoder.hidden, step, layer, row));
        predictor->observe(0, layer, chosen[layer]);
      }
    }
    steps_done += steps.end - steps.first;
  }
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const BufferCase& setting = settings[i];
    BufferResult& result = results[i];
    result.setting = setting;
    result.steps = steps_done;
    for (std::size_t place = 0; place < at_place.size(); ++place) {
      const bool hit = place < top.size() && place < setting.slots;
      (hit ? result.decoder.hits : result.decoder.misses) += at_place[place];
    }
    // Nothing overlaps in this mode: a miss costs a whole load.
    const double lookups = static_cast<double>(result.decoder.all());
    result.wait_seconds = static_cast<double>(result.decoder.misses) * setting.times.load;
    const double total = result.wait_seconds + lookups * (setting.times.compute + setting.times.gap);
    result.total_seconds = total;
    result.latency_seconds = result.steps == 0 ? 0.0 : total / static_cast<double>(result.steps);
  }
}

void Replayer::replay_runtime(std::span<const BufferCase> settings, std::span<BufferResult> results) const {
  const experts::PredictorChoice choice = choice_of(settings.front());
  std::shared_ptr<RankingTape> tape;
  if (!choice.predictor.empty() && choice.predictor != "random") {
    auto predictor = predictor_of(choice, settings.front());
    const std::uint32_t depth = experts::make_forecaster(predictor, profile_, grid_)->depth();
    if (settings.front().foreseen > 0) {
      predictor = make_foreseen_predictor(
          std::move(predictor), std::min<std::size_t>(settings.front().foreseen, grid_.experts), grid_.decoder_layers);
    }
    tape = std::make_shared<RankingTape>(predictor, grid_.decoder_layers, grid_.experts, depth);
  }
  std::vector<std::unique_ptr<BufferSimulation>> simulations;
  for (const BufferCase& setting : settings) simulations.push_back(simulation_of(setting, tape));
  for (std::size_t i = 0; i < settings.size(); ++i) results[i].setting = settings[i];

  for (std::size_t example = 0; example < decoder_.size(); ++example) {
    throw_if_interrupted();
    if (tape != nullptr) record(example, *tape);
    for (std::size_t i = 0; i < settings.size(); ++i) replay_example(example, *simulations[i], results[i]);
  }
  for (std::size_t i = 0; i < settings.size(); ++i) finish(*simulations[i], results[i]);
}

experts::PredictorChoice Replayer::choice_of(const BufferCase& setting) const {
  return experts::choose_predictor(setting.predictor == "belady" ? "none" : setting.predictor, setting.replacement,
                                   &profile_);
}

std::shared_ptr<routing::Predictor> Replayer::predictor_of(const experts::PredictorChoice& choice,
                                                           const BufferCase& setting) const {
  auto predictor = experts::make_predictor(choice.predictor, setting.context, 1, profile_);
  require_states(*predictor, trace_);
  return predictor;
}

std::unique_ptr<BufferSimulation> Replayer::simulation_of(const BufferCase& setting,
                                                          const std::shared_ptr<RankingTape>& tape) const {
  const experts::PredictorChoice choice = choice_of(setting);
  std::unique_ptr<experts::Forecaster> forecaster;
  if (tape != nullptr) {
    forecaster = experts::make_forecaster(tape, profile_, grid_);
  } else if (!choice.predictor.empty()) {
    // A random predictor goes on where it was: every replay gets its own, so that none depends on another.
    forecaster = experts::make_forecaster(predictor_of(choice, setting), profile_, grid_);
  }
  std::unique_ptr<experts::ReplacementPolicy> policy;
  if (setting.predictor == "belady") {
    policy = std::make_unique<BeladyReplacement>(grid_, lookups());
  } else {
    policy = experts::make_replacement(choice.replacement, grid_, popularity_);
  }
  const std::size_t slots = std::min<std::size_t>(setting.slots, grid_.size());
  return std::make_unique<BufferSimulation>(grid_, slots, setting.times, setting.speculate_always, std::move(policy),
                                            std::move(forecaster), popularity_);
}

void Replayer::record(std::size_t example, RankingTape& tape) const {
  const routing::StepRange steps = decoder_[example];
  std::vector<float> row;
  tape.begin_recording(experts_of(steps));
  for (std::size_t step = steps.first; step < steps.end; ++step) {
    tape.feed({&trace_.decoder.token[step], 1});
    for (std::uint32_t layer = 0; layer < grid_.decoder_layers; ++layer) {
      if (tape.needs_approach()) tape.approach(layer, state(trace_.decoder.approach, step, layer, row));
      if (tape.needs_hidden()) tape.hidden(layer, state(trace_.decoder.hidden, step, layer, row));
      tape.observe(0, layer, trace_.decoder.experts_of(step)[layer]);
    }
  }
}

void Replayer::replay_example(std::size_t example, BufferSimulation& simulation, BufferResult& result) const {
  const routing::StepRange steps = decoder_[example];
  const experts::Forecaster* const forecaster = simulation.pipeline().forecaster();
  const bool approaches = forecaster != nullptr && forecaster->needs_approach();
  simulation.pipeline().begin_batch(1);
  for (std::uint32_t layer = 0; example < encoder_.size() && layer < grid_.encoder_layers; ++layer) {
    const std::span<const RoutingDecision> decisions = encoder_pass(example, layer);
    simulation.approach({Stack::kEncoder, layer}, {});
    simulation.pass({Stack::kEncoder, layer}, decisions, std::span(zeros_).first(decisions.size()));
  }
  // What was seen is on the tape; here it only says that it is seen now.
  const float seen = 0.0F;
  const MatrixView<const float> sight = approaches ? MatrixView<const float>(&seen, 1, 1) : MatrixView<const float>();
  const double begin = simulation.loader().now();
  for (std::size_t step = steps.first; step < steps.end; ++step) {
    simulation.pipeline().feed({&trace_.decoder.token[step], 1});
    const std::uint16_t* const chosen = trace_.decoder.experts_of(step).data();
    for (std::uint32_t number = 0; number < grid_.decoder_layers; ++number) {
      const model::MoeLayer layer{Stack::kDecoder, number};
      const RoutingDecision decision{chosen[number], false, 1.0F};
      simulation.approach(layer, sight);
      simulation.pass(layer, {&decision, 1}, std::span(zeros_).first(1));
    }
  }
  result.latency_seconds += simulation.loader().now() - begin;  // in all, until finish()
  result.steps += steps.end - steps.first;
}

void Replayer::finish(BufferSimulation& simulation, BufferResult& result) const {
  simulation.pipeline().collect();
  result.loads = simulation.pipeline().statistics();
  result.encoder = result.loads.encoder;
  result.decoder = result.loads.decoder;
  result.total_seconds = simulation.loader().now();
  result.wait_seconds = result.loads.wait_seconds;
  result.storage_busy_seconds = simulation.loader().busy_seconds();
  const BufferTimes& times = result.setting.times;
  const auto steps = static_cast<double>(std::max<std::uint64_t>(1, result.steps));
  result.latency_seconds /= steps;
  result.needed_seconds = std::max(static_cast<double>(result.decoder.loaded) / steps * times.load,
                                   (times.compute + times.gap) * grid_.decoder_layers);
}

}  // namespace

double BufferResult::hit_ratio() const {
  const std::uint64_t lookups = decoder.all();
  return lookups == 0 ? 0.0 : static_cast<double>(decoder.hits) / static_cast<double>(lookups);
}

BufferResult replay_buffer(const routing::Trace& trace, const routing::Profile& profile, const BufferCase& setting) {
  return replay_buffer(trace, profile, std::vector<BufferCase>{setting}).front();
}

std::vector<BufferResult> replay_buffer(const routing::Trace& trace, const routing::Profile& profile,
                                        const std::vector<BufferCase>& settings) {
  for (const BufferCase& setting : settings) {
    if (setting.slots == 0) throw UsageError("a buffer needs at least one slot");
  }
  // Runs of settings that share their predictor, cut so that every thread gets some.
  const auto key = [](const BufferCase& setting) {
    return std::tuple(setting.mode, setting.predictor, setting.context, setting.foreseen);
  };
  std::vector<std::size_t> begins;
  for (std::size_t first = 0; first < settings.size();) {
    std::size_t end = first;
    while (end < settings.size() && key(settings[end]) == key(settings[first])) ++end;
    const bool whole = settings[first].mode == BufferMode::kPaper;
    const std::size_t piece = whole ? end - first : (end - first - 1) / ThreadPool::threads() + 1;
    for (; first < end; first += std::min(piece, end - first)) begins.push_back(first);
  }
  begins.push_back(settings.size());
  const Replayer replayer(trace, profile);
  std::vector<BufferResult> results(settings.size());
  ThreadPool::parallel_for(begins.size() - 1, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t count = begins[i + 1] - begins[i];
      replayer.replay(std::span(settings).subspan(begins[i], count), std::span(results).subspan(begins[i], count));
    }
  });
  return results;
}

routing::TraceReadOptions states_for(const std::vector<std::string>& predictors, const routing::Profile& profile) {
  routing::TraceReadOptions states;
  for (const std::string& name : predictors) {
    const std::string predictor = experts::choose_predictor(name, experts::Replacement::kNextUse, &profile).predictor;
    if (predictor.empty()) continue;
    const auto made = routing::make_predictor(predictor, {.context = 1, .depth = 1}, profile);
    states.hidden = states.hidden || made->needs_hidden();
    states.approach = states.approach || made->needs_approach();
  }
  return states;
}

Json to_json(const BufferResult& result) {
  const auto experts_of = [](std::uint64_t units) {
    return static_cast<double>(units) / static_cast<double>(kExpertUnits);
  };
  return {
      {"predictor", result.setting.predictor},
      {"m", result.setting.context},
      {"slots", result.setting.slots},
      {"mode", result.setting.mode == BufferMode::kPaper ? "paper" : "runtime"},
      {"replacement", experts::name_of(result.setting.replacement)},
      {"foreseen", result.setting.mode == BufferMode::kRuntime ? result.setting.foreseen : 0},
      {"hits", result.decoder.hits},
      {"late", result.decoder.late},
      {"misses", result.decoder.misses},
      {"hit_ratio", result.hit_ratio()},
      {"latency_seconds", result.latency_seconds},
      {"needed_seconds", result.needed_seconds},
      {"steps", result.steps},
      {"encoder", {{"hits", result.encoder.hits}, {"late", result.encoder.late}, {"misses", result.encoder.misses}}},
      {"total_seconds", result.total_seconds},
      {"wait_seconds", result.wait_seconds},
      {"storage_busy_seconds", result.storage_busy_seconds},
      {"load_seconds", result.setting.times.load},
      {"experts_loaded",
       {{"demand", experts_of(result.loads.bytes_demand)},
        {"prefetch_used", experts_of(result.loads.bytes_prefetch_used)},
        {"prefetch_wasted", experts_of(result.loads.bytes_prefetch_wasted + result.loads.bytes_prefetch_open)}}}};
}

}  // namespace flame::eval
