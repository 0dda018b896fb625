// flame_tokenize MODEL: reads JSON lines {"text"} from standard input and writes {"ids", "decoded", "without_special"}
// for each. For tools/check_tokenizer.py, which compares them with transformers.

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/io/json_lines.h"
#include "flame/text/tokenizer.h"

int main(int argc, char** argv) try {
  if (argc != 2) throw flame::UsageError("usage: flame_tokenize MODEL < lines.jsonl");
  const auto tokenizer = flame::text::Tokenizer::open(argv[1]);
  flame::io::JsonLinesReader reader("-", {.strict = true});
  while (const auto text = reader.next_text("text")) {
    const auto ids = tokenizer.encode(*text);
    fmt::print("{}\n", flame::to_text({{"ids", ids},
                                       {"decoded", tokenizer.decode(ids, false)},
                                       {"without_special", tokenizer.decode(ids)}}));
  }
  return 0;
} catch (const flame::Error& error) {
  fmt::print(stderr, "flame_tokenize: {}\n", error.what());
  return error.exit_code();
}
