#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flame::report {

/// Rows and columns of text; numbers are right-aligned and sorted as numbers.
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

/// One figure or table of the page.
struct Item {
  std::string id;     ///< "fig8a": anchor, and what --only names
  std::string title;  ///< "Figure 8(a): accuracy by MoE layer"
  std::string svg;    ///< of to_svg(); empty: no figure
  std::vector<std::string> sentences;
  std::vector<Comparison> comparisons;
  std::vector<Table> tables;
  std::vector<std::string> commands;    ///< what remakes it
  std::vector<std::string> data_files;  ///< links, relative to the page
  std::string absent;                   ///< why it could not be made; then only the title and this are shown
};

struct Page {
  std::string title;
  std::vector<std::string> summary;  ///< sentences
  Table facts;                       ///< machine, versions, model, date: two columns
  std::vector<Item> items;
};

/// The page as one self-contained HTML file: styles and scripts inside, no network, light and dark, legible in print;
/// tables sort by a click on a heading and copy as CSV.
[[nodiscard]] std::string to_html(const Page& page);

/// `text` with &, <, > and quotes escaped.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace flame::report
