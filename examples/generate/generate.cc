// Loads a model and continues a prompt: the least that an application needs of libflame.
// usage: generate MODEL PROMPT

#include <flame/base/error.h>
#include <flame/engine/engine.h>
#include <flame/engine/text_generation.h>

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }
  try {
    flame::engine::Engine engine = flame::engine::Engine::open(argv[1]);
    flame::engine::TextGenerationOptions options;
    options.generation = engine.generation_defaults(std::nullopt).options;

    std::optional<flame::engine::Prompt> prompt = flame::engine::Prompt{0, argv[2], {}};
    const auto prompts = [&] { return std::exchange(prompt, std::nullopt); };
    flame::engine::TextGenerationCallbacks callbacks;
    callbacks.on_output = [](const flame::engine::TextOutput& output) { std::puts(output.texts.front().c_str()); };
    flame::engine::generate_texts(engine, prompts, options, callbacks);
  } catch (const flame::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
  return 0;
}
