#include "support/tiny_checkpoint.h"

#include "flame/model/config.h"
#include "flame/model/synth.h"
#include "support/test_data.h"

namespace flame::test {

const std::filesystem::path& tiny_checkpoint() {
  static const TemporaryDirectory directory;
  static const std::filesystem::path model = [] {
    std::filesystem::path path = directory / "tiny";
    model::SynthOptions options;
    options.tokenizer = data_path("text/t5/spiece.model");
    model::synthesise(model::load_config(data_path("cli/tiny.json")), path, options);
    return path;
  }();
  return model;
}

}  // namespace flame::test
