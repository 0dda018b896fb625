#include "flame/report/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/report/page_json.h"

namespace flame::cli {
namespace {

void check(const report::ReportOptions& options, const CLI::App& command) {
  if (!options.from.empty()) {
    for (const char* flag : {"MODEL", "--also", "--data", "--field", "--reference", "--task", "--expert-memory",
                             "--storage-bandwidth", "--quick"}) {
      if (command.count(flag) > 0) {
        throw UsageError(fmt::format("{} has no effect with --from: what was measured is in its directory", flag));
      }
    }
    return;
  }
  for (const auto& [flag, missing] :
       {std::pair{"MODEL", options.model.empty()}, std::pair{"--data", options.data.empty()},
        std::pair{"--field", options.field.empty()}, std::pair{"--reference", options.reference.empty()}}) {
    if (missing) throw UsageError(fmt::format("{} is required (or --from, to draw what has been measured)", flag));
  }
}

/// "[7/17] fig8a, 1 min 20 s left".
std::string status_text(const report::ReportProgress& progress) {
  std::string text = fmt::format("[{}/{}] {}", progress.item, progress.items, progress.id);
  if (progress.seconds_left) {
    const auto seconds = static_cast<long>(*progress.seconds_left + 0.5);
    text += seconds < 60 ? fmt::format(", {} s left", seconds)
                         : fmt::format(", {} min {} s left", seconds / 60, seconds % 60);
  }
  return text;
}

}  // namespace

void add_report_command(CLI::App& app) {
  const auto options = std::make_shared<report::ReportOptions>();
  const auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("report", "The paper's figures and tables, on this model, as a page");
  command->footer(
      "Examples:\n"
      "  flame report models/switch-dialogsum-8 --task summarization --data test.jsonl --field dialogue \\\n"
      "      --reference summaries -o report --quick\n"
      "  flame report --from report/data -o elsewhere\n"
      "An interrupted report goes on where it stopped: run the same command again.");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint");
  command->add_option("--also", options->also, "Further checkpoints, for Figure 7");
  command->add_option("--data", options->data, "JSON-lines file of examples with references");
  command->add_option("--field", options->field, "Key of the input text");
  command->add_option("--reference", options->reference, "Key of the reference, a text or an array");
  command->add_option("--task", options->task, "A task of the model's config, for example summarization");
  command->add_option("-o,--output", options->output, "Directory of the page")->required();
  command
      ->add_option("--expert-memory", options->expert_memory,
                   "The budget: a share of the packed 2:4 int8 experts, or a size such as 16MiB")
      ->capture_default_str();
  command
      ->add_option("--storage-bandwidth", options->storage_bandwidth,
                   "Of the storage that figures with a single one are for")
      ->capture_default_str();
  command->add_flag("--quick", options->quick, "Few examples and repeats: a page in minutes");
  command
      ->add_option(
          "--only", options->only,
          "Measure only these items, for example fig8b,table1; the page keeps those that an earlier run with the "
          "same options has measured")
      ->delimiter(',');
  command->add_option("--from", options->from, "Measure nothing: draw what this data directory holds");
  command->add_flag("--json", *json, "What stands on the page, as a JSON object on standard output");
  command->callback([options, command, json] {
    check(*options, *command);
    options->program = std::filesystem::canonical("/proc/self/exe");
    options->version = FLAME_VERSION;
    report::ReportCallbacks callbacks;
    callbacks.on_command = [](const report::ReportProgress& progress) {
      show_status("");
      note(status_text(progress) + ": " + progress.command);
    };
    callbacks.on_tick = [](const report::ReportProgress& progress) { show_status(status_text(progress)); };
    callbacks.on_absent = [](const std::string& id, const std::string& why) {
      show_status("");
      warn(fmt::format("{} is left out: {}", id, why));
    };
    callbacks.on_other_build = [](const std::string& which) {
      show_status("");
      warn(which);
    };
    const report::ReportResult result = report::make_report(*options, callbacks);
    show_status("");
    if (*json) {
      Json content = report::to_json(result.content);
      content["page"] = result.page.string();
      content["failed_items"] = result.failed_items;
      print(to_text(content) + "\n");
    } else {
      print(result.page.string() + "\n");
    }
    if (result.failed_items > 0) {
      throw DeviceError(fmt::format("{} of the items failed: the page says why", result.failed_items));
    }
  });
}

}  // namespace flame::cli
