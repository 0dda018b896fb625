#include "flame/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "flame/report/paper.h"

namespace flame::report {
namespace {

// Colours after Okabe and Ito (https://jfly.uni-koeln.de/color), which colour-blind readers tell apart.
constexpr std::string_view kColours = R"css(
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --grid: #c8c8c8; --quiet: #5a5a5a; --box: #f4f4f2;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #222; --series-4: #b0578d;
  --series-5: #56b4e9; --series-6: #c98500; --series-7: #777; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e6e3; --grid: #4a4d52; --quiet: #a5a29d;
  --box: #202328; --series-0: #2f95d8; --series-1: #ff8a3c; --series-2: #2ec79b; --series-3: #eee;
  --series-4: #e08ec0; --series-5: #a5d8f7; --series-6: #f0b030; --series-7: #a0a0a0; } }
svg .plain { fill: none; color: var(--ink); stroke: currentColor; stroke-width: 1; }
svg .label { stroke: none; fill: var(--ink); font-size: 13px; }
)css";

constexpr std::string_view kStyle = R"css(
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 4rem; max-width: 56rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { line-height: 1.2; font-size: 1.8rem; margin: .5rem 0 1rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 .5rem; line-height: 1.25; font-size: 1.25rem; }
h3 { margin: .5rem 0; font-size: 1rem; }
a { color: var(--series-0); }
p { max-width: 44rem; overflow-wrap: break-word; }
nav { columns: 2 20rem; font-size: .9rem; margin: 1.5rem 0; } nav a { display: block; padding: .1rem 0; }
section, article { margin-top: 2rem; padding-top: 1.5rem; border-top: 1px solid var(--grid); }
.advice { background: var(--box); border-left: .3rem solid var(--series-0); padding: .25rem 1rem; margin: 1rem 0; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; color: var(--quiet); }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit; }
.narrow { display: none; }
@media (max-width: 600px) { body { padding: .75rem .75rem 3rem; } .narrow { display: block; }
  .wide { display: none; } }
