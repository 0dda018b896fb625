#include "flame/io/pickle_reader.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <deque>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame::io {
namespace {

/// The opcodes of Python's pickletools that PyTorch's pickles of tensors use, at protocols 2 to 5.
enum class Opcode : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersistentId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kEmptyList = ']',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kEmptyDictionary = '}',
  kProtocol = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

// Bounds on what may be copied from value to value, so that a small pickle cannot ask for much memory.
constexpr std::size_t kMaximumRank = 64;
constexpr std::size_t kLongestStorageKey = 255;
constexpr std::size_t kLongestShownName = 100;

enum class Import : std::uint8_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kStorage };

struct Value;
using ValueList = std::vector<const Value*>;

struct Nothing {};  // None, numbers with a fraction, and others whose value no tensor needs
struct Tuple {
  ValueList items;
};
struct List {
  ValueList items;
};
struct Dictionary {
  std::vector<std::pair<const Value*, const Value*>> items;
};
struct Imported {
  Import import = Import::kOrderedDict;
  DataType type = DataType::kF32;  // of a storage class
};
struct Storage {
  std::string key;
  DataType type = DataType::kF32;
  std::uint64_t elements = 0;
};

struct Value {
  std::variant<Nothing, bool, std::int64_t, std::string, Tuple, List, Dictionary, Imported, Storage, PickledTensor>
      data;
};

struct StorageClass {
  std::string_view name;
  DataType type;
};
constexpr std::array<StorageClass, 10> kStorageClasses = {{{"FloatStorage", DataType::kF32},
                                                           {"HalfStorage", DataType::kF16},
                                                           {"BFloat16Storage", DataType::kBF16},
                                                           {"DoubleStorage", DataType::kF64},
                                                           {"ByteStorage", DataType::kU8},
                                                           {"CharStorage", DataType::kI8},
                                                           {"ShortStorage", DataType::kI16},
                                                           {"IntStorage", DataType::kI32},
                                                           {"LongStorage", DataType::kI64},
                                                           {"BoolStorage", DataType::kBool}}};

std::optional<Imported> allowed_import(std::string_view module, std::string_view name) {
  if (module == "collections" && name == "OrderedDict") return Imported{Import::kOrderedDict};
  if (module == "torch._utils" && name == "_rebuild_tensor_v2") return Imported{Import::kRebuildTensor};
  if (module == "torch._utils" && name == "_rebuild_parameter") return Imported{Import::kRebuildParameter};
  if (module == "torch") {
    for (const StorageClass& storage : kStorageClasses) {
      if (storage.name == name) return Imported{Import::kStorage, storage.type};
    }
  }
  return std::nullopt;
}

