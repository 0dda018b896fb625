#include "flame/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace flame::report {
namespace {

// Colours after Okabe and Ito (https://jfly.uni-koeln.de/color), which colour-blind readers tell apart.
constexpr std::string_view kStyle = R"css(
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --grid: #c8c8c8; --quiet: #5a5a5a; --box: #f4f4f2;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #222; --series-4: #b0578d;
  --series-5: #3a94cf; --series-6: #c98500; --series-7: #777; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e6e3; --grid: #4a4d52; --quiet: #a5a29d;
  --box: #202328; --series-0: #4aa8e0; --series-1: #ff8a3c; --series-2: #2ec79b; --series-3: #eee;
  --series-4: #e08ec0; --series-5: #8cc8f2; --series-6: #f0b030; --series-7: #a0a0a0; } }
@media print { :root { --paper: #fff; --ink: #000; --grid: #bbb; } article { break-inside: avoid; } button { display: none; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; line-height: 1.25; }
a { color: var(--series-0); }
nav { columns: 16rem; font-size: .9rem; } nav a { display: block; }
figure { margin: 1rem 0; overflow-x: auto; } figure svg { width: 100%; height: auto; min-width: 20rem; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { cursor: pointer; white-space: nowrap; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--box); padding: .6rem; overflow-x: auto; font-size: .8rem; }
.quiet { color: var(--quiet); font-size: .85rem; }
button { font: inherit; font-size: .8rem; }
)css";

constexpr std::string_view kScript = R"js(
for (const table of document.querySelectorAll('table.data')) {
  const rows = () => [...table.tBodies[0].rows];
  [...table.tHead.rows[0].cells].forEach((heading, column) => heading.addEventListener('click', () => {
    const down = heading.dataset.order !== 'down';
    heading.dataset.order = down ? 'down' : 'up';
    const key = row => row.cells[column].textContent;
    const number = text => parseFloat(text.replace(/[^0-9.eE+-]/g, ''));
    const numeric = rows().every(row => !isNaN(number(key(row))));
    const sorted = rows().sort((a, b) => numeric ? number(key(a)) - number(key(b)) : key(a).localeCompare(key(b)));
    table.tBodies[0].append(...(down ? sorted : sorted.reverse()));
  }));
  const button = document.createElement('button');
  button.textContent = 'copy as CSV';
  button.addEventListener('click', () => navigator.clipboard.writeText([...table.rows].map(row =>
    [...row.cells].map(cell => '"' + cell.textContent.replaceAll('"', '""') + '"').join(',')).join('\n')));
  table.parentElement.after(button);
}
)js";

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_of("0123456789") != std::string::npos &&
         text.find_first_not_of("0123456789.,+-−×%eE ") == std::string::npos;
}

std::string cell(const std::string& text) {
  return fmt::format("<td{}>{}</td>", is_number(text) ? " class=\"number\"" : "", escaped(text));
}

std::string to_html(const Table& table) {
  std::string html = "<div class=\"scroll\"><table class=\"data\"><thead><tr>";
  for (const std::string& heading : table.header) html += fmt::format("<th scope=\"col\">{}</th>", escaped(heading));
  html += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (const std::string& text : row) html += cell(text);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

Table comparison_table(const std::vector<Comparison>& comparisons) {
  Table table{.header = {"", "this model", "the paper (switch-base-8, SAMSum)"}, .rows = {}};
  for (const Comparison& comparison : comparisons) {
    table.rows.push_back({comparison.what, comparison.ours, comparison.papers});
  }
  return table;
}

std::string to_html(const Item& item) {
  std::string html = fmt::format("<article id=\"{}\"><h2>{}</h2>\n", escaped(item.id), escaped(item.title));
  if (!item.absent.empty()) return html + fmt::format("<p>Not here: {}</p></article>\n", escaped(item.absent));
  if (!item.svg.empty()) {
    html += fmt::format("<figure role=\"img\" aria-label=\"{}\">{}</figure>\n", escaped(item.title), item.svg);
  }
  for (const std::string& sentence : item.sentences) html += fmt::format("<p>{}</p>\n", escaped(sentence));
  if (!item.comparisons.empty()) html += to_html(comparison_table(item.comparisons));
  for (const Table& table : item.tables) html += to_html(table);
  if (!item.commands.empty()) {
    html += "<details><summary>how it was measured</summary><pre>";
    for (const std::string& command : item.commands) html += escaped(command) + "\n";
    html += "</pre><p class=\"quiet\">data: ";
    for (std::size_t i = 0; i < item.data_files.size(); ++i) {
      html += fmt::format("{}<a href=\"{}\">{}</a>", i == 0 ? "" : ", ", escaped(item.data_files[i]),
                          escaped(item.data_files[i]));
    }
    html += "</p></details>\n";
  }
  return html + "</article>\n";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (const char character : text) {
    switch (character) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += character;
    }
  }
  return result;
}

std::string to_html(const Page& page) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{}</style></head><body>\n<h1>{}</h1>\n",
      escaped(page.title), kStyle, escaped(page.title));
  for (const std::string& sentence : page.summary) html += fmt::format("<p>{}</p>\n", escaped(sentence));
  html += to_html(page.facts);
  html += "<nav>";
  for (const Item& item : page.items) {
    html += fmt::format("<a href=\"#{}\">{}</a>", escaped(item.id), escaped(item.title));
  }
  html += "</nav>\n";
  for (const Item& item : page.items) html += to_html(item);
  return html + fmt::format("<script>{}</script></body></html>\n", kScript);
}

}  // namespace flame::report
