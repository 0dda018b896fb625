#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/io/mapping_faults.h"
#include "flame/options.h"

namespace {

/// What CLI11 says, but a word where a command belongs is named instead of missed.
std::string describe_failure(const CLI::App* app, const CLI::Error& error) {
  const std::string said = "flame: " + CLI::FailureMessage::simple(app, error);
  const std::vector<std::string> left = app->remaining(true);
  if (dynamic_cast<const CLI::RequiredError*>(&error) == nullptr || left.empty() || left.front().starts_with('-')) {
    return said;
  }
  const std::string message = error.what();
  if (message.find("subcommand") == std::string::npos) return said;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  std::string there_are;
  for (const CLI::App* const command : app->get_subcommands([](const CLI::App*) { return true; })) {
    there_are += (there_are.empty() ? "" : ", ") + command->get_name();
  }
  return "flame: there is no command \"" + left.front() + "\"; there are " + there_are +
         "\nRun with --help for more information.\n";
}

/// CLI11's help, version or complaint, and the exit code: 0, 1 for a standard output that cannot be written, or 2 for
/// wrong usage.
int finish_parsing(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream said;
  const int status = app.exit(error, said, std::cerr);
  try {
    flame::cli::print(said.str());
  } catch (const flame::FileError& failure) {
    flame::cli::complain(failure.what());
    return failure.exit_code();
  }
  return status == 0 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"FLAME runs Mixture-of-Experts transformers on machines whose fast memory cannot hold the experts."};
  app.set_version_flag("--version", "flame " FLAME_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.fallthrough();
  app.add_flag_callback(
      "-q,--quiet", [] { flame::cli::set_quiet(true); }, "No warnings, notes and progress");
  flame::cli::add_bench_command(app);
  flame::cli::add_compile_command(app);
  flame::cli::add_eval_command(app);
  flame::cli::add_generate_command(app);
  flame::cli::add_inspect_command(app);
  flame::cli::add_pack_command(app);
  flame::cli::add_profile_command(app);
  flame::cli::add_prune_command(app);
  flame::cli::add_report_command(app);
  flame::cli::add_synth_command(app);
  flame::cli::add_trace_command(app);
  flame::cli::add_verify_command(app);
  flame::cli::refuse_uncountable(app);
  app.failure_message(describe_failure);
  flame::install_interrupt_handlers();
  flame::io::install_mapping_fault_handler();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return finish_parsing(app, error);
  } catch (const flame::Error& error) {
    std::fflush(stdout);
    flame::cli::complain(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fflush(stdout);
    flame::cli::complain(std::string("internal error: ") + error.what());
    return 1;
  }
  return 0;
}