/// Pickle's stack machine, cut down to what builds tensors. Values live in one arena, so that cycles, which a memo
/// allows, need no care; every opcode makes at most one value of at most its own size, so memory stays in proportion to
/// the input.
class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::filesystem::path& source) : pickle_(pickle), source_(source) {}

  const Value* run() {
    while (true) {
      operation_ = position_;
      const auto code = static_cast<Opcode>(read_number<std::uint8_t>());
      if (code == Opcode::kStop) break;
      execute(code);
    }
    if (!marks_.empty()) fail("ends inside of a collection");
    return pop();
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(source_, fmt::format("pickle, byte {}: {}", operation_, what));
  }

 private:
  void execute(Opcode code) {
    switch (code) {
      case Opcode::kProtocol:
        if (const auto protocol = read_number<std::uint8_t>(); protocol < 2 || protocol > 5) {
          fail(fmt::format("protocol {}; 2 to 5 are read", protocol));
        }
        return;
      case Opcode::kFrame:
        static_cast<void>(read_number<std::uint64_t>());  // only a hint for reading ahead
        return;
      case Opcode::kNone:
        return push(Nothing{});
      case Opcode::kNewTrue:
        return push(true);
      case Opcode::kNewFalse:
        return push(false);
      case Opcode::kBinInt:
        return push(std::int64_t{static_cast<std::int32_t>(read_number<std::uint32_t>())});
      case Opcode::kBinInt1:
        return push(std::int64_t{read_number<std::uint8_t>()});
      case Opcode::kBinInt2:
        return push(std::int64_t{read_number<std::uint16_t>()});
      case Opcode::kLong1:
        return push(read_long(read_number<std::uint8_t>()));
      case Opcode::kBinFloat:
        static_cast<void>(read_bytes(8));
        return push(Nothing{});
      case Opcode::kShortBinString:
      case Opcode::kShortBinUnicode:
        return push(read_text(read_number<std::uint8_t>()));
      case Opcode::kBinString:
      case Opcode::kBinUnicode:
        return push(read_text(read_number<std::uint32_t>()));
      case Opcode::kBinUnicode8:
        return push(read_text(read_number<std::uint64_t>()));
      case Opcode::kEmptyTuple:
        return push(Tuple{});
      case Opcode::kTuple1:
        return push(Tuple{pop_many(1)});
      case Opcode::kTuple2:
        return push(Tuple{pop_many(2)});
      case Opcode::kTuple3:
        return push(Tuple{pop_many(3)});
      case Opcode::kTuple:
        return push(Tuple{pop_to_mark()});
      case Opcode::kEmptyList:
        return push(List{});
      case Opcode::kEmptyDictionary:
        return push(Dictionary{});
      case Opcode::kMark:
        marks_.push_back(stack_.size());
        return;
      case Opcode::kPop:
        static_cast<void>(pop());
        return;
      case Opcode::kAppend:
        return extend_list(pop_many(1));
      case Opcode::kAppends:
        return extend_list(pop_to_mark());
      case Opcode::kSetItem:
        return extend_dictionary(pop_many(2));
      case Opcode::kSetItems:
        return extend_dictionary(pop_to_mark());
      case Opcode::kBinPut:
        memo_[read_number<std::uint8_t>()] = top();
        return;
      case Opcode::kLongBinPut:
        memo_[read_number<std::uint32_t>()] = top();
        return;
      case Opcode::kMemoize:
        memo_[memo_.size()] = top();
        return;
      case Opcode::kBinGet:
        return recall(read_number<std::uint8_t>());
      case Opcode::kLongBinGet:
        return recall(read_number<std::uint32_t>());
      case Opcode::kGlobal: {
        const std::string module = read_line();
        return import(module, read_line());
      }
      case Opcode::kStackGlobal: {
        const ValueList names = pop_many(2);
        return import(text_of(names[0], "the module to import from"), text_of(names[1], "the name to import"));
      }
      case Opcode::kBinPersistentId:
        return load_storage(pop());
      case Opcode::kReduce: {
        const ValueList call = pop_many(2);
        return reduce(call[0], call[1]);
      }
      case Opcode::kBuild:
        // Attributes of the object below: a state dictionary's _metadata (versions of modules). Nothing here needs
        // them.
        static_cast<void>(pop());
        if (!std::holds_alternative<Dictionary>(top()->data))
          fail("sets attributes of something else than a dictionary");
        return;
      case Opcode::kStop:
        return;
    }
    fail(fmt::format("the operation 0x{:02x} is not one that builds tensors; refused", static_cast<unsigned>(code)));
  }

  // ---- input

  std::span<const std::byte> read_bytes(std::uint64_t length) {
    if (length > pickle_.size() - position_) {
      fail(fmt::format("wants {} bytes, but only {} follow", length, pickle_.size() - position_));
    }
    const auto bytes = pickle_.subspan(position_, length);
    position_ += length;
    return bytes;
  }
  template <typename Number>
  Number read_number() {
    const auto bytes = read_bytes(sizeof(Number));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i) value |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    return static_cast<Number>(value);
  }
  std::int64_t read_long(std::uint8_t length) {
    if (length > 8) fail(fmt::format("an integer of {} bytes; at most 8 are read", length));
    const auto bytes = read_bytes(length);
    std::uint64_t value = length > 0 && (bytes.back() & std::byte{0x80}) != std::byte{0} ? ~std::uint64_t{0} : 0;
    for (std::size_t i = length; i-- > 0;) value = (value << 8) | static_cast<std::uint64_t>(bytes[i]);
    return static_cast<std::int64_t>(value);
  }
  std::string read_text(std::uint64_t length) {
    const auto bytes = read_bytes(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string read_line() {
    std::string line;
    for (auto c = read_number<char>(); c != '\n'; c = read_number<char>()) line += c;
    return line;
  }

  // ---- stack

  template <typename Data>
  void push(Data&& data) {
    stack_.push_back(&arena_.emplace_back(Value{std::forward<Data>(data)}));
  }
  /// Lowest stack position that the present collection may take from.
  [[nodiscard]] std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  [[nodiscard]] Value* top() const {
    if (stack_.size() <= floor()) fail("takes a value from an empty stack");
    return stack_.back();
  }
  Value* pop() {
    Value* const value = top();
    stack_.pop_back();
    return value;
  }
  ValueList pop_many(std::size_t count) {
    if (stack_.size() - floor() < count) fail(fmt::format("takes {} values from a stack of fewer", count));
    return take_from(stack_.size() - count);
  }
  ValueList pop_to_mark() {
    if (marks_.empty()) fail("ends a collection that was not begun");
    const std::size_t mark = marks_.back();
    marks_.pop_back();
    return take_from(mark);
  }
  ValueList take_from(std::size_t first) {
    ValueList values(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    return values;
  }
  void recall(std::uint32_t number) {
    const auto found = memo_.find(number);
    if (found == memo_.end()) fail(fmt::format("recalls value {}, which was not stored", number));
    stack_.push_back(found->second);
  }

  // ---- collections

  void extend_list(const ValueList& values) {
    auto* const list = std::get_if<List>(&top()->data);
    if (list == nullptr) fail("appends to something else than a list");
    list->items.insert(list->items.end(), values.begin(), values.end());
  }
  void extend_dictionary(const ValueList& values) {
    auto* const dictionary = std::get_if<Dictionary>(&top()->data);
    if (dictionary == nullptr) fail("sets items of something else than a dictionary");
    if (values.size() % 2 != 0) fail("sets a key without a value");
    for (std::size_t i = 0; i < values.size(); i += 2) dictionary->items.emplace_back(values[i], values[i + 1]);
  }

  // ---- typed access

  template <typename Data>
  const Data& get(const Value* value, std::string_view what) const {
    const auto* const data = std::get_if<Data>(&value->data);
    if (data == nullptr) fail(fmt::format("{} is not of the expected kind", what));
    return *data;
  }
  const std::string& text_of(const Value* value, std::string_view what) const { return get<std::string>(value, what); }
  std::uint64_t count_of(const Value* value, std::string_view what) const {
    const auto number = get<std::int64_t>(value, what);
    if (number < 0) fail(fmt::format("{} is negative: {}", what, number));
    return static_cast<std::uint64_t>(number);
  }
  std::vector<std::uint64_t> counts_of(const Value* value, std::string_view what) const {
    const ValueList& items = get<Tuple>(value, what).items;
    if (items.size() > kMaximumRank)
      fail(fmt::format("{} has {} dimensions; at most {}", what, items.size(), kMaximumRank));
    std::vector<std::uint64_t> counts;
    for (const Value* item : items) counts.push_back(count_of(item, what));
    return counts;
  }

  // ---- imports and calls

  void import(std::string_view module, std::string_view name) {
    const auto imported = allowed_import(module, name);
    if (!imported) {
      const auto shown = [](std::string_view text) { return replace_invalid_utf8(text.substr(0, kLongestShownName)); };
      fail(fmt::format("wants to import {}.{}; only what rebuilds tensors is allowed", shown(module), shown(name)));
    }
    push(*imported);
  }

  /// ("storage", class, key, device, elements)
  void load_storage(const Value* id) {
    const auto& parts = get<Tuple>(id, "a storage's identity").items;
    if (parts.size() != 5 || text_of(parts[0], "a storage's identity") != "storage") {
      fail("a persistent object is not a storage of 5 parts");
    }
    const auto& storage_class = get<Imported>(parts[1], "a storage's class");
    if (storage_class.import != Import::kStorage) fail("a storage's class is not one");
    const std::string& key = text_of(parts[2], "a storage's key");
    if (key.size() > kLongestStorageKey) fail(fmt::format("a storage's key has {} bytes", key.size()));
    push(Storage{key, storage_class.type, count_of(parts[4], "a storage's size")});
  }

  void reduce(const Value* function, const Value* arguments) {
    const auto& parts = get<Tuple>(arguments, "the arguments of a call").items;
    switch (get<Imported>(function, "what is called").import) {
      case Import::kOrderedDict:
        if (!parts.empty()) fail("an OrderedDict with arguments");
        return push(Dictionary{});
      case Import::kRebuildParameter:
        // (tensor, requires_grad, hooks)
        if (parts.size() != 3) fail(fmt::format("_rebuild_parameter with {} arguments, expected 3", parts.size()));
        return push(get<PickledTensor>(parts[0], "a parameter's tensor"));
      case Import::kRebuildTensor: {
        // (storage, offset, size, stride, requires_grad, hooks[, metadata])
        if (parts.size() != 6 && parts.size() != 7) {
          fail(fmt::format("_rebuild_tensor_v2 with {} arguments, expected 6 or 7", parts.size()));
        }
        const auto& storage = get<Storage>(parts[0], "a tensor's storage");
        PickledTensor tensor;
        tensor.storage = storage.key;
        tensor.type = storage.type;
        tensor.storage_elements = storage.elements;
        tensor.offset = count_of(parts[1], "a tensor's offset");
        tensor.shape = counts_of(parts[2], "a tensor's shape");
        tensor.stride = counts_of(parts[3], "a tensor's stride");
        if (tensor.shape.size() != tensor.stride.size()) fail("a tensor's shape and stride differ in length");
        return push(std::move(tensor));
      }
      case Import::kStorage:
        fail("calls a storage class");
    }
  }

  std::span<const std::byte> pickle_;
  const std::filesystem::path& source_;
  std::size_t position_ = 0;
  std::size_t operation_ = 0;  // where the present opcode stands
  std::deque<Value> arena_;
  std::vector<Value*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Value*> memo_;
};

}  // namespace

std::vector<PickledTensor> read_tensor_pickle(std::span<const std::byte> pickle, const std::filesystem::path& source) {
  Machine machine(pickle, source);
  const Value* const root = machine.run();
  const auto* const dictionary = std::get_if<Dictionary>(&root->data);
  if (dictionary == nullptr) machine.fail("it is not a dictionary of tensors");
  std::vector<PickledTensor> tensors;
  std::unordered_set<std::string_view> names;
  for (const auto& [key, value] : dictionary->items) {
    const auto* const tensor = std::get_if<PickledTensor>(&value->data);
    if (tensor == nullptr) continue;
    const auto* const name = std::get_if<std::string>(&key->data);
    if (name == nullptr) machine.fail("the name of a tensor is not a text");
    if (first_invalid_utf8(*name)) machine.fail("the name of a tensor is not UTF-8");
    if (!names.insert(*name).second) machine.fail(fmt::format("the tensor \"{}\" is there twice", *name));
    tensors.push_back(*tensor);
    tensors.back().name = *name;
  }
  return tensors;
}

}  // namespace flame::io
