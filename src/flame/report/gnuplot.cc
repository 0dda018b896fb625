#include "flame/report/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <system_error>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/io/file.h"

extern char** environ;

namespace flame::report {
namespace {

/// A directory below the system's for one run of gnuplot.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "flame-chart-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw FileError(name, "cannot make a scratch directory", errno);
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;  // a left-over scratch file is no reason to lose the page
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs `gnuplot SCRIPT` with its messages in `messages`; returns its exit code.
int spawn_gnuplot(const std::filesystem::path& script, const std::filesystem::path& messages) {
  std::string program = "gnuplot";
  std::string argument = script.string();
  char* arguments[] = {program.data(), argument.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    throw DeviceError("gnuplot is needed to draw charts and cannot be run: install the package gnuplot-nox");
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// Colours that no chart uses stand for the page's until the SVG is there: red 1, green 128 + shade, blue the index; and
// for paper red 2.
constexpr int kUnshaded = 128;

/// A colour of the palette in CSS.
std::string css_colour(int index, int shade) {
  const std::string plain = fmt::format("var(--series-{})", index);
  if (shade == 0) return plain;
  return fmt::format("color-mix(in srgb,{} {}%,var({}))", plain, 100 - std::abs(shade),
                     shade < 0 ? "--paper" : "--ink");
}

/// Replaces "rgb(  1, 128,   5)" and the like.
std::string with_page_colours(const std::string& svg) {
  constexpr std::string_view kBegin = "rgb(  ";
  constexpr std::size_t kLength = 18;
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = svg.find(kBegin); at != std::string::npos; at = svg.find(kBegin, at + 1)) {
    if (at + kLength > svg.size() || svg[at + kLength - 1] != ')') continue;
    const int red = std::atoi(svg.substr(at + 4, 3).c_str());
    const int green = std::atoi(svg.substr(at + 9, 3).c_str());
    const int blue = std::atoi(svg.substr(at + 14, 3).c_str());
    if (red != 1 && red != 2) continue;
    result += svg.substr(done, at - done) + (red == 2 ? "var(--paper)" : css_colour(blue, green - kUnshaded));
    done = at + kLength;
  }
  return result + svg.substr(done);
}

void remove_between(std::string& text, std::string_view begin, std::string_view end) {
  const std::size_t first = text.find(begin);
  if (first == std::string::npos) return;
  const std::size_t last = text.find(end, first);
  if (last != std::string::npos) text.erase(first, last + end.size() - first);
}

/// gnuplot writes every state it passes through and every mark it knows: less than half of that is seen.
std::string without_ballast(std::string svg, std::string_view id) {
  for (const std::string_view default_value : {" stroke-linecap=\"butt\"", " stroke-linejoin=\"miter\"",
                                               " font-family=\"sans-serif\"", " fill-opacity = '0.900000'"}) {
    replace_all(svg, default_value, "");
  }
  // Patterns for a few characters only: std::regex recurses once a character that a match goes on for.
  svg = std::regex_replace(svg, std::regex("[ \t\n]+"), " ");
  svg = std::regex_replace(svg, std::regex("([0-9])\\.00([,' \"])"), "$1$2");  // of coordinates: a text ends in <
  replace_all(svg, "> <", "><");
  replace_all(svg, " '/>", "'/>");
  replace_all(svg, " />", "/>");
  // What nearly every group says is said once, by the page.
  replace_all(svg, R"svg(<g fill="none" color="var(--ink)" stroke="currentColor" stroke-width="1">)svg",
              "<g class=\"plain\">");
  replace_all(svg, R"svg( stroke="none" fill="var(--ink)" font-size="13")svg", " class=\"label\"");
  replace_all(svg, R"svg( class="gridline")svg", "");
  // Groups that hold nothing, and then those that held nothing else.
  constexpr std::string_view kEmpty = "></g>";
  for (std::size_t at = svg.find(kEmpty); at != std::string::npos; at = svg.find(kEmpty, at)) {
    const std::size_t begin = svg.rfind('<', at);
    if (begin != std::string::npos && svg.compare(begin, 3, "<g ") == 0) {
      svg.erase(begin, at + kEmpty.size() - begin);
      at = begin > 0 ? begin - 1 : 0;  // the group around it may be empty now
    } else {
      at += kEmpty.size();
    }
  }
  while (svg.find("<filter") != std::string::npos) {
    const std::size_t before = svg.size();
    remove_between(svg, "<filter", "</filter>");
    if (svg.size() == before) break;
  }
  // The marks that nothing uses; they use one another, hence backwards.
  for (int mark = 14; mark >= 0; --mark) {
    const std::string name = fmt::format("{}-gpPt{}", id, mark);
    const std::size_t defined = svg.find(fmt::format("id='{}'", name));
    const bool used = svg.find(fmt::format("#{}'", name)) != std::string::npos ||
                      svg.find(fmt::format("#{}\"", name)) != std::string::npos;
    if (used || defined == std::string::npos) continue;
    const std::size_t begin = svg.rfind('<', defined);
    const std::size_t end = svg.find("/>", defined);
    if (begin != std::string::npos && end != std::string::npos) svg.erase(begin, end + 2 - begin);
  }
  return svg;
}

std::string fit_for_page(std::string svg, std::string_view id) {
  const std::size_t start = svg.find("<svg");
  if (start == std::string::npos) throw DeviceError("gnuplot gave no SVG");
  svg.erase(0, start);
  remove_between(svg, "<title>", "</title>");
  remove_between(svg, "<desc>", "</desc>");
  remove_between(svg, "<rect x=\"0\" y=\"0\"", "/>");  // the background
  svg = with_page_colours(svg);
  for (const std::string_view quote : {"'", "\""}) {
    replace_all(svg, fmt::format("={}black{}", quote, quote), fmt::format("={}var(--ink){}", quote, quote));
    replace_all(svg, fmt::format("={}gray{}", quote, quote), fmt::format("={}var(--grid){}", quote, quote));
    replace_all(svg, fmt::format("={}#000000{}", quote, quote), fmt::format("={}var(--ink){}", quote, quote));
  }
  replace_all(svg, "rgb(  0,   0,   0)", "var(--ink)");
  replace_all(svg, "rgb(0,0,0)", "var(--ink)");
  replace_all(svg, "rgb(190, 190, 190)", "var(--grid)");
  // Several charts share a page, and ids must not clash there.
  for (const std::string_view name : {"gpDot", "gpPt", "textbox", "greybox", "gnuplot_", "gnuplot_canvas"}) {
    for (const std::string_view before : {"id='", "id=\"", "#"}) {
      replace_all(svg, fmt::format("{}{}", before, name), fmt::format("{}{}-{}", before, id, name));
    }
  }
  return without_ballast(std::move(svg), id);
}

}  // namespace

std::string palette_colour(std::size_t index, int shade) {
  return fmt::format("\"#01{:02x}{:02x}\"", kUnshaded + shade, index);
}

std::string paper_colour() { return "\"#020000\""; }

std::string gnuplot_string(std::string_view text) {
  std::string result = "'";
  for (const char character : text) {
    if (character == '\'') result += '\'';
    result += character;
  }
  return result + "'";
}

std::string gnuplot_tick(std::string_view text) {
  std::string result(text);
  replace_all(result, "%", "%%");
  return gnuplot_string(result);
}

std::string run_gnuplot(const std::string& script, const CanvasSize& size, std::string_view id) {
  const ScratchDirectory scratch;
  const std::filesystem::path script_path = scratch.path() / "chart.gnuplot";
  const std::filesystem::path svg_path = scratch.path() / "chart.svg";
  const std::filesystem::path messages_path = scratch.path() / "messages";
  {
    std::ofstream file(script_path);
    file << fmt::format("set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13'\nset output {}\n",
                        size.width, size.height, gnuplot_string(svg_path.string()))
         << script;
    if (!file.flush()) throw FileError(script_path, "cannot write", errno);
  }
  if (spawn_gnuplot(script_path, messages_path) != 0) {
    throw DeviceError("gnuplot refused a chart: " + io::read_file(messages_path));
  }
  return fit_for_page(io::read_file(svg_path), id);
}

}  // namespace flame::report
