#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flame {

using Json = nlohmann::json;

/// What parse_json accepts at most. Text past a limit is refused before any memory is spent on it.
struct JsonLimits {
  std::size_t bytes = std::size_t{256} << 20;
  std::size_t depth = 64;  ///< of nested arrays and objects
};

/// Parses one JSON value that fills `text` (white space around it is allowed).
/// Throws FormatError naming `source`, line, column and byte for a syntax error, invalid UTF-8, a number out of range,
/// a key given twice in one object, or text past a limit.
[[nodiscard]] Json parse_json(std::string_view text, const std::filesystem::path& source,
                              const JsonLimits& limits = {});

/// `value` as compact JSON text. Strings are valid UTF-8 by contract of whoever made them; bytes that are not are
/// written as U+FFFD rather than lost.
[[nodiscard]] std::string to_text(const Json& value);

/// Null for each of `figures`, members of `object`: what there is no figure for is not zero.
void leave_unsaid(Json& object, std::initializer_list<const char*> figures);

/// A value inside a parsed JSON document that knows where it stands, so that a wrong one is named in full:
/// "config.json: task_specific_params.summarization.num_beams: expected an integer from 1 to 1024, found \"many\"".
/// All errors are FormatError. The document must outlive the view.
class JsonView {
 public:
  /// The document's root; `source` is the file named in messages.
  JsonView(const Json& value, std::filesystem::path source);

  [[nodiscard]] const Json& value() const { return *value_; }
  [[nodiscard]] const std::filesystem::path& source() const { return source_; }
  /// Path of keys from the root, for example "weight_map.lm_head.weight" or "layers[3]". Empty at the root.
  [[nodiscard]] const std::string& location() const { return location_; }

  [[nodiscard]] bool is_object() const;
  [[nodiscard]] bool is_array() const;
  [[nodiscard]] bool is_string() const;
  [[nodiscard]] bool is_null() const;

  /// The member of that name. at: an error when there is none. find: nothing when there is none or it is null, which is
  /// how Hugging Face files say "not set". Both demand that this is an object.
  [[nodiscard]] JsonView at(std::string_view key) const;
  [[nodiscard]] std::optional<JsonView> find(std::string_view key) const;
  /// Keys of an object, in sorted order.
  [[nodiscard]] std::vector<std::string> keys() const;

  /// Elements of an array.
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] JsonView element(std::size_t index) const;

  [[nodiscard]] bool as_bool() const;
  /// An integer in [minimum, maximum]; a number with a fraction part is refused, 3.0 is not.
  [[nodiscard]] std::int64_t as_integer(std::int64_t minimum = std::numeric_limits<std::int64_t>::min(),
                                        std::int64_t maximum = std::numeric_limits<std::int64_t>::max()) const;
  /// The whole range of unsigned 64-bit integers, for offsets and sizes in files.
  [[nodiscard]] std::uint64_t as_unsigned(std::uint64_t maximum = std::numeric_limits<std::uint64_t>::max()) const;
  /// Any finite number in [minimum, maximum].
  [[nodiscard]] double as_number(double minimum = std::numeric_limits<double>::lowest(),
                                 double maximum = std::numeric_limits<double>::max()) const;
  [[nodiscard]] std::string as_string() const;

  /// Throws FormatError "SOURCE: LOCATION: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  JsonView(const Json& value, std::filesystem::path source, std::string location);

  const Json* value_;
  std::filesystem::path source_;
  std::string location_;
};

}  // namespace flame
