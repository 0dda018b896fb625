#pragma once

#include "flame/base/json.h"
#include "flame/report/page.h"

namespace flame::report {

/// What stands on the page, without the drawings (docs/report.md): {"title", "facts", "summary", "summary_tables",
/// "recommendation", "items": [{"id", "title", "figures", "sentences", "comparisons", "tables", "commands", "data"}]}.
/// An item that could not be made has "id", "title", "absent" (why) and "failed".
[[nodiscard]] Json to_json(const Page& page);

}  // namespace flame::report
