/// Test top: buffered_loader with one memory channel, its slots and words as 32-bit numbers. A key is its expert's place in
/// memory, 16 KiB each.
module buffer_bench #(
    parameter int unsigned BankWords = 4096,
    parameter int unsigned MaxSlots = 16
) (
    input  logic         clk_i,
    input  logic         rst_ni,
    input  logic [ 31:0] slots_i,
    input  logic [ 31:0] bank_words_i,
    input  logic         drop_contradicted_i,
    input  logic         decide_i,
    input  logic [  7:0] decide_key_i,
    input  logic         decide_hold_i,
    output logic         answer_o,
    output logic [ 31:0] answer_slot_o,
    output logic [  1:0] answer_class_o,
    input  logic         pin_i,
    input  logic [ 31:0] pin_slot_i,
    input  logic         predict_i,
    input  logic [  7:0] predict_key_i,
    output logic         predict_ready_o,
    input  logic         flush_i,
    output logic         flushed_o,
    output logic [  3:0] load_active_o,
    output logic [ 31:0] demand_loads_o,
    output logic [ 31:0] prefetch_loads_o,
    output logic [ 31:0] prefetch_used_o,
    output logic [ 31:0] prefetch_dropped_o,
    input  logic [ 31:0] watch_slot_i,
    output logic         watch_active_o,
    output logic [ 31:0] watch_words_o,
    output logic         write_o,
    output logic [ 31:0] write_address_o,
    output logic [511:0] write_data_o,
    output logic         arvalid_o,
    input  logic         arready_i,
    output logic [ 63:0] araddr_o,
    output logic [  7:0] arlen_o,
    input  logic         rvalid_i,
    output logic         rready_o,
    input  logic [511:0] rdata_i,
    input  logic [  1:0] rresp_i,
    input  logic         rlast_i
);

  localparam int unsigned AddressBits = $clog2(BankWords);
  localparam int unsigned SlotBits = $clog2(MaxSlots);

  logic [SlotBits-1:0] answer_slot;
  logic [AddressBits:0] watch_words;
  logic [AddressBits-1:0] write_address;
  logic [31:0] unused_counter;
  logic [2:0] unused_beats;
  logic unused_error;

  buffered_loader #(
      .BankWords(BankWords),
      .MaxSlots (MaxSlots)
  ) u_loader (
      .clk_i,
      .rst_ni,
      .slots_i(slots_i[SlotBits:0]),
      .bank_words_i(bank_words_i[AddressBits:0]),
      .experts_i(5'd16),
      .stride_i(32'd1 << 14),
      .channel_base_i(64'd0),
      .drop_contradicted_i,
      .decide_i,
      .decide_key_i,
      .decide_count_i(1'b1),
      .decide_hold_i,
      .answer_o,
      .answer_slot_o(answer_slot),
      .answer_class_o,
      .pin_i,
      .pin_slot_i(pin_slot_i[SlotBits-1:0]),
      .predict_i,
      .predict_key_i,
      .predict_ready_o,
      .flush_i,
      .flushed_o,
      .keep_write_i(1'b0),
      .keep_layer_i(4'd0),
      .keep_data_i(128'd0),
      .load_active_o,
      .counters_clear_i(1'b0),
      .counter_select_i(6'd0),
      .counter_o(unused_counter),
      .demand_loads_o,
      .prefetch_loads_o,
      .prefetch_used_o,
      .prefetch_dropped_o,
      .watch_slot_i(watch_slot_i[SlotBits-1:0]),
      .watch_active_o,
      .watch_words_o(watch_words),
      .beats_o(unused_beats),
      .error_o(unused_error),
      .write_o,
      .write_address_o(write_address),
      .write_data_o,
      .arvalid_o,
      .arready_i,
      .araddr_o,
      .arlen_o,
      .rvalid_i,
      .rready_o,
      .rdata_i,
      .rresp_i,
      .rlast_i
  );

  assign answer_slot_o = 32'(answer_slot);
  assign watch_words_o = 32'(watch_words);
  assign write_address_o = 32'(write_address);

endmodule
