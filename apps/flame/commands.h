#pragma once

namespace CLI {
class App;
}

namespace flame::cli {

// One function a subcommand, each in the file of its name: adds the subcommand with its options to `app`; its callback
// runs the job and throws flame::Error when that fails.

void add_bench_command(CLI::App& app);
void add_compile_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_pack_command(CLI::App& app);
void add_profile_command(CLI::App& app);
void add_prune_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_synth_command(CLI::App& app);
void add_trace_command(CLI::App& app);
void add_verify_command(CLI::App& app);

// The subcommands of `flame eval`.
void add_eval_buffer_command(CLI::App& eval);
void add_eval_prediction_command(CLI::App& eval);
void add_eval_pruning_command(CLI::App& eval);
void add_eval_rouge_command(CLI::App& eval);

}  // namespace flame::cli
