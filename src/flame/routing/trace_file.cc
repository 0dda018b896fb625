// Reading and writing trace files; docs/routing.md gives the format.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <memory>

#include "flame/base/error.h"
#include "flame/io/atomic_output.h"
#include "flame/io/safetensors.h"
#include "flame/io/safetensors_writer.h"
#include "flame/routing/trace.h"

namespace flame::routing {
namespace {

using io::SafetensorsFile;
using io::TensorView;
using Metadata = std::map<std::string, std::string>;

constexpr std::string_view kVersion = "1";
constexpr std::uint32_t kMaximumExperts = 65535;

DataType expert_type(std::uint32_t experts) { return experts <= 256 ? DataType::kU8 : DataType::kU16; }

Metadata metadata_of(const TraceInfo& info) {
  return {{"format", "flame-trace"},
          {"version", std::string(kVersion)},
          {"model", info.model},
          {"checksum", info.checksum},
          {"data", info.data},
          {"decoding", info.decoding},
          {"experts", std::to_string(info.experts)},
          {"d_model", std::to_string(info.d_model)},
          {"vocabulary", std::to_string(info.vocabulary)}};
}

std::string text_of(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string() : found->second;
}

/// A number of the metadata; 0 where it is not given, as in a trace that another tool wrote.
std::uint32_t number_of(const SafetensorsFile& file, const std::string& key, std::uint32_t maximum) {
  const std::string text = text_of(file.metadata(), key);
  std::uint32_t value = 0;
  if (text.empty()) return value;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > maximum) {
    throw FormatError(file.path(), fmt::format("metadata \"{}\": expected a whole number up to {}, found \"{}\"", key,
                                               maximum, text));
  }
  return value;
}

/// The tensors of one stack, their shapes and types checked, their values not yet.
struct StackLayout {
  std::uint64_t steps = 0;
  std::uint64_t layers = 0;
  const TensorView* experts = nullptr;
  const TensorView* probability = nullptr;
  const TensorView* token = nullptr;
  const TensorView* example = nullptr;
  const TensorView* dropped = nullptr;
  const TensorView* hidden = nullptr;
  const TensorView* approach = nullptr;
};

/// The tensor, which must have that shape and one of the types; null when it is absent and not required.
const TensorView* checked(const SafetensorsFile& file, const std::string& name, std::vector<DataType> types,
                          const std::vector<std::uint64_t>& shape, bool required) {
  const TensorView* tensor = file.find(name);
  if (tensor == nullptr) {
    if (required) throw FormatError(file.path(), fmt::format("tensor {} is missing: not a trace", name));
    return nullptr;
  }
  if (std::find(types.begin(), types.end(), tensor->type) == types.end() || tensor->shape != shape) {
    throw FormatError(file.path(), fmt::format("tensor {}: expected {}, found {}", name,
                                               io::describe(types.front(), shape), io::describe(*tensor)));
  }
  return tensor;
}

StackLayout layout_of(const SafetensorsFile& file, const TraceInfo& info, const std::string& stack) {
  StackLayout layout;
  const bool decoder = stack == "decoder";
  const TensorView* experts = file.find(stack + ".experts");
  if (experts == nullptr && !decoder) return layout;
  if (experts == nullptr) throw FormatError(file.path(), "tensor decoder.experts is missing: not a trace");
  if (experts->shape.size() != 2 || experts->shape[1] == 0 || experts->shape[1] > 4096) {
    throw FormatError(file.path(), fmt::format("tensor {}.experts: expected the shape [steps, layers], found {}", stack,
                                               io::describe(*experts)));
  }
  layout.steps = experts->shape[0];
  layout.layers = experts->shape[1];
  const std::uint64_t steps = layout.steps;
  const std::uint64_t layers = layout.layers;
  layout.experts = checked(file, stack + ".experts", {DataType::kU8, DataType::kU16}, {steps, layers}, true);
  layout.probability = checked(file, stack + ".prob", {DataType::kF16}, {steps, layers}, true);
  layout.token = checked(file, stack + ".token", {DataType::kI32}, {steps}, true);
  layout.example = checked(file, stack + ".example", {DataType::kI32}, {steps}, true);
  layout.dropped = checked(file, stack + ".dropped", {DataType::kU8, DataType::kBool}, {steps, layers}, !decoder);
  if (decoder) {
    layout.hidden = checked(file, "decoder.hidden", {DataType::kBF16}, {steps, layers, info.d_model}, false);
    layout.approach = checked(file, "decoder.approach", {DataType::kBF16}, {steps, layers, info.d_model}, false);
  }
  return layout;
}

/// Metadata and shapes of a file, checked.
struct TraceLayout {
  TraceInfo info;
  StackLayout encoder;
  StackLayout decoder;
};

TraceLayout layout_of(const SafetensorsFile& file) {
  const Metadata& metadata = file.metadata();
  const std::string version = text_of(metadata, "version");
  if (!version.empty() && version != kVersion) {
    throw FormatError(file.path(),
                      fmt::format("trace version \"{}\" is not {}: trace the model again", version, kVersion));
  }
  TraceLayout layout;
  layout.info.model = text_of(metadata, "model");
  layout.info.checksum = text_of(metadata, "checksum");
  layout.info.data = text_of(metadata, "data");
  layout.info.decoding = text_of(metadata, "decoding");
  layout.info.experts = number_of(file, "experts", kMaximumExperts);
  layout.info.d_model = number_of(file, "d_model", 1U << 20);
  layout.info.vocabulary = number_of(file, "vocabulary", 1U << 30);
  layout.encoder = layout_of(file, layout.info, "encoder");
  layout.decoder = layout_of(file, layout.info, "decoder");
  layout.info.encoder_layers = static_cast<std::uint32_t>(layout.encoder.layers);
  layout.info.decoder_layers = static_cast<std::uint32_t>(layout.decoder.layers);
  return layout;
}

template <typename T>
std::vector<T> values_of(const TensorView* tensor) {
  std::vector<T> values;
  if (tensor == nullptr) return values;
  values.resize(tensor->bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
  return values;
}

std::vector<std::uint16_t> experts_of(const TensorView& tensor) {
  if (tensor.type == DataType::kU16) return values_of<std::uint16_t>(&tensor);
  const auto* first = reinterpret_cast<const std::uint8_t*>(tensor.bytes.data());
  return {first, first + tensor.bytes.size()};
}

/// What a trace whose metadata does not say how many experts there are must at least have.
std::uint32_t experts_seen(const TraceLayout& layout) {
  std::uint32_t seen = 1;
  for (const TensorView* tensor : {layout.encoder.experts, layout.decoder.experts}) {
    if (tensor == nullptr) continue;
    for (const std::uint16_t expert : experts_of(*tensor)) seen = std::max(seen, expert + 1U);
  }
  return seen;
}

void check_values(const SafetensorsFile& file, const TraceInfo& info, const std::string& name,
                  const StackTrace& stack) {
  for (std::size_t i = 0; i < stack.experts.size(); ++i) {
    if (stack.experts[i] >= info.experts) {
      throw FormatError(file.path(), fmt::format("{}.experts: expert {} at step {}, layer {}: the model has {}", name,
                                                 stack.experts[i], i / stack.layers, i % stack.layers, info.experts));
    }
    const float probability = stack.probability[i].to_float();
    if (!(probability >= 0.0F && probability <= 1.0F)) {
      throw FormatError(file.path(), fmt::format("{}.prob: {} at step {}, layer {} is not a probability", name,
                                                 probability, i / stack.layers, i % stack.layers));
    }
  }
  for (std::size_t step = 0; step < stack.steps(); ++step) {
    const std::int32_t token = stack.token[step];
    if (token < 0 || (info.vocabulary > 0 && static_cast<std::uint32_t>(token) >= info.vocabulary)) {
      throw FormatError(file.path(), fmt::format("{}.token: {} at step {} is not in the vocabulary of {}", name, token,
                                                 step, info.vocabulary));
    }
    if (stack.example[step] < (step == 0 ? 0 : stack.example[step - 1])) {
      throw FormatError(file.path(), fmt::format("{}.example: {} at step {}: examples must be numbered from 0 and rise",
                                                 name, stack.example[step], step));
    }
  }
  for (const std::uint8_t dropped : stack.dropped) {
    if (dropped > 1) throw FormatError(file.path(), fmt::format("{}.dropped: {} is neither 0 nor 1", name, dropped));
  }
}

StackTrace read_stack(const SafetensorsFile& file, const TraceInfo& info, const std::string& name,
                      const StackLayout& layout, const TraceReadOptions& options) {
  StackTrace stack;
  if (layout.experts == nullptr) return stack;
  stack.layers = static_cast<std::uint32_t>(layout.layers);
  stack.experts = experts_of(*layout.experts);
  stack.probability = values_of<Float16>(layout.probability);
  stack.token = values_of<std::int32_t>(layout.token);
  stack.example = values_of<std::int32_t>(layout.example);
  stack.dropped = values_of<std::uint8_t>(layout.dropped);
  if (options.hidden) stack.hidden = values_of<BFloat16>(layout.hidden);
  if (options.approach) stack.approach = values_of<BFloat16>(layout.approach);
  check_values(file, info, name, stack);
  return stack;
}

enum class Extent : std::uint8_t { kStep, kLayer, kState };  // [steps], [steps, layers], [steps, layers, d_model]

/// One tensor of the output.
struct Column {
  std::string name;
  DataType type;
  Extent extent;
};

std::vector<Column> columns_of(const TraceInfo& info, bool encoder, bool hidden, bool approach) {
  std::vector<Column> columns;
  const auto add_stack = [&](const std::string& stack) {
    columns.push_back({stack + ".experts", expert_type(info.experts), Extent::kLayer});
    columns.push_back({stack + ".prob", DataType::kF16, Extent::kLayer});
    columns.push_back({stack + ".token", DataType::kI32, Extent::kStep});
    columns.push_back({stack + ".example", DataType::kI32, Extent::kStep});
  };
  add_stack("decoder");
  if (hidden) columns.push_back({"decoder.hidden", DataType::kBF16, Extent::kState});
  if (approach) columns.push_back({"decoder.approach", DataType::kBF16, Extent::kState});
  if (encoder) {
    add_stack("encoder");
    columns.push_back({"encoder.dropped", DataType::kU8, Extent::kLayer});
  }
  return columns;
}

void declare_columns(io::SafetensorsWriter& writer, const std::vector<Column>& columns, const TraceInfo& info,
                     std::uint64_t encoder_steps, std::uint64_t decoder_steps) {
  for (const Column& column : columns) {
    const bool encoder = column.name.starts_with("encoder.");
    std::vector<std::uint64_t> shape = {encoder ? encoder_steps : decoder_steps};
    if (column.extent != Extent::kStep) shape.push_back(encoder ? info.encoder_layers : info.decoder_layers);
    if (column.extent == Extent::kState) shape.push_back(info.d_model);
    writer.declare(column.name, column.type, std::move(shape));
  }
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

void append_column(io::SafetensorsWriter& writer, const Column& column, const Trace& trace) {
  const bool encoder = column.name.starts_with("encoder.");
  const StackTrace& stack = encoder ? trace.encoder : trace.decoder;
  const std::string_view name = std::string_view(column.name).substr(column.name.find('.') + 1);
  if (name == "token") writer.append(column.name, bytes_of(stack.token));
  if (name == "example") writer.append(column.name, bytes_of(stack.example));
  if (name == "prob") writer.append(column.name, bytes_of(stack.probability));
  if (name == "dropped") writer.append(column.name, bytes_of(stack.dropped));
  if (name == "hidden") writer.append(column.name, bytes_of(stack.hidden));
  if (name == "approach") writer.append(column.name, bytes_of(stack.approach));
  if (name != "experts") return;
  if (column.type == DataType::kU16) {
    writer.append(column.name, bytes_of(stack.experts));
  } else {
    writer.append(column.name, bytes_of(std::vector<std::uint8_t>(stack.experts.begin(), stack.experts.end())));
  }
}

}  // namespace

Trace read_trace(const std::filesystem::path& path, const TraceReadOptions& options, io::FileSystem& files) {
  const SafetensorsFile file(path, files);
  const TraceLayout layout = layout_of(file);
  Trace trace;
  trace.info = layout.info;
  if (trace.info.experts == 0) trace.info.experts = experts_seen(layout);
  trace.encoder = read_stack(file, trace.info, "encoder", layout.encoder, options);
  trace.decoder = read_stack(file, trace.info, "decoder", layout.decoder, options);
  if (trace.encoder.steps() > 0) {
    const std::vector<StepRange> encoder = examples_of(trace.encoder);
    const std::vector<StepRange> decoder = examples_of(trace.decoder);
    const auto same = [&](const StepRange& a, const StepRange& b) {
      return trace.encoder.example[a.first] == trace.decoder.example[b.first];
    };
    if (!std::equal(encoder.begin(), encoder.end(), decoder.begin(), decoder.end(), same)) {
      throw FormatError(
          path, fmt::format("the encoder's examples ({}) are not the decoder's ({})", encoder.size(), decoder.size()));
    }
  }
  return trace;
}

void write_trace(const std::filesystem::path& path, const Trace& trace) {
  io::AtomicFile output(path);
  io::SafetensorsWriter writer(output.file(), metadata_of(trace.info));
  const std::vector<Column> columns =
      columns_of(trace.info, trace.encoder.layers > 0, !trace.decoder.hidden.empty(), !trace.decoder.approach.empty());
  declare_columns(writer, columns, trace.info, trace.encoder.steps(), trace.decoder.steps());
  writer.begin();
  for (const Column& column : columns) append_column(writer, column, trace);
  writer.finish();
  output.commit();
}

void join_traces(std::span<const std::filesystem::path> parts, const std::filesystem::path& path) {
  if (parts.empty()) throw UsageError("no trace parts to join");
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  std::vector<TraceLayout> layouts;
  std::uint64_t encoder_steps = 0;
  std::uint64_t decoder_steps = 0;
  for (const std::filesystem::path& part : parts) {
    files.push_back(std::make_unique<SafetensorsFile>(part));
    layouts.push_back(layout_of(*files.back()));
    const TraceLayout& first = layouts.front();
    const TraceLayout& last = layouts.back();
    if (last.info != first.info || (last.decoder.hidden == nullptr) != (first.decoder.hidden == nullptr) ||
        (last.decoder.approach == nullptr) != (first.decoder.approach == nullptr)) {
      throw UsageError(fmt::format("{} and {} are not parts of one trace: model, data or settings differ",
                                   parts.front().string(), part.string()));
    }
    encoder_steps += last.encoder.steps;
    decoder_steps += last.decoder.steps;
  }
  const TraceLayout& first = layouts.front();
  const std::vector<Column> columns = columns_of(first.info, first.encoder.experts != nullptr,
                                                 first.decoder.hidden != nullptr, first.decoder.approach != nullptr);
  io::AtomicFile output(path);
  io::SafetensorsWriter writer(output.file(), metadata_of(first.info));
  declare_columns(writer, columns, first.info, encoder_steps, decoder_steps);
  writer.begin();
  for (const Column& column : columns) {
    std::int32_t offset = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
      const TensorView& tensor = files[i]->tensor(column.name);
      if (!column.name.ends_with(".example")) {
        writer.append(column.name, tensor.bytes);
        files[i]->release(column.name);
        continue;
      }
      std::vector<std::int32_t> examples = values_of<std::int32_t>(&tensor);
      if (examples.empty()) continue;
      if (examples.back() < 0 || examples.back() >= std::numeric_limits<std::int32_t>::max() - offset) {
        throw FormatError(parts[i], fmt::format("{}: {} is out of range", column.name, examples.back()));
      }
      for (std::int32_t& example : examples) example += offset;
      offset = examples.back() + 1;
      writer.append(column.name, bytes_of(examples));
    }
  }
  writer.finish();
  output.commit();
}

}  // namespace flame::routing
