#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flame/report/chart.h"
#include "flame/report/items.h"

namespace flame::report {
namespace {

std::string name_of(const std::string& pattern, const std::string& dtype) {
  std::string name = pattern + "-" + dtype;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

}  // namespace

Measurement pack_measurement(const Subject& subject, Measurements& measurements, const std::string& pattern,
                             const std::string& dtype) {
  return {.name = "bundle-" + name_of(pattern, dtype),
          .arguments = {"pack", subject.model.string(), "--pattern", pattern, "--dtype", dtype, "--profile",
                        profile(subject, measurements).string(), "-o", "{output}"}};
}

Measurement dtype_measurement(const Subject& subject, Measurements& measurements, const std::string& pattern,
                              const std::string& dtype) {
  const std::string name = name_of(pattern, dtype);
  const std::filesystem::path bundle = measurements.file(pack_measurement(subject, measurements, pattern, dtype));
  Measurement measurement{
      .name = "dtype-" + name,
      .arguments = {"eval", "rouge", bundle.string(), "--input", subject.data.string(), "--field", subject.field,
                    "--reference", subject.reference, "--limit", std::to_string(subject.test_examples), "--beams", "1",
                    "-o",
                    (measurements.directory() / fmt::format("texts-{}-{}.jsonl", name, subject.test_examples)).string(),
                    "--resume", "--json"}};
  if (!subject.task.empty()) measurement.arguments.insert(measurement.arguments.end(), {"--task", subject.task});
  return measurement;
}

Item accuracy_by_dtype(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement model = inspection(subject);
  const Json inspected = measurements.json(model);
  note_source(item, measurements, model);
  const std::vector<std::string> dtypes = {"bf16", "int8", "int4"};
  LineChart chart{.x_label = "bytes of one expert",
                  .y_label = "ROUGE-1",
                  .logarithmic_x = true,
                  .mark_names = dtypes,
                  .series = {}};
  Table table{.header = {"experts", "bytes of one", "slots in the budget", "ROUGE-1", "ROUGE-2", "ROUGE-L"},
              .rows = {}};
  double reference = 0.0;
  double reference_low = 0.0;
  std::uint64_t smallest = 0;
  std::string smallest_name;
  for (const std::string pattern : {"dense", "2:4", "1:4"}) {
    Series series{.label = pattern};
    for (const std::string& dtype : dtypes) {
      const Measurement measurement = dtype_measurement(subject, measurements, pattern, dtype);
      const Json scored = measurements.json(measurement);
      note_source(item, measurements, measurement);
      const Json& rouge = scored.at("rouge");
      const Json& f = rouge.at("rouge1").at("f");
      const std::uint64_t bytes = expert_bytes(inspected, pattern, dtype);
      const double mean = f.at("mean").get<double>();
      if (reference == 0.0) {
        reference = mean;
        reference_low = f.at("low").get<double>();
      }
      if (mean >= reference_low && (smallest == 0 || bytes < smallest)) {
        smallest = bytes;
        smallest_name = pattern + " " + dtype;
      }
      series.points.push_back({static_cast<double>(bytes), 100.0 * mean, 100.0 * f.at("low").get<double>(),
                               100.0 * f.at("high").get<double>()});
      const auto score = [&](const char* name) {
        return fmt::format("{:.2f}", 100.0 * rouge.at(name).at("f").at("mean").get<double>());
      };
      table.rows.push_back({pattern + " " + dtype, std::to_string(bytes),
                            std::to_string(slots_in_budget(subject, inspected, bytes)), score("rouge1"),
                            score("rouge2"), score("rougeL")});
    }
    series.marks = {0, 1, 2};  // in the order of `dtypes`, from the largest to the smallest
    chart.series.push_back(series);
  }
  item.figures.push_back(draw(chart, "dtypes"));
  item.sentences = {
      "An expert shrinks by leaving weights out and by storing the rest in fewer bits; a line is one pattern, pruned "
      "by "
      "magnitude, a mark one type. Bars are 95 % intervals over the examples; the axis does not begin at zero.",
      fmt::format("The smallest expert whose ROUGE-1 is not below the interval of dense bf16 is {} with {} bytes.",
                  smallest_name, smallest)};
  item.tables = {table};
  return item;
}

}  // namespace flame::report
