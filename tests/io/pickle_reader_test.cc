#include "flame/io/pickle_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>

#include "flame/base/error.h"

namespace flame::io {
namespace {

using namespace std::string_literals;  // NOLINT: only for texts that hold zero bytes
using ::testing::HasSubstr;

std::vector<PickledTensor> read(const std::string& pickle) {
  return read_tensor_pickle(std::as_bytes(std::span(pickle)), "data.pkl");
}

std::string refusal(const std::string& pickle) {
  try {
    static_cast<void>(read(pickle));
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "the pickle was accepted";
  return {};
}

// The parts that torch.save writes, at protocol 2.
const std::string kBegin = "\x80\x02}"s;

std::string text(const std::string& value) {
  const auto size = static_cast<char>(value.size());
  return "X"s + size + "\0\0\0"s + value;
}
std::string integer(std::int32_t value) {
  std::string out = "J";
  for (int i = 0; i < 4; ++i) out += static_cast<char>((static_cast<std::uint32_t>(value) >> (8 * i)) & 0xff);
  return out;
}
std::string storage(const std::string& type = "FloatStorage", std::int32_t elements = 6) {
  return "("s + text("storage") + "ctorch\n" + type + "\n" + text("0") + text("cpu") + integer(elements) + "tQ";
}
/// A call of _rebuild_tensor_v2 with the given storage, offset, shape and stride.
std::string tensor(const std::string& from = storage(), std::int32_t offset = 0,
                   const std::string& shape = integer(2) + integer(3) + "\x86",
                   const std::string& stride = integer(3) + integer(1) + "\x86") {
  return "ctorch._utils\n_rebuild_tensor_v2\n("s + from + integer(offset) + shape + stride +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}
std::string dictionary(const std::string& value) { return kBegin + text("w") + value + "s."; }

TEST(PickleReader, ReadsATensor) {
  const auto tensors = read(dictionary(tensor()));
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].storage, "0");
  EXPECT_EQ(tensors[0].type, DataType::kF32);
  EXPECT_EQ(tensors[0].storage_elements, 6U);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(tensors[0].stride, (std::vector<std::uint64_t>{3, 1}));
}

TEST(PickleReader, ReadsAnEmptyDictionary) { EXPECT_TRUE(read(kBegin + ".").empty()); }

TEST(PickleReader, ReadsWhatOtherProtocolsWrite) {
  // Protocol 4: a frame, short texts, memo without numbers. And what protocol 2 does for large memos and odd values.
  EXPECT_TRUE(read("\x80\x04\x95\x03\0\0\0\0\0\0\0}\x94."s).empty());
  EXPECT_TRUE(read("\x80\x02}r\x00\x01\0\0K\x01"
                   "0j\x00\x01\0\0"
                   "0."s)
                  .empty());
  EXPECT_TRUE(read("\x80\x02}(\x8c\x01"
                   "aG\0\0\0\0\0\0\0\0U\x01"
                   "b\x8a\x02\xff\xffT\x01\0\0\0cM\x01\x02u."s)
                  .empty());
}

TEST(PickleReader, RefusesImportsByName) {
  EXPECT_THAT(refusal(dictionary("cos\nsystem\n" + text("true") + "\x85R")),
              HasSubstr("data.pkl: pickle, byte 9: wants to import os.system; only what rebuilds tensors is allowed"));
  EXPECT_THAT(refusal(dictionary("c__builtin__\neval\n)R")), HasSubstr("wants to import __builtin__.eval"));
  EXPECT_THAT(refusal(dictionary("ctorch\nload\n)R")), HasSubstr("wants to import torch.load"));
  EXPECT_THAT(refusal(kBegin + text("w") + text("posix") + text("system") + "\x93s."),
              HasSubstr("wants to import posix.system"));
}

TEST(PickleReader, RefusesOperationsThatBuildObjects) {
  for (const char code : {'i', 'o', '\x81', '\x92', 'P', 'I', 'S', 'V', 'd', 'l', '\x8f'}) {
    EXPECT_THAT(refusal("\x80\x02"s + code + "."), HasSubstr("is not one that builds tensors; refused")) << code;
  }
}

TEST(PickleReader, RefusesEveryCutOfAPickle) {
  const std::string whole = dictionary(tensor());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(static_cast<void>(read(whole.substr(0, length))), FormatError) << length;
  }
}

TEST(PickleReader, SurvivesEveryChangedByte) {
  const std::string whole = dictionary(tensor());
  for (std::size_t place = 0; place < whole.size(); ++place) {
    for (const char change : {'\x01', '\x15', '\x80', '\xff'}) {
      std::string broken = whole;
      broken[place] = static_cast<char>(broken[place] ^ change);
      try {
        static_cast<void>(read(broken));
      } catch (const FormatError&) {  // what most of them must give; the others are still pickles
      }
    }
  }
}

