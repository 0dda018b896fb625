#include "flame/base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/utf8.h"

namespace flame {
namespace {

/// "line 3, column 7 (byte 41)" of a position in the text.
std::string position_text(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? before.size() + 1 : before.size() - newline;
  return fmt::format("line {}, column {} (byte {})", line, column, byte);
}

/// nlohmann's text without its "[json.exception.parse_error.101] parse error at line 1, column 2: " in front, which
/// counts lines and columns differently for some errors.
std::string reason_of(const nlohmann::json::exception& error) {
  std::string reason = error.what();
  if (const std::size_t end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
  if (reason.starts_with("parse error")) {
    if (const std::size_t colon = reason.find(": "); colon != std::string::npos) reason.erase(0, colon + 2);
  }
  return replace_invalid_utf8(reason);
}

/// Refuses what the grammar allows and FLAME does not: deep nesting and keys given twice.
class StructureCheck {
 public:
  StructureCheck(const std::filesystem::path& source, std::size_t maximum_depth)
      : source_(source), maximum_depth_(maximum_depth) {}

  bool operator()(nlohmann::json::parse_event_t event, Json& value) {
    using Event = nlohmann::json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        if (keys_.size() == maximum_depth_) {
          throw FormatError(source_, fmt::format("JSON is nested deeper than {} levels", maximum_depth_));
        }
        keys_.emplace_back();
        break;
      case Event::object_end:
      case Event::array_end:
        keys_.pop_back();
        break;
      case Event::key:
        if (const auto& key = value.get_ref<const std::string&>(); !keys_.back().insert(key).second) {
          throw FormatError(source_, fmt::format("the key \"{}\" is given twice in one JSON object", key));
        }
        break;
      case Event::value:
        break;
    }
    return true;
  }

 private:
  const std::filesystem::path& source_;
  std::size_t maximum_depth_;
  std::vector<std::unordered_set<std::string>> keys_;
};

std::string shown(const Json& value) {
  constexpr std::size_t kLongest = 60;
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = to_text(value);
  if (text.size() > kLongest)
    text = text.substr(0, complete_utf8_length(std::string_view(text).substr(0, kLongest))) + "…";
  return text;
}

}  // namespace

Json parse_json(std::string_view text, const std::filesystem::path& source, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    throw FormatError(source, fmt::format("JSON text of {} bytes; at most {} are read", text.size(), limits.bytes));
  }
  // The parser would find it too, but only inside strings and without saying that it is the encoding.
  if (const auto invalid = first_invalid_utf8(text)) {
    throw FormatError(source, fmt::format("invalid UTF-8 at {}", position_text(text, *invalid)));
  }
  StructureCheck check(source, limits.depth);
  try {
    return Json::parse(text.begin(), text.end(),
                       [&check](int, nlohmann::json::parse_event_t event, Json& value) { return check(event, value); });
  } catch (const nlohmann::json::parse_error& error) {
    const std::size_t byte = error.byte == 0 ? 0 : error.byte - 1;  // nlohmann counts from 1
    throw FormatError(source, fmt::format("invalid JSON at {}: {}", position_text(text, byte), reason_of(error)));
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(source, fmt::format("invalid JSON: {}", reason_of(error)));
  }
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

JsonView::JsonView(const Json& value, std::filesystem::path source) : JsonView(value, std::move(source), "") {}

JsonView::JsonView(const Json& value, std::filesystem::path source, std::string location)
    : value_(&value), source_(std::move(source)), location_(std::move(location)) {}

bool JsonView::is_object() const { return value_->is_object(); }
bool JsonView::is_array() const { return value_->is_array(); }
bool JsonView::is_string() const { return value_->is_string(); }
bool JsonView::is_null() const { return value_->is_null(); }

void JsonView::fail(const std::string& what) const {
  throw FormatError(source_, location_.empty() ? what : fmt::format("{}: {}", location_, what));
}

void leave_unsaid(Json& object, std::initializer_list<const char*> figures) {
  for (const char* const figure : figures) object.at(figure) = nullptr;
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  if (!is_object()) fail(fmt::format("expected an object, found {}", shown(*value_)));
  const auto member = value_->find(std::string(key));
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return JsonView(*member, source_, location_.empty() ? std::string(key) : fmt::format("{}.{}", location_, key));
}

JsonView JsonView::at(std::string_view key) const {
  auto member = find(key);
  if (!member) fail(fmt::format("the key \"{}\" is missing", key));
  return *std::move(member);
}

std::vector<std::string> JsonView::keys() const {
  if (!is_object()) fail(fmt::format("expected an object, found {}", shown(*value_)));
  std::vector<std::string> keys;
  keys.reserve(value_->size());
  for (const auto& item : value_->items()) keys.push_back(item.key());
  return keys;
}

std::size_t JsonView::size() const {
  if (!is_array()) fail(fmt::format("expected an array, found {}", shown(*value_)));
  return value_->size();
}

JsonView JsonView::element(std::size_t index) const {
  if (index >= size()) fail(fmt::format("expected at least {} elements, found {}", index + 1, size()));
  return {(*value_)[index], source_, fmt::format("{}[{}]", location_, index)};
}

bool JsonView::as_bool() const {
  if (!value_->is_boolean()) fail(fmt::format("expected true or false, found {}", shown(*value_)));
  return value_->get<bool>();
}

std::int64_t JsonView::as_integer(std::int64_t minimum, std::int64_t maximum) const {
  std::optional<std::int64_t> number;
  if (value_->is_number_unsigned()) {
    if (const auto wide = value_->get<std::uint64_t>(); std::in_range<std::int64_t>(wide)) {
      number = static_cast<std::int64_t>(wide);
    }
  } else if (value_->is_number_integer()) {
    number = value_->get<std::int64_t>();
  } else if (value_->is_number_float()) {
    const auto real = value_->get<double>();
    if (std::trunc(real) == real && std::abs(real) <= 0x1p53) number = static_cast<std::int64_t>(real);
  }
  if (!number || *number < minimum || *number > maximum) {
    const bool bounded =
        minimum != std::numeric_limits<std::int64_t>::min() || maximum != std::numeric_limits<std::int64_t>::max();
    fail(bounded ? fmt::format("expected an integer from {} to {}, found {}", minimum, maximum, shown(*value_))
                 : fmt::format("expected an integer, found {}", shown(*value_)));
  }
  return *number;
}

std::uint64_t JsonView::as_unsigned(std::uint64_t maximum) const {
  if (!value_->is_number_unsigned() || value_->get<std::uint64_t>() > maximum) {
    fail(fmt::format("expected an integer from 0 to {}, found {}", maximum, shown(*value_)));
  }
  return value_->get<std::uint64_t>();
}

double JsonView::as_number(double minimum, double maximum) const {
  const double number = value_->is_number() ? value_->get<double>() : std::nan("");
  if (!(number >= minimum && number <= maximum)) {
    const bool bounded =
        minimum != std::numeric_limits<double>::lowest() || maximum != std::numeric_limits<double>::max();
    fail(bounded ? fmt::format("expected a number from {} to {}, found {}", minimum, maximum, shown(*value_))
                 : fmt::format("expected a number, found {}", shown(*value_)));
  }
  return number;
}

std::string JsonView::as_string() const {
  if (!is_string()) fail(fmt::format("expected a text, found {}", shown(*value_)));
  return value_->get<std::string>();
}

}  // namespace flame
