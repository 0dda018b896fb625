#include "fuzz/targets.h"

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/duration.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/experts/bundle_json.h"
#include "flame/io/checkpoint.h"
#include "flame/io/json_lines.h"
#include "flame/io/memory_file_system.h"
#include "flame/io/pickle_reader.h"
#include "flame/io/pytorch_checkpoint.h"
#include "flame/io/safetensors.h"
#include "flame/io/safetensors_writer.h"
#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"
#include "flame/sparsity/pattern.h"
#include "flame/text/tokenizer.h"

namespace flame::fuzz {
namespace {

std::string text_of(std::span<const std::byte> input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

/// A property that must hold whatever the input.
void demand(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

/// Every tensor must lie within the input, and be as long as its shape says.
void check_tensors(const io::TensorFile& file, std::size_t input_bytes) {
  for (const std::string& name : file.names()) {
    const io::TensorView& tensor = file.tensor(name);
    std::uint64_t bytes = 0;
    demand(io::tensor_bytes(tensor.type, tensor.shape, bytes), "a tensor's size overflows");
    demand(bytes == tensor.bytes.size() && bytes <= input_bytes, "a tensor's bytes are not those of its shape");
    unsigned sum = 0;
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);  // touches every byte
    static_cast<void>(sum);
  }
}

void safetensors(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/f", input);
  check_tensors(io::SafetensorsFile("/f", files), input.size());
}

void pickle(std::span<const std::byte> input) { static_cast<void>(io::read_tensor_pickle(input, "data.pkl")); }

void pytorch(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/f.bin", input);
  check_tensors(io::PytorchCheckpoint("/f.bin", files), input.size());
}

void config(std::span<const std::byte> input) { static_cast<void>(model::parse_config(text_of(input), "config.json")); }

void json_lines(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/f", input);
  io::JsonLinesReader reader("/f", {.maximum_line_bytes = 4096}, files);
  std::uint64_t last = 0;
  while (const auto text = reader.next_text("text")) {
    demand(reader.line() > last, "line numbers do not rise");
    last = reader.line();
  }
  const io::FinishedLines finished = io::scan_finished_lines("/f", files);
  demand(finished.bytes <= input.size(), "more finished bytes than there are");
  io::JsonLinesWriter writer = io::JsonLinesWriter::resume("/f", finished, files);
  writer.append(Json{{"text", text_of(input)}});
  writer.close();
  demand(io::scan_finished_lines("/f", files).lines == finished.lines + 1, "a resumed output is not whole");
}

void tokenizer(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/tokenizer.json", input);
  const text::Tokenizer tokenizer = text::Tokenizer::open("/", files);
  for (const char* sample : {"", "the cat sat.", "  <extra_id_0>x\t\xc3\xa9\xf0\x9f\x98\x80 "}) {
    const auto ids = tokenizer.encode(sample);
    static_cast<void>(tokenizer.decode(ids, false));
  }
}

/// A profile that was read is written as it was, and every table can be made from it.
void profile(std::span<const std::byte> input) {
  const routing::Profile read = routing::Profile::parse(text_of(input), "profile.json");
  const std::string text = read.to_json();
  demand(routing::Profile::parse(text, "again.json").to_json() == text, "a profile is not read as it was written");
}

/// A trace that was read has columns of one length, and is counted without complaint.
void trace(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/f", input);
  const routing::Trace read = routing::read_trace("/f", {.hidden = true, .approach = true}, files);
  for (const routing::StackTrace* stack : {&read.encoder, &read.decoder}) {
    demand(stack->example.size() == stack->steps(), "steps without an example");
    demand(stack->experts.size() == stack->steps() * stack->layers, "steps without an expert");
    for (const std::uint16_t expert : stack->experts) demand(expert < read.info.experts, "an expert out of range");
  }
  demand(read.decoder.hidden.empty() || read.decoder.hidden.size() == read.decoder.experts.size() * read.info.d_model,
         "hidden states of another shape");
  if (read.info.experts > 256 || read.info.decoder_layers > 16) return;  // the pairs of more take long to clear
  routing::Profile counted(read.info, routing::fitting_options({.max_order = 2, .max_depth = 1}, read.info.experts));
  counted.add(read);
  demand(counted.steps() == read.decoder.steps(), "steps that were not counted");
}

constexpr const char* kSmallConfig =
    R"({"model_type": "switch_transformers", "vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2,
        "num_layers": 2, "num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1,
        "encoder_sparse_step": 2, "decoder_sparse_step": 2, "num_experts": 2, "decoder_start_token_id": 0})";

void bundle(std::span<const std::byte> input) {
  const experts::ExpertGrid grid = experts::grid_of(model::parse_config(kSmallConfig, "config.json"));
  const experts::BundleManifest manifest = experts::parse_manifest(text_of(input), "flame.json", grid);
  demand(manifest.formats.size() == grid.layers() && manifest.names.size() == grid.size() &&
             manifest.checksums.size() == grid.size(),
         "a manifest of another grid");
}

void index(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  {
    const auto file = files.create("/m/a.safetensors");
    io::SafetensorsWriter writer(*file, {});
    writer.declare("a", DataType::kF32, {2});
    writer.begin();
    const std::array<float, 2> values{1.0F, 2.0F};
    writer.append("a", std::as_bytes(std::span(values)));
    writer.finish();
    file->close();
  }
  files.put("/m/model.safetensors.index.json", input);
  const io::Checkpoint checkpoint = io::Checkpoint::open("/m", files);
  for (const std::string& name : checkpoint.names()) {
    demand(checkpoint.tensor(name).bytes.size() == 8, "a tensor that no shard holds");
  }
}

void generation_config(std::span<const std::byte> input) {
  io::MemoryFileSystem files;
  files.put("/m/config.json", std::as_bytes(std::span(std::string_view(kSmallConfig))));
  files.put("/m/generation_config.json", input);
  const model::SwitchConfig config = model::parse_config(kSmallConfig, "config.json");
  const model::GenerationDefaults defaults = model::load_generation_defaults("/m", config, std::nullopt, files);
  model::check_options(defaults.options, config.vocab_size);
  static_cast<void>(model::options_without_effect(defaults.options, config.vocab_size));
}

/// Texts of the command line.
void values(std::span<const std::byte> input) {
  const std::string text = text_of(input);
  const auto attempt = [](auto&& parse) {
    try {
      parse();
    } catch (const UsageError&) {  // refused
    }
  };
  attempt([&] { static_cast<void>(parse_byte_size(text)); });
  attempt([&] { demand(parse_duration(text) >= 0.0, "a negative time"); });
  attempt([&] {
    const sparsity::Pattern pattern = sparsity::parse_pattern(text);
    demand(pattern.n >= 1 && pattern.n <= pattern.m && pattern.m <= 16, "a pattern out of range");
  });
  attempt([&] {
    const sparsity::LayerPatterns patterns = sparsity::LayerPatterns::parse(text);
    demand(sparsity::LayerPatterns::parse(patterns.to_string()) == patterns, "a list that reads back as another");
  });
}

/// Lets pass what a target may throw.
template <void (*Run)(std::span<const std::byte>)>
void refusing(std::span<const std::byte> input) {
  try {
    Run(input);
  } catch (const Error&) {  // the input was refused with a message: as it should be
  }
}

constexpr std::array<Target, 12> kTargets = {{{"safetensors", refusing<safetensors>},
                                              {"pickle", refusing<pickle>},
                                              {"pytorch", refusing<pytorch>},
                                              {"config", refusing<config>},
                                              {"json_lines", refusing<json_lines>},
                                              {"tokenizer", refusing<tokenizer>},
                                              {"profile", refusing<profile>},
                                              {"trace", refusing<trace>},
                                              {"bundle", refusing<bundle>},
                                              {"index", refusing<index>},
                                              {"generation_config", refusing<generation_config>},
                                              {"values", refusing<values>}}};

}  // namespace

std::span<const Target> targets() { return kTargets; }

}  // namespace flame::fuzz