TEST(PickleReader, RefusesMisuseOfTheStack) {
  EXPECT_THAT(refusal("\x80\x02."), HasSubstr("takes a value from an empty stack"));
  EXPECT_THAT(refusal("\x80\x02\x86."), HasSubstr("takes 2 values from a stack of fewer"));
  EXPECT_THAT(refusal("\x80\x02t."), HasSubstr("ends a collection that was not begun"));
  EXPECT_THAT(refusal("\x80\x02}(."), HasSubstr("ends inside of a collection"));
  EXPECT_THAT(refusal("\x80\x02}(K\x01u."), HasSubstr("sets a key without a value"));
  EXPECT_THAT(refusal("\x80\x02K\x01(K\x01K\x02u."), HasSubstr("sets items of something else than a dictionary"));
  EXPECT_THAT(refusal("\x80\x02}K\x01"
                      "a."),
              HasSubstr("appends to something else than a list"));
  EXPECT_THAT(refusal("\x80\x02K\x01}b."), HasSubstr("sets attributes of something else than a dictionary"));
  EXPECT_THAT(refusal("\x80\x02h\x07."), HasSubstr("recalls value 7, which was not stored"));
  EXPECT_THAT(refusal("\x80\x01}."), HasSubstr("protocol 1; 2 to 5 are read"));
  EXPECT_THAT(refusal("\x80\x02]."), HasSubstr("it is not a dictionary of tensors"));
}

TEST(PickleReader, RefusesCallsThatAreNotAsTorchMakesThem) {
  EXPECT_THAT(refusal(dictionary("ctorch._utils\n_rebuild_tensor_v2\n)R")),
              HasSubstr("_rebuild_tensor_v2 with 0 arguments, expected 6 or 7"));
  EXPECT_THAT(refusal(dictionary("ctorch._utils\n_rebuild_parameter\n)R")),
              HasSubstr("_rebuild_parameter with 0 arguments, expected 3"));
  EXPECT_THAT(refusal(dictionary("ctorch._utils\n_rebuild_parameter\n(K\x01K\x01K\x01tR")),
              HasSubstr("a parameter's tensor is not of the expected kind"));
  EXPECT_THAT(refusal(dictionary("ccollections\nOrderedDict\n"
                                 "K\x01\x85R")),
              HasSubstr("an OrderedDict with arguments"));
  EXPECT_THAT(refusal(dictionary("ctorch\nFloatStorage\n)R")), HasSubstr("calls a storage class"));
  EXPECT_THAT(refusal(dictionary("K\x01)R")), HasSubstr("what is called is not of the expected kind"));
  EXPECT_THAT(refusal(dictionary(tensor("K\x01"))), HasSubstr("a tensor's storage is not of the expected kind"));
  EXPECT_THAT(refusal(dictionary(tensor(storage(), -1))), HasSubstr("a tensor's offset is negative: -1"));
  EXPECT_THAT(refusal(dictionary(tensor(storage(), 0, integer(-2) + "\x85", integer(1) + "\x85"))),
              HasSubstr("a tensor's shape is negative: -2"));
  EXPECT_THAT(refusal(dictionary(tensor(storage(), 0, integer(2) + "\x85"))),
              HasSubstr("a tensor's shape and stride differ in length"));
  EXPECT_THAT(refusal(dictionary(tensor(storage("FloatStorage", -6)))), HasSubstr("a storage's size is negative"));
}

TEST(PickleReader, RefusesPersistentObjectsThatAreNotStorages) {
  EXPECT_THAT(refusal(dictionary(text("x") + "Q")), HasSubstr("a storage's identity is not of the expected kind"));
  EXPECT_THAT(refusal(dictionary(text("storage") + "\x85Q")), HasSubstr("not a storage of 5 parts"));
  EXPECT_THAT(refusal(dictionary("("s + text("module") + "NNNNtQ")), HasSubstr("not a storage of 5 parts"));
  EXPECT_THAT(refusal(dictionary("("s + text("storage") + "ccollections\nOrderedDict\n" + text("0") + text("cpu") +
                                 integer(1) + "tQ")),
              HasSubstr("a storage's class is not one"));
}

TEST(PickleReader, RefusesNamesThatAreNotTexts) {
  EXPECT_THAT(refusal(kBegin + "K\x01" + tensor() + "s."), HasSubstr("the name of a tensor is not a text"));
  EXPECT_THAT(refusal(kBegin + text("\xff") + tensor() + "s."), HasSubstr("the name of a tensor is not UTF-8"));
  EXPECT_THAT(refusal(kBegin + "(" + text("w") + tensor() + text("w") + tensor() + "u."),
              HasSubstr("the tensor \"w\" is there twice"));
}

TEST(PickleReader, BoundsWhatASmallPickleMayAskFor) {
  std::string shape = "(";
  for (int i = 0; i < 65; ++i) shape += integer(1);
  EXPECT_THAT(refusal(dictionary(tensor(storage(), 0, shape + "t"))), HasSubstr("has 65 dimensions; at most 64"));
  EXPECT_THAT(refusal("\x80\x02X\xff\xff\xff\xff."s), HasSubstr("wants 4294967295 bytes, but only 1 follow"));
  EXPECT_THAT(refusal("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff."s), HasSubstr("wants 18446744073709551615 bytes"));
  EXPECT_THAT(refusal("\x80\x02\x8a\x09"
                      "123456789."s),
              HasSubstr("an integer of 9 bytes"));
  EXPECT_THAT(refusal(dictionary("("s + text("storage") + "ctorch\nFloatStorage\n" + "X\x00\x01\x00\x00"s +
                                 std::string(256, 'k') + text("cpu") + integer(1) + "tQ")),
              HasSubstr("a storage's key has 256 bytes"));
}

TEST(PickleReader, AListThatHoldsItselfIsHarmless) {
  EXPECT_TRUE(read("\x80\x02}" + text("w") +
                   "]q\x01h\x01"
                   "as.")
                  .empty());
}

}  // namespace
}  // namespace flame::io
