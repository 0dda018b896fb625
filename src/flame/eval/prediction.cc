#include "flame/eval/prediction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/eval/prediction_tally.h"

namespace flame::eval {
namespace {

using routing::Predictor;
using routing::PredictorOptions;
using routing::Profile;
using routing::StepRange;
using routing::Trace;

/// Examples drawn with replacement, as often as each came: [samples, examples].
std::vector<std::uint16_t> draw_examples(std::size_t examples, const Bootstrap& bootstrap) {
  std::vector<std::uint16_t> times(bootstrap.samples * examples, 0);
  Random random(bootstrap.seed);
  for (std::size_t sample = 0; sample < bootstrap.samples; ++sample) {
    for (std::size_t i = 0; i < examples; ++i) ++times[sample * examples + random.next_below(examples)];
  }
  return times;
}

double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// The ratio of two sums over examples; long examples weigh more, as in the sum over all positions.
Interval ratio_interval(const std::vector<double>& correct, const std::vector<double>& positions,
                        const std::vector<std::uint16_t>& times, const Bootstrap& bootstrap) {
  const double all = std::accumulate(positions.begin(), positions.end(), 0.0);
  Interval interval;
  if (all == 0.0) return interval;
  interval.mean = std::accumulate(correct.begin(), correct.end(), 0.0) / all;
  interval.low = interval.high = interval.mean;
  if (bootstrap.samples == 0) return interval;
  std::vector<double> ratios;
  const std::size_t examples = correct.size();
  for (std::size_t sample = 0; sample < bootstrap.samples; ++sample) {
    double hits = 0.0;
    double made = 0.0;
    for (std::size_t i = 0; i < examples; ++i) {
      const auto weight = static_cast<double>(times[sample * examples + i]);
      hits += weight * correct[i];
      made += weight * positions[i];
    }
    ratios.push_back(made > 0.0 ? hits / made : interval.mean);
  }
  std::sort(ratios.begin(), ratios.end());
  interval.low = percentile(ratios, 0.5 * (1.0 - bootstrap.confidence));
  interval.high = percentile(ratios, 0.5 * (1.0 + bootstrap.confidence));
  return interval;
}

/// One predictor to build.
struct Job {
  std::string name;
  PredictorOptions options;
  std::vector<std::uint32_t> ranks;
  std::vector<std::uint32_t> depths;
};

/// The furthest layer ahead that has a prediction of its own. A layer comes again after all others: what is farther off
/// than that is another token's.
std::uint32_t reach_of(const std::string& name, const Profile& profile) {
  if (!routing::counts_layers_ahead(name)) return profile.layers();
  return std::min(routing::farthest_depth(name, profile), profile.layers());
}

/// Those of the depths asked for that the predictor reaches; the others are told to `beyond`.
std::vector<std::uint32_t> depths_within(const std::string& name, const PredictionRequest& request,
                                         const Profile& profile, std::vector<BeyondReach>& beyond) {
  const std::uint32_t farthest = reach_of(name, profile);
  std::vector<std::uint32_t> within;
  for (const std::uint32_t depth : request.depths) {
    if (depth <= farthest) {
      within.push_back(depth);
    } else {
      beyond.push_back({name, depth, farthest});
    }
  }
  return within;
}

std::vector<std::uint32_t> up_to(std::uint32_t last) {
  std::vector<std::uint32_t> numbers(last);
  std::iota(numbers.begin(), numbers.end(), 1U);
  return numbers;
}

std::vector<Job> jobs_of(const PredictionRequest& request, const Trace& trace, const Profile& profile,
                         std::vector<BeyondReach>& beyond) {
  const std::vector<std::string> names =
      request.predictors.empty() ? available_predictors(trace, profile) : request.predictors;
  const std::vector<std::uint32_t> orders =
      request.orders.empty() ? up_to(profile.options().max_order) : request.orders;
  const std::vector<std::uint32_t> ranks = request.ranks.empty() ? up_to(profile.experts()) : request.ranks;
  std::vector<Job> jobs;
  for (const std::string& name : names) {
    const std::vector<std::uint32_t> depths = depths_within(name, request, profile, beyond);
    if (depths.empty()) continue;
    PredictorOptions options;
    options.depth = std::min(*std::max_element(depths.begin(), depths.end()), routing::farthest_depth(name, profile));
    if (routing::has_order(name)) {
      for (const std::uint32_t order : orders) {
        options.context = order;
        jobs.push_back({name, options, ranks, depths});
      }
      continue;
    }
    options.context = 0;
    jobs.push_back({name, options, ranks, depths});
    if (!takes_budget(name)) continue;
    for (const std::size_t bytes : request.budgets) {
      // How many contexts fit depends on how many experts each keeps: a table of its own for every k.
      for (const std::uint32_t k : ranks) {
        options.bytes = bytes;
        options.entries = k;
        jobs.push_back({name, options, {k}, depths});
      }
    }
  }
  return jobs;
}

void check_request(const PredictionRequest& request, const Trace& trace, const Profile& profile) {
  for (const std::uint32_t k : request.ranks) {
    if (k == 0 || k > profile.experts()) {
      throw UsageError(fmt::format("k must be 1 to {}, not {}", profile.experts(), k));
    }
  }
  if (request.depths.empty()) throw UsageError("no depth to predict at");
  // Those that were asked for by name; the default list leaves out what the trace has no data for.
  for (const std::string& name : request.predictors) {
    require_states(*routing::make_predictor(name, {.context = 1, .depth = 1}, profile), trace);
  }
}

void append_results(const Job& job, const Predictor& predictor, std::uint32_t depth, const PredictionTally& tally,
                    const std::vector<std::uint16_t>& times, const Bootstrap& bootstrap, PredictionReport& report) {
  const std::size_t width = tally.experts + 1;
  const std::size_t examples = tally.by_example.size() / width;
  PredictionResult result;
  result.predictor = job.name;
  result.m = routing::has_order(job.name) ? job.options.context : 0;
  result.depth = depth;
  result.budget = job.options.bytes;
  result.has_probabilities = predictor.has_probabilities();
  result.needs_states = predictor.needs_approach() || predictor.needs_hidden();
  for (std::size_t layer = 0; layer < tally.layers; ++layer) {
    const auto first = tally.place.begin() + static_cast<std::ptrdiff_t>(layer * width);
    result.layer_positions.push_back(
        std::accumulate(first, first + static_cast<std::ptrdiff_t>(width), std::uint64_t{0}));
    result.positions += result.layer_positions.back();
  }
  std::vector<double> made(examples, 0.0);
  for (std::size_t i = 0; i < tally.by_example.size(); ++i) made[i / width] += tally.by_example[i];
  const auto positions = static_cast<double>(std::max<std::uint64_t>(result.positions, 1));
  result.log_loss = result.has_probabilities ? tally.log_loss / positions : 0.0;
  for (const std::uint32_t k : job.ranks) {
    result.k = k;
    result.correct = 0;
    result.layer_correct.clear();
    for (std::size_t layer = 0; layer < tally.layers; ++layer) {
      const auto first = tally.place.begin() + static_cast<std::ptrdiff_t>(layer * width);
      result.layer_correct.push_back(std::accumulate(first, first + k, std::uint64_t{0}));
      result.correct += result.layer_correct.back();
    }
    std::vector<double> correct(examples, 0.0);
    for (std::size_t example = 0; example < examples; ++example) {
      for (std::size_t i = 0; i < k; ++i) correct[example] += tally.by_example[example * width + i];
    }
    result.accuracy = ratio_interval(correct, made, times, bootstrap);
    result.promised = std::accumulate(tally.promised.begin(), tally.promised.begin() + k, 0.0) / positions;
    result.cost = predictor.cost(k);
    report.results.push_back(result);
  }
}

}  // namespace

std::vector<std::string> available_predictors(const Trace& trace, const Profile& profile) {
  const routing::Fitted& fitted = profile.fitted();
  const bool hidden = !trace.decoder.hidden.empty();
  const bool approach = !trace.decoder.approach.empty();
  std::vector<std::string> names;
  for (const std::string_view name : routing::predictor_names()) {
    if (name == "next-router" && (fitted.router.empty() || !hidden)) continue;
    if (name == "lookahead" && (fitted.maps.empty() || !hidden)) continue;
    if (name == "pre-attention" && (fitted.approach.empty() || !approach)) continue;
    if (name == "edgemoe" && profile.options().max_order < 2) continue;
    if (name.starts_with("mix")) {
      const auto found = std::find_if(fitted.mixtures.begin(), fitted.mixtures.end(),
                                      [&](const routing::Mixture& mixture) { return mixture.name == name; });
      if (found == fitted.mixtures.end()) continue;
      if (name == "mix-hidden" && ((!fitted.maps.empty() && !hidden) || (!fitted.approach.empty() && !approach))) {
        continue;
      }
    }
    names.emplace_back(name);
  }
  return names;
}

bool takes_budget(std::string_view name) { return name == "token"; }

PredictionReport evaluate_prediction(const Trace& trace, const Profile& profile, const PredictionRequest& request,
                                     const std::function<void(double done)>& progress) {
  profile.require_model(trace.info);
  check_request(request, trace, profile);
  const std::vector<std::uint64_t> fingerprints = routing::example_fingerprints(trace);
  std::vector<StepRange> ranges = routing::examples_of(trace.decoder);
  PredictionReport report;
  report.overlapping = profile.overlap(fingerprints);
  if (report.overlapping > 0) {
    if (!request.skip_overlapping) {
      throw UsageError(
          fmt::format("{} of the trace's {} examples were counted in the profile: accuracy on them says "
                      "nothing; trace other examples, or leave these out with --skip-overlapping",
                      report.overlapping, ranges.size()));
    }
    std::vector<StepRange> kept;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      if (!profile.contains(fingerprints[i])) kept.push_back(ranges[i]);
    }
    ranges = std::move(kept);
    if (ranges.empty()) throw UsageError("every example of the trace is in the profile: none is left to predict");
  }
  report.examples = ranges.size();
  for (const StepRange& range : ranges) report.steps += range.end - range.first;

