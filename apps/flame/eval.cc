#include <CLI/CLI.hpp>

#include "flame/commands.h"

namespace flame::cli {

void add_eval_command(CLI::App& app) {
  CLI::App* eval = app.add_subcommand("eval", "Measures text, pruning, prediction, buffering");
  eval->require_subcommand(1);
  add_eval_rouge_command(*eval);
  add_eval_pruning_command(*eval);
  add_eval_prediction_command(*eval);
  add_eval_buffer_command(*eval);
}

}  // namespace flame::cli
