#include "flame/io/safetensors_writer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "flame/base/error.h"
#include "flame/io/atomic_output.h"
#include "flame/io/failing_file_system.h"
#include "flame/io/memory_file_system.h"
#include "flame/io/safetensors.h"
#include "support/test_data.h"

namespace flame::io {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SafetensorsWriter, WritesByteForByteWhatThePublicLibraryWrites) {
  const std::filesystem::path path = test::data_path("io/types.safetensors");
  const SafetensorsFile original(path);
  // The public library orders tensors by descending element size, then by name; ours go in the order of declaration.
  std::vector<SafetensorsEntry> order = original.header().entries;
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes); });
  MemoryFileSystem files;
  const auto output = files.create("/copy");
  SafetensorsWriter writer(*output, original.metadata());
  for (const auto& entry : order) writer.declare(entry.name, entry.type, entry.shape);
  writer.begin();
  for (const auto& entry : order) writer.append(entry.name, original.tensor(entry.name).bytes);
  writer.finish();
  EXPECT_EQ(writer.file_bytes(), output->size());
  EXPECT_EQ(read_file("/copy", files), read_file(path));
}

RC_GTEST_PROP(SafetensorsWriter, WhatIsWrittenIsReadBack, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(0, 8);
  MemoryFileSystem files;
  const auto output = files.create("/f");
  SafetensorsWriter writer(*output, {{"key", "value \"quoted\" ü"}});
  struct Tensor {
    std::string name;
    DataType type;
    std::vector<std::uint64_t> shape;
    std::uint64_t alignment;
    std::vector<std::byte> bytes;
  };
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < count; ++i) {
    Tensor tensor;
    tensor.name = fmt::format("{}\n\"{}", *rc::gen::element<std::string>("a", "ü", "layer.0/wi"), i);
    tensor.type = static_cast<DataType>(*rc::gen::inRange(0, static_cast<int>(DataType::kF64) + 1));
    tensor.shape =
        *rc::gen::resize(4, rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(0, 6)));
    tensor.alignment = *rc::gen::element<std::uint64_t>(1, 8, 64, 4096);
    std::uint64_t bytes = 0;
    RC_ASSERT(tensor_bytes(tensor.type, tensor.shape, bytes));
    for (std::uint64_t k = 0; k < bytes; ++k) tensor.bytes.push_back(static_cast<std::byte>(i * 31 + k));
    tensors.push_back(std::move(tensor));
  }
  for (const Tensor& tensor : tensors) writer.declare(tensor.name, tensor.type, tensor.shape, tensor.alignment);
  writer.begin();
  for (const Tensor& tensor : tensors) {
    const std::size_t cut = tensor.bytes.size() / 3;
    writer.append(tensor.name, std::span(tensor.bytes).first(cut));
    writer.append(tensor.name, std::span(tensor.bytes).subspan(cut));
  }
  writer.finish();
  RC_ASSERT(writer.file_bytes() == output->size());

  const SafetensorsFile file("/f", files);
  RC_ASSERT(file.metadata().at("key") == "value \"quoted\" ü");
  for (const Tensor& tensor : tensors) {
    const TensorView& view = file.tensor(tensor.name);
    RC_ASSERT(view.type == tensor.type);
    RC_ASSERT(view.shape == tensor.shape);
    RC_ASSERT(std::equal(view.bytes.begin(), view.bytes.end(), tensor.bytes.begin(), tensor.bytes.end()));
    RC_ASSERT(file.header().find(tensor.name)->offset % tensor.alignment == 0U);
  }
}