  const std::vector<std::uint16_t> times =
      ranges.empty() ? std::vector<std::uint16_t>() : draw_examples(ranges.size(), request.bootstrap);
  const std::vector<Job> jobs = jobs_of(request, trace, profile, report.beyond);
  if (jobs.empty()) {
    const BeyondReach& first = report.beyond.front();
    throw UsageError(fmt::format("depth {}: {} tells layers up to {} ahead apart, with this profile of {} layers",
                                 first.depth, first.predictor, first.farthest, profile.layers()));
  }
  for (std::size_t number = 0; number < jobs.size(); ++number) {
    const Job& job = jobs[number];
    const std::unique_ptr<Predictor> predictor = routing::make_predictor(job.name, job.options, profile);
    const std::vector<PredictionTally> tallies = tally_predictions(trace, ranges, *predictor, job.depths);
    for (std::size_t i = 0; i < job.depths.size(); ++i) {
      append_results(job, *predictor, job.depths[i], tallies[i], times, request.bootstrap, report);
    }
    if (progress) progress(static_cast<double>(number + 1) / static_cast<double>(jobs.size()));
  }
  return report;
}

std::vector<StorageRow> equal_storage(const PredictionReport& report, const std::vector<std::size_t>& bytes,
                                      const std::vector<std::uint32_t>& ranks) {
  std::vector<StorageRow> rows;
  for (const std::uint32_t k : ranks) {
    for (const std::size_t limit : bytes) {
      StorageRow row;
      row.bytes = limit;
      row.k = k;
      const auto better = [](const PredictionResult* held, const PredictionResult& candidate) {
        return held == nullptr || candidate.correct > held->correct;
      };
      for (const PredictionResult& result : report.results) {
        const std::size_t needed = std::min(result.cost.device_bytes, result.cost.seen_bytes);
        if (result.k != k || result.depth != 1 || needed > limit || !routing::is_causal(result.predictor)) continue;
        if (result.predictor == "cepr" && better(row.cepr, result)) row.cepr = &result;
        if (result.predictor == "incremental" && better(row.incremental, result)) row.incremental = &result;
        if (!result.needs_states && better(row.table, result)) row.table = &result;
        if (better(row.best, result)) row.best = &result;
      }
      rows.push_back(row);
    }
  }
  return rows;
}

