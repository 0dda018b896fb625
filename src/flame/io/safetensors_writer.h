#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/io/file.h"
#include "flame/io/safetensors_header.h"

namespace flame::io {

/// Writes a safetensors file of any size from a stream: declare every tensor, begin(), append the tensors' bytes in the
/// order of their declaration, finish(). Nothing but the header is held in memory. Calls out of order, wrong names and
/// wrong byte counts are the caller's bugs and throw std::logic_error.
///
///   AtomicFile output(path);
///   SafetensorsWriter writer(output.file());
///   writer.declare("a", DataType::kF32, {2, 3});
///   writer.begin();
///   writer.append("a", bytes);
///   writer.finish();
///   output.commit();
class SafetensorsWriter {
 public:
  /// `file` must be empty and outlive the writer.
  explicit SafetensorsWriter(WritableFile& file, std::map<std::string, std::string> metadata = {});

  /// `alignment`, a power of two up to 1 MiB: the tensor's first byte lies at a multiple of it in the file. The JSON
  /// header is padded with spaces so that the data begins at the largest alignment declared; a tensor that still would
  /// not lie right gets a filler tensor of zero bytes before it, "__padding__.<n>", which the public library shows like
  /// any other. There is no filler when every tensor before an aligned one has a multiple of the alignment as its size.
  void declare(std::string name, DataType type, std::vector<std::uint64_t> shape, std::uint64_t alignment = 1);
  /// Writes the header.
  void begin();
  /// The tensor's next bytes; whole tensors or pieces of any size.
  void append(std::string_view name, std::span<const std::byte> bytes);
  /// Checks that every declared byte has come.
  void finish();

  /// Where the tensors lie, in order of declaration, fillers included; valid after begin().
  [[nodiscard]] const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  [[nodiscard]] std::uint64_t file_bytes() const;

 private:
  struct Declaration {
    SafetensorsEntry entry;
    std::uint64_t alignment;
  };
  void place_tensors();
  void write_fillers();

  WritableFile& file_;
  std::map<std::string, std::string> metadata_;
  std::vector<Declaration> declared_;
  std::vector<SafetensorsEntry> entries_;
  std::size_t current_ = 0;
  std::uint64_t written_of_current_ = 0;
  bool begun_ = false;
};

}  // namespace flame::io