TEST(SafetensorsWriter, AlignsRunsOfPaddedTensorsWithoutFillers) {
  MemoryFileSystem files;
  const auto output = files.create("/f");
  SafetensorsWriter writer(*output);
  for (const char* name : {"expert.0", "expert.1", "expert.2"}) writer.declare(name, DataType::kU8, {8192}, 4096);
  writer.declare("tail", DataType::kF32, {3});
  writer.begin();
  const std::vector<std::byte> expert(8192, std::byte{7});
  for (const char* name : {"expert.0", "expert.1", "expert.2"}) writer.append(name, expert);
  writer.append("tail", std::vector<std::byte>(12));
  writer.finish();
  const SafetensorsFile file("/f", files);
  EXPECT_THAT(file.names(), ElementsAre("expert.0", "expert.1", "expert.2", "tail"));
  EXPECT_EQ(file.header().find("expert.1")->offset % 4096, 0U);
  EXPECT_EQ(file.header().find("expert.1")->offset, file.header().find("expert.0")->offset + 8192);
}

TEST(SafetensorsWriter, PutsAFillerBeforeATensorThatWouldNotLieRight) {
  MemoryFileSystem files;
  const auto output = files.create("/f");
  SafetensorsWriter writer(*output);
  writer.declare("small", DataType::kU8, {5});
  writer.declare("aligned", DataType::kU8, {1}, 64);
  writer.begin();
  EXPECT_THAT(writer.entries().at(1).name, "__padding__.0");
  writer.append("small", std::vector<std::byte>(5));
  writer.append("aligned", std::vector<std::byte>(1));
  writer.finish();
  const SafetensorsFile file("/f", files);
  EXPECT_EQ(file.tensor("__padding__.0").bytes.size(), 59U);
}

TEST(SafetensorsWriter, MisuseIsALogicError) {
  MemoryFileSystem files;
  const auto output = files.create("/f");
  SafetensorsWriter writer(*output);
  EXPECT_THROW(writer.append("a", std::vector<std::byte>(1)), std::logic_error);
  EXPECT_THROW(writer.finish(), std::logic_error);
  EXPECT_THROW(writer.declare("a", DataType::kU8, {1}, 3), std::logic_error);
  EXPECT_THROW(writer.declare("a", DataType::kU8, {1}, 2 << 20), std::logic_error);
  EXPECT_THROW(writer.declare("a", DataType::kF64, {~std::uint64_t{0}}), std::logic_error);
  EXPECT_THROW(writer.declare("__metadata__", DataType::kU8, {1}), std::logic_error);
  EXPECT_THROW(writer.declare("__padding__.0", DataType::kU8, {1}), std::logic_error);
  writer.declare("a", DataType::kU8, {2});
  writer.declare("b", DataType::kU8, {1});
  writer.begin();
  EXPECT_THROW(writer.begin(), std::logic_error);
  EXPECT_THROW(writer.declare("c", DataType::kU8, {1}), std::logic_error);
  EXPECT_THROW(writer.append("b", std::vector<std::byte>(1)), std::logic_error);
  EXPECT_THROW(writer.append("a", std::vector<std::byte>(3)), std::logic_error);
  writer.append("a", std::vector<std::byte>(2));
  EXPECT_THROW(writer.finish(), std::logic_error);
  writer.append("b", std::vector<std::byte>(1));
  EXPECT_THROW(writer.append("b", std::vector<std::byte>(1)), std::logic_error);
  EXPECT_NO_THROW(writer.finish());

  SafetensorsWriter twice(*files.create("/g"));
  twice.declare("a", DataType::kU8, {1});
  twice.declare("a", DataType::kU8, {1});
  EXPECT_THROW(twice.begin(), std::logic_error);
}

TEST(SafetensorsWriter, AFullDiskLeavesNoFile) {
  MemoryFileSystem base;
  base.create_directories("/out");
  FailingFileSystem files(base, {.room_bytes = 1000});
  try {
    AtomicFile output("/out/m.safetensors", Existing::kReplace, files);
    SafetensorsWriter writer(output.file());
    writer.declare("a", DataType::kU8, {4096});
    writer.begin();
    writer.append("a", std::vector<std::byte>(4096));
    writer.finish();
    output.commit();
    FAIL() << "the disk was full";
  } catch (const FileError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
  }
  EXPECT_THAT(base.list("/out"), IsEmpty());
}

}  // namespace
}  // namespace flame::io