/* A shadow at the edge behind which a table goes on. */
.scroll { overflow-x: auto; background:
  linear-gradient(to right, var(--paper) 30%, transparent) left / 3rem 100% local no-repeat,
  linear-gradient(to left, var(--paper) 30%, transparent) right / 3rem 100% local no-repeat,
  linear-gradient(to right, var(--grid), transparent) left / .7rem 100% no-repeat,
  linear-gradient(to left, var(--grid), transparent) right / .7rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { cursor: pointer; font-weight: 600; vertical-align: bottom; } th:hover { text-decoration: underline; }
th.number { text-align: right; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child:not(.number) { min-width: 7rem; }
summary { cursor: pointer; }
pre code { display: block; padding-left: 2ch; text-indent: -2ch; font-size: inherit; }
pre { background: var(--box); padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
.quiet { color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
button { font: inherit; font-size: .8rem; color: inherit; background: var(--box); border: 1px solid var(--grid);
  border-radius: .25rem; padding: .1rem .5rem; }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --grid: #bbb; --quiet: #444; --box: #f4f4f2;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #222; --series-4: #b0578d;
  --series-5: #56b4e9; --series-6: #c98500; --series-7: #777; }
  body { max-width: none; font-size: 11pt; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  button { display: none; } .scroll { overflow: visible; background: none; } table { font-size: 8.5pt; }
  th, td { padding: .15rem .4rem; } }
)css";

constexpr std::string_view kScript = R"js(
for (const table of document.querySelectorAll('table.data')) {
  const rows = () => [...table.tBodies[0].rows];
  [...table.tHead.rows[0].cells].forEach((heading, column) => heading.addEventListener('click', () => {
    const down = heading.dataset.order !== 'down';
    heading.dataset.order = down ? 'down' : 'up';
    const key = row => row.cells[column].textContent;
    // Of "12 % to 15 %" the first number; "–" comes before all.
    const number = text => parseFloat((text.match(/[+-]?\d[\d.]*(e[+-]?\d+)?/i) || ['-Infinity'])[0]);
    const numeric = heading.classList.contains('number');
    const order = (a, b) => a < b ? -1 : a > b ? 1 : 0;
    const sorted = rows().sort((a, b) =>
      numeric ? order(number(key(a)), number(key(b))) : key(a).localeCompare(key(b), undefined, {numeric: true}));
    table.tBodies[0].append(...(down ? sorted : sorted.reverse()));
  }));
  const button = document.createElement('button');
  button.textContent = 'copy as CSV';
  button.addEventListener('click', async () => {
    const csv = [...table.rows].map(row =>
      [...row.cells].map(cell => '"' + cell.textContent.replaceAll('"', '""') + '"').join(',')).join('\n');
    try {
      await navigator.clipboard.writeText(csv);
    } catch (refused) {  // pages opened from disk may not be let near the clipboard
      const area = document.createElement('textarea');
      area.value = csv;
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
    button.textContent = 'copied';
    setTimeout(() => button.textContent = 'copy as CSV', 1500);
  });
  table.parentElement.after(button);
}
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(details => details.open = true));
)js";

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_of("0123456789") != std::string::npos &&
         text.find_first_not_of("0123456789.,+-−×%eEx ") == std::string::npos &&
         text.find('-', 1) == std::string::npos;  // a date is none
}

/// "–", "12.34 % to 15 %", "below 2048": no number, and set like one.
bool is_like_a_number(const std::string& text) {
  if (text == "–" || text == "all") return true;
  constexpr std::string_view kBelow = "below ";
  if (text.starts_with(kBelow)) return is_number(text.substr(kBelow.size()));
  const std::size_t to = text.find(" to ");
  return is_number(text) ||
         (to != std::string::npos && is_number(text.substr(0, to)) && is_number(text.substr(to + 4)));
}

/// Columns with at least one number and nothing but what is like one.
std::vector<bool> number_columns(const Table& table) {
  std::vector<bool> result(table.header.size(), false);
  for (std::size_t column = 0; column < result.size(); ++column) {
    bool all = true;
    for (const std::vector<std::string>& row : table.rows) {
      if (column >= row.size()) continue;
      all = all && is_like_a_number(row[column]);
      result[column] = result[column] || row[column].find_first_of("0123456789") != std::string::npos;
    }
    result[column] = result[column] && all;
  }
  return result;
}

std::string to_html(const Table& table) {
  const std::vector<bool> numbers = number_columns(table);
  const auto kind = [&](std::size_t column) {
    return column < numbers.size() && numbers[column] ? " class=\"number\"" : "";
  };
  std::string html = "<div class=\"scroll\"><table class=\"data\"><thead><tr>";
  for (std::size_t column = 0; column < table.header.size(); ++column) {
    html += fmt::format("<th scope=\"col\"{}>{}</th>", kind(column), escaped(table.header[column]));
  }
  html += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (std::size_t column = 0; column < row.size(); ++column) {
      html += fmt::format("<td{}>{}</td>", kind(column), escaped(row[column]));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

Table comparison_table(const std::vector<Comparison>& comparisons, const std::string& ours) {
  Table table{.header = {"", "ours: " + ours, paper::kModelAndData}, .rows = {}};
  for (const Comparison& comparison : comparisons) {
    table.rows.push_back({comparison.what, comparison.ours, comparison.papers});
  }
  return table;
}

/// Shown at most as large as it is drawn, so that text has one size on the whole page.
std::string with_class(const std::string& svg, std::string_view name) {
  constexpr std::string_view kBox = "viewBox=\"0 0 ";
  const std::size_t box = svg.find(kBox);
  std::string width = "720";
  if (box != std::string::npos) {
    const std::size_t begin = box + kBox.size();
    width = svg.substr(begin, svg.find(' ', begin) - begin);
  }
  return fmt::format("<svg class=\"{}\" style=\"max-width:{}px\"{}", name, width, svg.substr(4));
}

std::string to_html(const Figure& figure, const std::string& label) {
  const std::string& text = figure.caption.empty() ? label : figure.caption;
  std::string html = fmt::format("<figure role=\"img\" aria-label=\"{}\">\n{}\n{}\n", escaped(text),
                                 with_class(figure.wide, "wide"), with_class(figure.narrow, "narrow"));
  if (!figure.caption.empty()) html += fmt::format("<figcaption>{}</figcaption>", escaped(figure.caption));
  return html + "</figure>\n";
}

std::string commands_html(const std::vector<std::string>& commands) {
  std::string html = "<pre>";
  for (const std::string& command : commands) html += fmt::format("<code>{}\n</code>", escaped(command));
  return html + "</pre>";
}

std::string to_html(const Item& item, const std::string& ours) {
  std::string html = fmt::format("<article id=\"{}\"><h2>{}</h2>\n", escaped(item.id), escaped(item.title));
  if (!item.absent.empty()) {
    return html + fmt::format("<p class=\"absent\">Not here: {}</p></article>\n", escaped(item.absent));
  }
  for (const Figure& figure : item.figures) html += to_html(figure, item.title);
  for (const std::string& sentence : item.sentences) html += fmt::format("<p>{}</p>\n", escaped(sentence));
  if (!item.comparisons.empty()) html += to_html(comparison_table(item.comparisons, ours));
  if (!item.without_comparison.empty()) {
    html += fmt::format("<p class=\"quiet\">{}</p>\n", escaped(item.without_comparison));
  }
  for (const Table& table : item.tables) html += to_html(table);
  if (!item.commands.empty()) {
    html += "<details><summary>how to make it again, and its data</summary>";
    if (!item.report_command.empty())
      html += commands_html({item.report_command}) + "<p class=\"quiet\">which runs</p>";
    html += commands_html(item.commands) + "<p class=\"quiet\">data: ";
    for (std::size_t i = 0; i < item.data_files.size(); ++i) {
      const std::string& file = item.data_files[i];
      html += fmt::format("{}<a href=\"{}\">{}</a>", i == 0 ? "" : ", ", escaped(file),
                          escaped(std::string_view(file).substr(file.rfind('/') + 1)));
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

std::string standalone_svg(const Figure& figure) {
  const std::size_t end = figure.wide.find('>');
  return fmt::format("{}><style>{}svg {{ background: var(--paper); font-family: system-ui, sans-serif; }}</style>{}\n",
                     figure.wide.substr(0, end), kColours, figure.wide.substr(end + 1));
}

std::string to_html(const Page& page) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{}{}</style></head><body>\n<h1>{}</h1>\n",
      escaped(page.title), kColours, kStyle, escaped(page.title));
  html += "<section id=\"summary\"><h2>Summary</h2>\n";
  for (const std::string& sentence : page.summary) html += fmt::format("<p>{}</p>\n", escaped(sentence));
  for (const Table& table : page.summary_tables) html += to_html(table);
  if (!page.recommendation.empty()) {
    html += "<div class=\"advice\"><h3>What FLAME recommends at this budget</h3>\n";
    for (const std::string& sentence : page.recommendation) {
      const std::size_t advice = std::min(sentence.find(". "), sentence.size() - 1) + 1;  // and then the reason
      html += fmt::format("<p><strong>{}</strong>{}</p>\n", escaped(sentence.substr(0, advice)),
                          escaped(sentence.substr(advice)));
    }
    html += "</div>\n";
  }
  html += to_html(page.facts) + "</section>\n<nav>";
  for (const Item& item : page.items) {
    html += fmt::format("<a href=\"#{}\">{}</a>", escaped(item.id), escaped(item.title));
  }
  html += "</nav>\n";
  for (const Item& item : page.items) html += to_html(item, page.ours);
  return html + fmt::format("<script>{}</script></body></html>\n", kScript);
}

}  // namespace flame::report
