#include "flame/report/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "flame/commands.h"
#include "flame/console.h"

namespace flame::cli {

void add_report_command(CLI::App& app) {
  const auto options = std::make_shared<report::ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "The paper's figures and tables, on this model, as a page");
  command->footer(
      "Example:\n"
      "  flame report models/switch-dialogsum-8 --task summarization --data test.jsonl --field dialogue \\\n"
      "      --reference summaries -o report --quick\n"
      "An interrupted report goes on where it stopped. --from draws again what has been measured.");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint")->required();
  command->add_option("--data", options->data, "JSON-lines file of examples with references")->required();
  command->add_option("--field", options->field, "Key of the input text")->required();
  command->add_option("--reference", options->reference, "Key of the reference, a text or an array")->required();
  command->add_option("--task", options->task, "A task of the model's config, for example summarization");
  command->add_option("-o,--output", options->output, "Directory of the page")->required();
  command->add_flag("--quick", options->quick, "Few examples: a page in minutes");
  command->add_option("--only", options->only, "Only these items, for example fig4a,fig8a")->delimiter(',');
  command->add_flag("--from", options->only_stored, "Measure nothing: draw what DIR/data holds");
  command->callback([options] {
    options->program = std::filesystem::canonical("/proc/self/exe");
    report::ReportCallbacks callbacks;
    callbacks.on_command = [](std::size_t item, std::size_t items, const std::string& line) {
      note(fmt::format("[{}/{}] {}", item, items, line));
    };
    callbacks.on_absent = [](const std::string& id, const std::string& why) {
      warn(fmt::format("{} is left out: {}", id, why));
    };
    print(report::make_report(*options, callbacks).string() + "\n");
  });
}

}  // namespace flame::cli
