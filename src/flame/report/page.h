#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flame/report/chart.h"

namespace flame::report {

/// Rows and columns of text; columns of numbers are right-aligned and sorted as numbers.
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// A number the paper prints, beside ours.
struct Comparison {
  std::string what;
  std::string ours;
  std::string papers;
};

/// One chart, drawn for both layouts.
struct Figure {
  std::string id;
  std::string wide;          ///< of to_svg(); an <svg> element
  std::string narrow;        ///< shown instead on a narrow screen
  std::string caption = {};  ///< empty: none; needed where an item has several figures
};

/// Draws `chart` for both layouts. Throws what to_svg() throws.
template <typename Chart>
[[nodiscard]] Figure draw(const Chart& chart, const std::string& id, std::string caption = {}) {
  return {.id = id,
          .wide = to_svg(chart, id, Layout::kWide),
          .narrow = to_svg(chart, id + "-narrow", Layout::kNarrow),
          .caption = std::move(caption)};
}

/// One figure or table of the paper, or past it.
struct Item {
  std::string id;     ///< "fig8a": anchor, and what --only names
  std::string title;  ///< "Figure 8(a): accuracy by MoE layer"
  std::vector<Figure> figures;
  std::vector<std::string> sentences;
  std::vector<Comparison> comparisons;
  std::string without_comparison = {};  ///< of a figure of the paper's: why it has none
  std::vector<Table> tables;
  std::string report_command;           ///< the report of this item alone
  std::vector<std::string> commands;    ///< what it runs, in the order in which a person would have to type it
  std::vector<std::string> data_files;  ///< links, relative to the page
  std::string absent;                   ///< why it could not be made; then only the title and this are shown
  bool failed = false;                  ///< absent because something failed, not because it was not measured
};

struct Page {
  std::string title;
  std::string ours;                         ///< model and data that our numbers were measured with
  std::vector<std::string> summary;         ///< sentences
  std::vector<Table> summary_tables;        ///< what backs the sentences
  std::vector<std::string> recommendation;  ///< what FLAME recommends, and why; empty: not shown
  Table facts;                              ///< machine, versions, model, date: two columns
  std::vector<Item> items;
};

/// The page as one self-contained HTML file: styles and scripts inside, no network, light and dark, legible in print;
/// tables sort by a click on a heading and copy as CSV.
[[nodiscard]] std::string to_html(const Page& page);

/// The wide chart as an SVG file of its own, with the page's colours, light and dark.
[[nodiscard]] std::string standalone_svg(const Figure& figure);

/// `text` with &, <, > and quotes escaped.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace flame::report
