#include "flame/report/items.h"

#include <fmt/format.h>

namespace flame::report {
namespace {

Measurement trace_measurement(const Subject& subject, const std::string& name, std::size_t skip, std::size_t limit) {
  Measurement measurement{.name = name,
                          .arguments = {"trace", subject.model.string(), "--input", subject.data.string(), "--field",
                                        subject.field, "--skip", std::to_string(skip), "--limit",
                                        std::to_string(skip + limit), "--beams", "1", "-o", "{output}"}};
  if (!subject.task.empty()) measurement.arguments.insert(measurement.arguments.end(), {"--task", subject.task});
  return measurement;
}

}  // namespace

const std::vector<ItemMaker>& item_makers() {
  static const std::vector<ItemMaker> makers = {
      {"fig4a", "Figure 4(a): the experts' share of the parameters", expert_share},
      {"fig4b", "Figure 4(b): three ways to prune half of the experts' weights", pruning_strategies},
      {"fig5a", "Figure 5(a): how often each expert activation path is taken", path_frequencies},
      {"fig5b", "Figure 5(b): paths by the number of tokens that take them", path_histogram},
      {"fig6a", "Figure 6(a): one layer's expert given another's", conditional_map},
      {"fig6b", "Figure 6(b): the ten hottest paths", hottest_paths},
      {"fig7", "Figure 7: accuracy against sparsity", pruning_sweep},
      {"fig8a", "Figure 8(a): accuracy of prediction by MoE layer", accuracy_by_layer},
      {"fig9a", "Figure 9(a): index storage against m", index_storage},
      {"bytes", "Past the paper: accuracy of every predictor against its bytes", accuracy_against_bytes}};
  return makers;
}

std::filesystem::path test_trace(const Subject& subject, Measurements& measurements) {
  return measurements.file(trace_measurement(subject, "test.trace", 0, subject.test_examples));
}

std::filesystem::path profile_trace(const Subject& subject, Measurements& measurements) {
  return measurements.file(
      trace_measurement(subject, "profile.trace", subject.test_examples, subject.profile_examples));
}

std::filesystem::path profile(const Subject& subject, Measurements& measurements) {
  const std::filesystem::path trace = profile_trace(subject, measurements);
  return measurements.file(
      {.name = "routing.profile", .arguments = {"profile", trace.string(), "-o", "{output}", "--fit"}});
}

void note_source(Item& item, const Measurements& measurements, const Measurement& measurement) {
  item.commands.push_back(command_line(measurement.arguments));
  item.data_files.push_back((measurements.directory().filename() / (measurement.name + ".json")).string());
}

std::string percent(double share) { return fmt::format("{:.2f} %", 100.0 * share); }

}  // namespace flame::report
