#include "flame/eval/buffer_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flame/base/byte_size.h"
#include "flame/eval/buffer_ceilings.h"

namespace flame::eval {

std::string describe_buffer(const experts::BufferedDevice& device, double decoder_seconds) {
  const experts::BufferReport report = device.whole_report();
  const experts::PipelineStatistics& p = report.pipeline;
  const BufferCeilings ceilings = buffer_ceilings(device.whole_uses(), device.bundle().grid(), report);
  const experts::LookupCounts both = p.lookups();
  std::string text = fmt::format(
      "buffer: {:.1f} % of the decoder's lookups and {:.1f} % of the encoder's were hits, over both {:.1f} % (an "
      "oracle's loading ahead: {}); for {:.1f} % nothing was loaded, neither on demand nor ahead (Belady's "
      "replacement: {:.1f} %{})",
      100.0 * p.decoder.hit_ratio(), 100.0 * p.encoder.hit_ratio(), 100.0 * both.hit_ratio(),
      ceilings.hits_are_the_runs ? "no more" : fmt::format("{:.1f} %", 100.0 * ceilings.hit_ratio),
      100.0 * both.kept_ratio(), 100.0 * ceilings.kept_ratio,
      ceilings.first_lookups > 0 ? fmt::format(" of the first {} lookups", ceilings.first_lookups) : std::string());
  text += fmt::format(
      "\nstorage: {} in {} loads on demand and {} ahead ({} broken off), busy {:.3f} s at {:.0f} MB/s, {:.3f} ms a "
      "load, {:.1f} loads queued or under way on the average; "
      "the least that had to move takes {:.3f} s; waited {:.3f} s, an oracle {}{}",
      format_byte_size(report.storage.bytes), p.loads_demand, p.loads_prefetch, p.cancelled,
      report.storage.busy_seconds, report.bytes_per_second * 1e-6, report.load_seconds * 1e3, report.queue_depth,
      ceilings.least_load_seconds, p.wait_seconds,
      ceilings.wait_is_the_runs ? "no less" : fmt::format("{:.3f} s", ceilings.wait_seconds),
      report.has_hindsight ? fmt::format(", loading on demand alone about {:.3f} s", p.on_demand_wait_seconds)
                           : std::string());
  if (report.storage.retries > 0) text += fmt::format("; {} reads were tried again", report.storage.retries);
  const DecoderBounds bounds =
      decoder_bounds(decoder_seconds, p, report.transfer_seconds, ceilings.least_decoder_loads);
  text += fmt::format(
      "\ndecoder: {:.3f} s, of which {:.3f} s were not waiting; bytes missed / bandwidth allow no buffer of this size "
      "less than {:.3f} s, and this run's own loads no less than {:.3f} s",
      decoder_seconds, bounds.resident_seconds, bounds.least_seconds, bounds.needed_seconds);
  if (report.drift.predictions > 0) {
    text += fmt::format(
        "\npredictor: {:.1f} % of {} routers chose one of the two experts named first, {:.1f} % were promised",
        100.0 * report.drift.observed, report.drift.predictions, 100.0 * report.drift.promised);
    if (report.drift.drifted()) text += ": its profile is of other text or another model, flame profile makes one anew";
  }
  if (p.passes_set_aside > 0) {
    text += fmt::format(
        "\nforecasts had cost more than they earned in {} of {} passes through a layer: there all was loaded on demand",
        p.passes_set_aside, p.passes);
  }
  return text;
}

Json buffer_json(const experts::BufferedDevice& device, double decoder_seconds) {
  const experts::BufferReport report = device.whole_report();
  const experts::PipelineStatistics& p = report.pipeline;
  const BufferCeilings ceilings = buffer_ceilings(device.whole_uses(), device.bundle().grid(), report);
  const DecoderBounds bounds =
      decoder_bounds(decoder_seconds, p, report.transfer_seconds, ceilings.least_decoder_loads);
  const auto lookups = [](const experts::LookupCounts& counts) {
    return Json{{"hits", counts.hits}, {"late", counts.late}, {"misses", counts.misses}, {"loaded", counts.loaded}};
  };
  return {{"slots", report.slots},
          {"slot_bytes", report.slot_bytes},
          {"encoder", lookups(p.encoder)},
          {"decoder", lookups(p.decoder)},
          {"hit_ratio", p.lookups().hit_ratio()},
          {"kept_ratio", p.lookups().kept_ratio()},
          {"loads_demand", p.loads_demand},
          {"loads_prefetch", p.loads_prefetch},
          {"cancelled", p.cancelled},
          {"bytes_demand", p.bytes_demand},
          {"bytes_prefetch_used", p.bytes_prefetch_used},
          {"bytes_prefetch_wasted", p.bytes_prefetch_wasted + p.bytes_prefetch_open},
          {"wait_seconds", p.wait_seconds},
          {"decoder_wait_seconds", p.decoder_wait_seconds},
          {"passes", p.passes},
          {"passes_set_aside", p.passes_set_aside},
          {"on_demand_wait_seconds", report.has_hindsight ? Json(p.on_demand_wait_seconds) : Json()},
          {"decoder_seconds", decoder_seconds},
          {"storage_bytes", report.storage.bytes},
          {"storage_busy_seconds", report.storage.busy_seconds},
          {"bytes_per_second", report.bytes_per_second},
          {"queue_depth", report.queue_depth},
          {"load_seconds", report.load_seconds},
          {"drift",
           {{"predictions", report.drift.predictions},
            {"promised", report.drift.promised},
            {"observed", report.drift.observed},
            {"z", report.drift.z},
            {"drifted", report.drift.drifted()}}},
          {"ceilings",
           {{"hit_ratio", ceilings.hit_ratio},
            {"hits_are_the_runs", ceilings.hits_are_the_runs},
            {"kept_ratio", ceilings.kept_ratio},
            {"first_lookups", ceilings.first_lookups > 0 ? Json(ceilings.first_lookups) : Json()},
            {"wait_seconds", ceilings.wait_seconds},
            {"wait_is_the_runs", ceilings.wait_is_the_runs},
            {"least_load_seconds", ceilings.least_load_seconds},
            {"resident_decoder_seconds", bounds.resident_seconds},
            {"least_decoder_seconds", bounds.least_seconds},
            {"needed_decoder_seconds", bounds.needed_seconds}}}};
}

}  // namespace flame::eval
