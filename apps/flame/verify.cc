#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/experts/bundle.h"

namespace flame::cli {

void add_verify_command(CLI::App& app) {
  struct Options {
    std::string bundle;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("verify", "Checks every byte of a bundle");
  command->footer("Example:\n  flame verify bundle");
  command->add_option("BUNDLE", options->bundle, "Directory that flame pack or flame compile wrote")->required();
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options] {
    if (!experts::Bundle::is_bundle(options->bundle)) {
      throw FileError(options->bundle, "is not a bundle (it has no flame.json)");
    }
    const std::uint64_t bytes = experts::verify_bundle(options->bundle);
    const experts::Bundle bundle = experts::Bundle::open(options->bundle);
    if (options->json) {
      print(to_text(Json{{"bundle", options->bundle},
                         {"whole", true},
                         {"bytes", bytes},
                         {"experts", bundle.grid().size()},
                         {"packing", bundle.describe()},
                         {"expert_bytes", bundle.slot_bytes()},
                         {"profile", bundle.has_profile()}}) +
            "\n");
    } else {
      print(fmt::format("{}: whole; {} in {} ({}){}\n", options->bundle, format_byte_size(bytes),
                        experts::describe_experts(bundle.grid().size(), bundle.slot_bytes(), bundle.packed_bytes()),
                        bundle.describe(), bundle.has_profile() ? ", with a profile" : ", without a profile"));
    }
  });
}

}  // namespace flame::cli
