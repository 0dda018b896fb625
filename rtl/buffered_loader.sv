/// The expert buffer and the loader that it commands: decisions and predictions in, words for the slot memory out.
/// An expert's image starts at `key`'s place in every channel (layer * experts + expert, `stride_i` bytes each) and at
/// slot * bank words in every bank.
module buffered_loader #(
    parameter int unsigned NumContexts = 4,
    parameter int unsigned Channels = 1,
    parameter int unsigned Positions = 1,
    parameter int unsigned BankWords = 4096,
    parameter int unsigned MaxSlots = 64,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned BurstBeats = 64,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned AddressBits = $clog2(BankWords),
    localparam int unsigned SlotBits = $clog2(MaxSlots),
    localparam int unsigned ContextBits = $clog2(NumContexts)
) (
    input  logic                             clk_i,
    input  logic                             rst_ni,
    // The model, and how many slots it has.
    input  logic [               SlotBits:0] slots_i,
    input  logic [            AddressBits:0] bank_words_i,
    input  logic [                      4:0] experts_i,
    input  logic [                     31:0] stride_i,
    input  logic [          64*Channels-1:0] channel_base_i,
    input  logic                             drop_contradicted_i,
    // A decision; see expert_buffer.
    input  logic                             decide_i,
    input  logic [                      7:0] decide_key_i,
    input  logic                             decide_count_i,
    input  logic                             decide_hold_i,
    output logic                             answer_o,
    output logic [             SlotBits-1:0] answer_slot_o,
    output logic [                      1:0] answer_class_o,
    input  logic                             pin_i,
    input  logic [             SlotBits-1:0] pin_slot_i,
    input  logic                             predict_i,
    input  logic [                      7:0] predict_key_i,
    output logic                             predict_ready_o,
    input  logic                             flush_i,
    output logic                             flushed_o,
    input  logic                             keep_write_i,
    input  logic [                      3:0] keep_layer_i,
    input  logic [                    127:0] keep_data_i,
    output logic [          NumContexts-1:0] load_active_o,
    // Counters.
    input  logic                             counters_clear_i,
    input  logic [                      5:0] counter_select_i,
    output logic [                     31:0] counter_o,
    output logic [                     31:0] demand_loads_o,
    output logic [                     31:0] prefetch_loads_o,
    output logic [                     31:0] prefetch_used_o,
    output logic [                     31:0] prefetch_dropped_o,
    // Progress of the slot that the engine runs.
    input  logic [             SlotBits-1:0] watch_slot_i,
    output logic                             watch_active_o,
    output logic [            AddressBits:0] watch_words_o,
    output logic [                      2:0] beats_o,
    output logic                             error_o,
    // Slot memory, per bank.
    output logic [            Positions-1:0] write_o,
    output logic [AddressBits*Positions-1:0] write_address_o,
    output logic [8*AxiBytes*Positions-1:0] write_data_o,
    // AXI4 read channels.
    output logic [             Channels-1:0] arvalid_o,
    input  logic [             Channels-1:0] arready_i,
    output logic [          64*Channels-1:0] araddr_o,
    output logic [           8*Channels-1:0] arlen_o,
    input  logic [             Channels-1:0] rvalid_i,
    output logic [             Channels-1:0] rready_o,
    input  logic [8*AxiBytes*Channels-1:0] rdata_i,
    input  logic [           2*Channels-1:0] rresp_i,
    input  logic [             Channels-1:0] rlast_i
);

  logic load, load_ready, load_demand, promote, abort, finished, dropped;
  logic [SlotBits-1:0] load_slot, promote_slot, ended_slot;
  logic [7:0] load_key, ended_key;
  logic [ContextBits-1:0] abort_context;
  logic [NumContexts-1:0] load_active, load_is_demand, load_aborting;
  logic [8*NumContexts-1:0] load_keys;
  logic [SlotBits*NumContexts-1:0] load_slots;
  logic [AddressBits-1:0] load_base;
  logic [63:0] load_offset;

  expert_buffer #(
      .MaxSlots(MaxSlots),
      .MaxLayers(MaxLayers),
      .NumContexts(NumContexts)
  ) u_buffer (
      .clk_i,
      .rst_ni,
      .slots_i,
      .drop_contradicted_i,
      .decide_i,
      .decide_key_i,
      .decide_count_i,
      .decide_hold_i,
      .answer_o,
      .answer_slot_o,
      .answer_class_o,
      .pin_i,
      .pin_slot_i,
      .predict_i,
      .predict_key_i,
      .predict_ready_o,
      .flush_i,
      .flushed_o,
      .keep_write_i,
      .keep_layer_i,
      .keep_data_i,
      .load_o(load),
      .load_ready_i(load_ready),
      .load_demand_o(load_demand),
      .load_slot_o(load_slot),
      .load_key_o(load_key),
      .promote_o(promote),
      .promote_slot_o(promote_slot),
      .abort_o(abort),
      .abort_context_o(abort_context),
      .load_active_i(load_active),
      .load_is_demand_i(load_is_demand),
      .load_aborting_i(load_aborting),
      .load_key_i(load_keys),
      .load_in_slot_i(load_slots),
      .finished_i(finished),
      .dropped_i(dropped),
      .ended_slot_i(ended_slot),
      .ended_key_i(ended_key),
      .counters_clear_i,
      .counter_select_i,
      .counter_o,
      .demand_loads_o,
      .prefetch_loads_o,
      .prefetch_used_o,
      .prefetch_dropped_o
  );

  logic [7:0] load_place;  // at most 12 layers of 16 experts
  assign load_base = AddressBits'(load_slot) * bank_words_i[AddressBits-1:0];
  assign load_place = 8'(load_key[7:4]) * 8'(experts_i) + 8'(load_key[3:0]);
  assign load_offset = 64'(40'(load_place) * 40'(stride_i));
  loader #(
      .NumContexts(NumContexts),
      .Channels(Channels),
      .Positions(Positions),
      .BankWords(BankWords),
      .MaxSlots(MaxSlots),
      .BurstBeats(BurstBeats),
      .AxiBytes(AxiBytes)
  ) u_loader (
      .clk_i,
      .rst_ni,
      .channel_base_i,
      .bank_words_i,
      .start_i(load),
      .ready_o(load_ready),
      .demand_i(load_demand),
      .slot_i(load_slot),
      .base_i(load_base),
      .key_i(load_key),
      .offset_i(load_offset),
      .promote_i(promote),
      .promote_slot_i(promote_slot),
      .abort_i(abort),
      .abort_context_i(abort_context),
      .active_o(load_active),
      .demand_o(load_is_demand),
      .abort_o(load_aborting),
      .key_o(load_keys),
      .slot_o(load_slots),
      .finished_o(finished),
      .dropped_o(dropped),
      .ended_slot_o(ended_slot),
      .ended_key_o(ended_key),
      .watch_slot_i,
      .watch_active_o,
      .watch_words_o,
      .beats_o,
      .error_o,
      .write_o,
      .write_address_o,
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

  assign load_active_o = load_active;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && load && load_ready) begin
      assert ((64'(load_slot) + 64'd1) * 64'(bank_words_i) <= 64'(BankWords)) else $error("buffered_loader: a slot beyond the bank");
      assert (stride_i[11:0] == '0 && !load_base[0]) else $error("buffered_loader: an expert that is not aligned");
    end
  end
`endif

endmodule