Json to_json(const PredictionReport& report) {
  Json results = Json::array();
  for (const PredictionResult& result : report.results) {
    Json per_layer = Json::array();
    for (std::size_t layer = 0; layer < result.layer_correct.size(); ++layer) {
      const auto positions = static_cast<double>(std::max<std::uint64_t>(result.layer_positions[layer], 1));
      per_layer.push_back(static_cast<double>(result.layer_correct[layer]) / positions);
    }
    Json entry = {{"predictor", result.predictor},
                  {"m", result.m},
                  {"k", result.k},
                  {"depth", result.depth},
                  {"positions", result.positions},
                  {"correct", result.correct},
                  {"accuracy", result.accuracy.mean},
                  {"interval", {result.accuracy.low, result.accuracy.high}},
                  {"per_layer", std::move(per_layer)},
                  {"per_layer_positions", result.layer_positions},
                  {"per_layer_correct", result.layer_correct},
                  {"index_bytes", result.cost.device_bytes},
                  {"seen_bytes", result.cost.seen_bytes},
                  {"operations", result.cost.operations}};
    if (result.has_probabilities) {
      entry["promised"] = result.promised;
      entry["log_loss"] = result.log_loss;
    }
    if (result.budget > 0) entry["budget_bytes"] = result.budget;
    results.push_back(std::move(entry));
  }
  Json beyond = Json::array();
  for (const BeyondReach& out : report.beyond) {
    beyond.push_back({{"predictor", out.predictor}, {"depth", out.depth}, {"farthest", out.farthest}});
  }
  return {{"results", std::move(results)},
          {"beyond_reach", std::move(beyond)},
          {"examples", report.examples},
          {"overlapping_examples_left_out", report.overlapping},
          {"steps", report.steps}};
}

}  // namespace flame::eval
