/// The accelerator: control registers, sequencer, router, CEPR unit, expert buffer, loader, slot memory and expert engine.
/// `flame_kernel` wraps it with the port names that XRT expects. Lanes = `AxiBytes` rows x `Positions`.
module flame_core #(
    parameter int unsigned Positions = 1,
    parameter int unsigned Channels = 1,
    parameter int unsigned BankWords = 65536,
    parameter int unsigned MaxDModel = 1024,
    parameter int unsigned MaxDff = 4096,
    parameter int unsigned MaxExperts = 8,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned MaxSlots = 64,
    parameter int unsigned NumSequences = 64,
    parameter int unsigned MaxOrder = 4,
    parameter int unsigned TopK = 4,
    parameter int unsigned TableAddressBits = 16,
    parameter int unsigned BurstBeats = 64,
    parameter int unsigned AxiBytes = 64
) (
    input  logic                    clk_i,
    input  logic                    rst_ni,
    output logic                    interrupt_o,
    // AXI4-Lite control.
    input  logic                    s_awvalid_i,
    output logic                    s_awready_o,
    input  logic [            11:0] s_awaddr_i,
    input  logic                    s_wvalid_i,
    output logic                    s_wready_o,
    input  logic [            31:0] s_wdata_i,
    input  logic [             3:0] s_wstrb_i,
    output logic                    s_bvalid_o,
    input  logic                    s_bready_i,
    output logic [             1:0] s_bresp_o,
    input  logic                    s_arvalid_i,
    output logic                    s_arready_o,
    input  logic [            11:0] s_araddr_i,
    output logic                    s_rvalid_o,
    input  logic                    s_rready_i,
    output logic [            31:0] s_rdata_o,
    output logic [             1:0] s_rresp_o,
    // AXI4 read channels of the weights.
    output logic [    Channels-1:0] m_arvalid_o,
    input  logic [    Channels-1:0] m_arready_i,
    output logic [ 64*Channels-1:0] m_araddr_o,
    output logic [  8*Channels-1:0] m_arlen_o,
    input  logic [    Channels-1:0] m_rvalid_i,
    output logic [    Channels-1:0] m_rready_o,
    input  logic [8*AxiBytes*Channels-1:0] m_rdata_i,
    input  logic [  2*Channels-1:0] m_rresp_i,
    input  logic [    Channels-1:0] m_rlast_i,
    // AXI4 of commands, tokens and results.
    output logic                    h_arvalid_o,
    input  logic                    h_arready_i,
    output logic [            63:0] h_araddr_o,
    output logic [             7:0] h_arlen_o,
    input  logic                    h_rvalid_i,
    output logic                    h_rready_o,
    input  logic [    8*AxiBytes-1:0] h_rdata_i,
    input  logic [             1:0] h_rresp_i,
    input  logic                    h_rlast_i,
    output logic                    h_awvalid_o,
    input  logic                    h_awready_i,
    output logic [            63:0] h_awaddr_o,
    output logic [             7:0] h_awlen_o,
    output logic                    h_wvalid_o,
    input  logic                    h_wready_i,
    output logic [    8*AxiBytes-1:0] h_wdata_o,
    output logic                    h_wlast_o,
    input  logic                    h_bvalid_i,
    output logic                    h_bready_o,
    input  logic [             1:0] h_bresp_i
);

  localparam int unsigned AddressBits = $clog2(BankWords);
  localparam int unsigned SlotBits = $clog2(MaxSlots);
  localparam int unsigned LayerBits = $clog2(MaxLayers);
  localparam int unsigned ExpertBits = $clog2(MaxExperts);
  localparam int unsigned SequenceBits = $clog2(NumSequences);
  localparam int unsigned RouterBeatBits = $clog2(4 * MaxDModel / AxiBytes);
  localparam int unsigned TokenBeatBits = $clog2(MaxDModel / AxiBytes);
  localparam int unsigned TableBeatBits = TableAddressBits - $clog2(AxiBytes / 4);
  localparam int unsigned LineBeatBits = $clog2(flame_pkg::LineBytes / AxiBytes);
  localparam int unsigned NumContexts = 4;

  // ---- Control.
  logic start, done, idle;
  logic [32*32-1:0] arguments;
  logic [11:0] status_address;
  logic [31:0] status_data;
  control_registers u_control (
      .clk_i,
      .rst_ni,
      .awvalid_i(s_awvalid_i),
      .awready_o(s_awready_o),
      .awaddr_i(s_awaddr_i),
      .wvalid_i(s_wvalid_i),
      .wready_o(s_wready_o),
      .wdata_i(s_wdata_i),
      .wstrb_i(s_wstrb_i),
      .bvalid_o(s_bvalid_o),
      .bready_i(s_bready_i),
      .bresp_o(s_bresp_o),
      .arvalid_i(s_arvalid_i),
      .arready_o(s_arready_o),
      .araddr_i(s_araddr_i),
      .rvalid_o(s_rvalid_o),
      .rready_i(s_rready_i),
      .rdata_o(s_rdata_o),
      .rresp_o(s_rresp_o),
      .interrupt_o,
      .start_o(start),
      .done_i(done),
      .idle_i(idle),
      .arguments_o(arguments),
      .status_address_o(status_address),
      .status_data_i(status_data)
  );

  logic [63:0] commands;
  logic [64*4-1:0] bases;
  logic [31:0] command_count, shape, steps, header_words, bank_words, stride, slots, predictor, flags;
  assign commands = arguments[32*0+:64];
  assign bases = {arguments[32*12+:64], arguments[32*9+:64], arguments[32*6+:64], arguments[32*3+:64]};
  assign command_count = arguments[32*15+:32];
  assign shape = arguments[32*17+:32];
  assign steps = arguments[32*19+:32];
  assign header_words = arguments[32*21+:32];
  assign bank_words = arguments[32*23+:32];
  assign stride = arguments[32*25+:32];
  assign slots = arguments[32*27+:32];
  assign predictor = arguments[32*29+:32];
  assign flags = arguments[32*31+:32];

  logic [7:0] model_blocks, ff_blocks;
  logic [1:0] log2_n, log2_m;
  logic [4:0] experts, layers;
  logic [2:0] order, expert_bits, prefetch_count;
  logic [LayerBits-1:0] path_layers;
  logic drop_contradicted, slots_fit;
  assign model_blocks = shape[7:0];
  assign ff_blocks = shape[15:8];
  assign log2_n = shape[17:16];
  assign log2_m = shape[19:18];
  assign experts = shape[28:24];
  assign order = predictor[2:0];
  assign expert_bits = predictor[6:4];
  assign prefetch_count = predictor[10:8];
  assign path_layers = LayerBits'(predictor[15:12]);
  assign drop_contradicted = predictor[16];
  assign layers = predictor[24:20];
  // Products of what the operands hold once they are in range, not of whole registers: each is one or two multipliers.
  // The image that arguments describe is the one that the engine reads: steps of a block are its kept weights over Positions.
  // Registered, as what they are made of is written long before a start.
  localparam int unsigned PositionBits = $clog2(Positions);
  logic shape_fits_q, predictor_fits_q;
  logic [1:0] fold;  // log2 of what the pattern leaves out
  assign fold = log2_m - log2_n;
  always_ff @(posedge clk_i) begin
    shape_fits_q <= log2_n <= log2_m && !bank_words[0] && stride[11:0] == '0 &&
                    (20'(steps[12:0]) << (5'(fold) + 5'(PositionBits))) == {6'd0, model_blocks, 6'd0} &&
                    (20'(steps[28:16]) << (5'(fold) + 5'(PositionBits))) == {6'd0, ff_blocks, 6'd0} &&
                    header_words == ((32'(ff_blocks) << (LineBeatBits + 1)) + 32'(Positions - 1)) >> PositionBits;
    predictor_fits_q <= order <= 3'(MaxOrder) && predictor[15:12] != '0 && {1'b0, predictor[15:12]} <= layers &&
                        expert_bits != '0 && expert_bits <= 3'd4 && experts <= 5'd1 << expert_bits;
  end
  assign slots_fit = slots <= MaxSlots && bank_words <= BankWords &&
                     slots[SlotBits:0] * (SlotBits + AddressBits + 2)'(bank_words[AddressBits:0]) <=
                         (SlotBits + AddressBits + 2)'(BankWords);

  // ---- Sequencer and host port.
  logic [7:0] error_code;
  logic [23:0] command_index;
  logic [3:0] cycle_kind;
  logic read, read_ready, data_valid, read_error, load_error;
  logic [63:0] read_address;
  logic [15:0] read_beats;
  logic [8*AxiBytes-1:0] data;
  logic write, write_ready, write_idle, write_data_valid, write_data_ready, write_error;
  logic [63:0] write_address;
  logic [15:0] write_beats;
  logic [8*AxiBytes-1:0] write_data;
  logic router_write, router_start, router_beat_valid, router_done;
  logic [LayerBits-1:0] layer;
  logic [ExpertBits-1:0] router_write_expert, router_choice;
  logic [RouterBeatBits-1:0] router_beat;
  logic [32*MaxExperts-1:0] router_logits;
  logic table_write, sequence_clear, sequence_copy, observe, observe_ready;
  logic [TableBeatBits-1:0] table_beat;
  logic [SequenceBits-1:0] sequence_source, sequence_id;
  logic decide, decide_count, decide_hold, answer, pin;
  logic [7:0] decide_key, hint_key;
  logic [SlotBits-1:0] answer_slot, run_slot;
  logic [1:0] answer_class;
  logic hint, hint_ready, flush, flushed, keep_write;
  logic [2:0] ranked_left_q;
  logic [3:0] keep_layer;
  logic token_write, engine_start, engine_done, engine_busy, engine_issue, engine_starved;
  logic [TokenBeatBits-1:0] token_beat;
  logic [31:0] hidden_maximum;
  logic result_read;
  logic [RouterBeatBits-1:0] result_beat;
  logic [RouterBeatBits:0] result_beats;
  logic [8*AxiBytes-1:0] result_data;

  sequencer #(
      .MaxExperts(MaxExperts),
      .MaxLayers(MaxLayers),
      .MaxDModel(MaxDModel),
      .MaxDff(MaxDff),
      .MaxSlots(MaxSlots),
      .NumSequences(NumSequences),
      .TableAddressBits(TableAddressBits),
      .AxiBytes(AxiBytes)
  ) u_sequencer (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .done_o(done),
      .idle_o(idle),
      .error_o(error_code),
      .command_index_o(command_index),
      .cycle_kind_o(cycle_kind),
      .commands_i(commands),
      .command_count_i(command_count[23:0]),
      .model_blocks_i(model_blocks),
      .ff_blocks_i(ff_blocks),
      .experts_i(experts),
      .layers_i(layers),
      .slots_i(slots),
      .slots_fit_i(slots_fit),
      .shape_fits_i(shape_fits_q),
      .predictor_fits_i(predictor_fits_q),
      .read_o(read),
      .read_ready_i(read_ready),
      .read_address_o(read_address),
      .read_beats_o(read_beats),
      .data_valid_i(data_valid),
      .data_i(data),
      .write_o(write),
      .write_ready_i(write_ready),
      .write_idle_i(write_idle),
      .write_address_o(write_address),
      .write_beats_o(write_beats),
      .write_data_valid_o(write_data_valid),
      .write_data_ready_i(write_data_ready),
      .write_data_o(write_data),
      .read_error_i(read_error),
      .load_error_i(load_error),
      .write_error_i(write_error),
      .router_write_o(router_write),
      .router_layer_o(layer),
      .router_expert_o(router_write_expert),
      .router_beat_o(router_beat),
      .router_start_o(router_start),
      .router_beat_valid_o(router_beat_valid),
      .router_done_i(router_done),
      .router_choice_i(router_choice),
      .router_logits_i(router_logits),
      .table_write_o(table_write),
      .table_beat_o(table_beat),
      .sequence_clear_o(sequence_clear),
      .sequence_copy_o(sequence_copy),
      .sequence_source_o(sequence_source),
      .sequence_o(sequence_id),
      .observe_o(observe),
      .observe_ready_i(observe_ready),
      .decide_o(decide),
      .decide_key_o(decide_key),
      .decide_count_o(decide_count),
      .decide_hold_o(decide_hold),
      .answer_i(answer),
      .answer_slot_i(answer_slot),
      .answer_class_i(answer_class),
      .pin_o(pin),
      .slot_o(run_slot),
      .prefetch_o(hint),
      .prefetch_key_o(hint_key),
      .prefetch_ready_i(hint_ready && ranked_left_q == '0),
      .flush_o(flush),
      .flushed_i(flushed),
      .keep_write_o(keep_write),
      .keep_layer_o(keep_layer),
      .token_write_o(token_write),
      .token_beat_o(token_beat),
      .engine_start_o(engine_start),
      .engine_done_i(engine_done),
      .engine_issue_i(engine_issue),
      .engine_starved_i(engine_starved),
      .hidden_maximum_i(hidden_maximum),
      .result_beats_i(result_beats),
      .result_read_o(result_read),
      .result_beat_o(result_beat),
      .result_data_i(result_data)
  );

  host_port #(
      .AxiBytes(AxiBytes)
  ) u_host (
      .clk_i,
      .rst_ni,
      .read_i(read),
      .read_ready_o(read_ready),
      .read_address_i(read_address),
      .read_beats_i(read_beats),
      .data_valid_o(data_valid),
      .data_o(data),
      .read_error_o(read_error),
      .write_i(write),
      .write_ready_o(write_ready),
      .write_idle_o(write_idle),
      .write_address_i(write_address),
      .write_beats_i(write_beats),
      .write_data_valid_i(write_data_valid),
      .write_data_ready_o(write_data_ready),
      .write_data_i(write_data),
      .write_error_o(write_error),
      .arvalid_o(h_arvalid_o),
      .arready_i(h_arready_i),
      .araddr_o(h_araddr_o),
      .arlen_o(h_arlen_o),
      .rvalid_i(h_rvalid_i),
      .rready_o(h_rready_o),
      .rdata_i(h_rdata_i),
      .rresp_i(h_rresp_i),
      .rlast_i(h_rlast_i),
      .awvalid_o(h_awvalid_o),
      .awready_i(h_awready_i),
      .awaddr_o(h_awaddr_o),
      .awlen_o(h_awlen_o),
      .wvalid_o(h_wvalid_o),
      .wready_i(h_wready_i),
      .wdata_o(h_wdata_o),
      .wlast_o(h_wlast_o),
      .bvalid_i(h_bvalid_i),
      .bready_o(h_bready_o),
      .bresp_i(h_bresp_i)
  );

  router #(
      .MaxExperts(MaxExperts),
      .MaxLayers(MaxLayers),
      .MaxDModel(MaxDModel),
      .AxiBytes(AxiBytes)
  ) u_router (
      .clk_i,
      .rst_ni,
      .experts_i(experts[ExpertBits:0]),
      .beats_i((RouterBeatBits + 1)'({model_blocks, 2'b00}) << LineBeatBits),
      .write_i(router_write),
      .write_layer_i(layer),
      .write_expert_i(router_write_expert),
      .write_beat_i(router_beat),
      .write_data_i(data),
      .start_i(router_start),
      .layer_i(layer),
      .beat_valid_i(router_beat_valid),
      .beat_data_i(data),
      .done_o(router_done),
      .expert_o(router_choice),
      .logits_o(router_logits)
  );

  // ---- Prediction: the first `prefetch_count` of the ranked list go to the expert buffer, one a cycle. Where the rows of a
  // batch decide faster than the buffer takes guesses, the newest list replaces what is left of the one before.
  logic predicted, predicted_nothing;
  logic [LayerBits-1:0] predicted_layer;
  logic [4*TopK-1:0] ranked, ranked_q;
  logic [LayerBits-1:0] ranked_layer_q;
  cepr #(
      .NumSequences(NumSequences),
      .MaxOrder(MaxOrder),
      .TopK(TopK),
      .MaxLayers(MaxLayers),
      .TableAddressBits(TableAddressBits),
      .AxiBytes(AxiBytes)
  ) u_cepr (
      .clk_i,
      .rst_ni,
      .order_i(order),
      .expert_bits_i(expert_bits),
      .layers_i(path_layers),
      .write_i(table_write),
      .write_beat_i(table_beat),
      .write_data_i(data),
      .clear_i(sequence_clear),
      .copy_i(sequence_copy),
      .copy_source_i(sequence_source),
      .sequence_i(sequence_id),
      .observe_i(observe),
      .layer_i(layer),
      .expert_i(decide_key[3:0]),
      .ready_o(observe_ready),
      .predict_o(predicted),
      .none_o(predicted_nothing),
      .predict_layer_o(predicted_layer),
      .ranked_o(ranked)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ranked_left_q  <= '0;
      ranked_q       <= '0;
      ranked_layer_q <= '0;
    end else if (predicted) begin
      ranked_left_q  <= (prefetch_count > 3'(TopK)) ? 3'(TopK) : prefetch_count;
      ranked_q       <= ranked;
      ranked_layer_q <= predicted_layer;
    end else if (ranked_left_q != '0 && hint_ready) begin
      ranked_left_q <= ranked_left_q - 1'b1;
      ranked_q      <= ranked_q >> 4;
    end
  end

  // ---- Expert buffer and loader.
  logic [NumContexts-1:0] load_active;
  logic [31:0] class_counter, demand_loads, prefetch_loads, prefetch_used, prefetch_dropped;
  logic predict_valid, watch_active;
  logic [AddressBits:0] watch_words, available;
  logic [2:0] load_beats;
  logic [Positions-1:0] slot_write;
  logic [AddressBits*Positions-1:0] slot_write_address;
  logic [8*AxiBytes*Positions-1:0] slot_write_data;
  logic [AddressBits-1:0] run_base_q;
  assign predict_valid = ranked_left_q != '0 || hint;
  buffered_loader #(
      .NumContexts(NumContexts),
      .Channels(Channels),
      .Positions(Positions),
      .BankWords(BankWords),
      .MaxSlots(MaxSlots),
      .MaxLayers(MaxLayers),
      .BurstBeats(BurstBeats),
      .AxiBytes(AxiBytes)
  ) u_loader (
      .clk_i,
      .rst_ni,
      .slots_i(slots[SlotBits:0]),
      .bank_words_i(bank_words[AddressBits:0]),
      .experts_i(experts),
      .stride_i(stride),
      .channel_base_i(bases[64*Channels-1:0]),
      .drop_contradicted_i(drop_contradicted),
      .decide_i(decide),
      .decide_key_i(decide_key),
      .decide_count_i(decide_count),
      .decide_hold_i(decide_hold),
      .answer_o(answer),
      .answer_slot_o(answer_slot),
      .answer_class_o(answer_class),
      .pin_i(pin),
      .pin_slot_i(run_slot),
      .predict_i(predict_valid),
      .predict_key_i(ranked_left_q != '0 ? {4'(ranked_layer_q), ranked_q[3:0]} : hint_key),
      .predict_ready_o(hint_ready),
      .flush_i(flush),
      .flushed_o(flushed),
      .keep_write_i(keep_write),
      .keep_layer_i(keep_layer),
      .keep_data_i(data[127:0]),
      .load_active_o(load_active),
      .counters_clear_i(start && flags[0]),
      .counter_select_i(status_address[7:2]),
      .counter_o(class_counter),
      .demand_loads_o(demand_loads),
      .prefetch_loads_o(prefetch_loads),
      .prefetch_used_o(prefetch_used),
      .prefetch_dropped_o(prefetch_dropped),
      .watch_slot_i(run_slot),
      .watch_active_o(watch_active),
      .watch_words_o(watch_words),
      .beats_o(load_beats),
      .error_o(load_error),
      .write_o(slot_write),
      .write_address_o(slot_write_address),
      .write_data_o(slot_write_data),
      .arvalid_o(m_arvalid_o),
      .arready_i(m_arready_i),
      .araddr_o(m_araddr_o),
      .arlen_o(m_arlen_o),
      .rvalid_i(m_rvalid_i),
      .rready_o(m_rready_o),
      .rdata_i(m_rdata_i),
      .rresp_i(m_rresp_i),
      .rlast_i(m_rlast_i)
  );

  // ---- Engine and slots. The progress of the run's slot is known three cycles after the answer; the run starts then.
  logic [2:0] start_delay_q;
  logic read_even, read_odd;
  logic [AddressBits-2:0] read_even_address, read_odd_address;
  logic [8*AxiBytes*Positions-1:0] read_even_data, read_odd_data;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) start_delay_q <= '0;
    else start_delay_q <= {start_delay_q[1:0], engine_start};
  end
  always_ff @(posedge clk_i) begin
    run_base_q <= AddressBits'(run_slot) * bank_words[AddressBits-1:0];
  end
  // Flag 1, for comparison: an expert does not compute before it is whole.
  assign available = !watch_active ? bank_words[AddressBits:0] : flags[1] ? '0 : watch_words;

  expert_engine #(
      .Positions(Positions),
      .MaxDModel(MaxDModel),
      .MaxDff(MaxDff),
      .BankWords(BankWords),
      .AxiBytes(AxiBytes)
  ) u_engine (
      .clk_i,
      .rst_ni,
      .log2_n_i(log2_n),
      .log2_m_i(log2_m),
      .input_blocks_i(ff_blocks),
      .input_steps_i(steps[12:0]),
      .output_blocks_i(model_blocks),
      .output_steps_i(steps[28:16]),
      .header_words_i(header_words[9:0]),
      .start_i(start_delay_q[2]),
      .base_i(run_base_q),
      .available_i(available),
      .busy_o(engine_busy),
      .done_o(engine_done),
      .hidden_maximum_o(hidden_maximum),
      .issue_o(engine_issue),
      .starved_o(engine_starved),
      .token_write_i(token_write),
      .token_beat_i(token_beat),
      .token_data_i(data),
      .read_even_o(read_even),
      .read_even_address_o(read_even_address),
      .read_even_data_i(read_even_data),
      .read_odd_o(read_odd),
      .read_odd_address_o(read_odd_address),
      .read_odd_data_i(read_odd_data),
      .result_beats_o(result_beats),
      .result_read_i(result_read),
      .result_beat_i(result_beat),
      .result_data_o(result_data)
  );

  for (genvar p = 0; p < Positions; p++) begin : g_bank
    slot_memory #(
        .Words(BankWords),
        .AxiBytes(AxiBytes)
    ) u_bank (
        .clk_i,
        .write_i(slot_write[p]),
        .write_address_i(slot_write_address[AddressBits*p+:AddressBits]),
        .write_data_i(slot_write_data[8*AxiBytes*p+:8*AxiBytes]),
        .read_even_i(read_even),
        .read_even_address_i(read_even_address),
        .read_even_data_o(read_even_data[8*AxiBytes*p+:8*AxiBytes]),
        .read_odd_i(read_odd),
        .read_odd_address_i(read_odd_address),
        .read_odd_data_o(read_odd_data[8*AxiBytes*p+:8*AxiBytes])
    );
  end

  // ---- Counters. Every cycle goes to exactly one kind.
  logic [63:0] cycles_q[flame_pkg::NumCycleKinds];
  logic [63:0] load_beats_q, read_beats_q, write_beats_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || (start && flags[0])) begin
      for (int unsigned k = 0; k < flame_pkg::NumCycleKinds; k++) cycles_q[k] <= '0;
      load_beats_q  <= '0;
      read_beats_q  <= '0;
      write_beats_q <= '0;
    end else begin
      cycles_q[cycle_kind] <= cycles_q[cycle_kind] + 1'b1;
      load_beats_q <= load_beats_q + 64'(load_beats);
      if (data_valid) read_beats_q <= read_beats_q + 1'b1;
      if (h_wvalid_o && h_wready_i) write_beats_q <= write_beats_q + 1'b1;
    end
  end

  logic [63:0] cycle_counter, wide_counter;
  always_comb begin
    cycle_counter = (32'(status_address[6:3]) < flame_pkg::NumCycleKinds) ? cycles_q[status_address[6:3]] : 64'd0;
    unique case (status_address[6:3])
      4'd0: wide_counter = load_beats_q;
      4'd1: wide_counter = 64'(demand_loads);
      4'd2: wide_counter = 64'(prefetch_loads);
      4'd3: wide_counter = 64'(prefetch_used);
      4'd4: wide_counter = 64'(prefetch_dropped);
      4'd5: wide_counter = read_beats_q;
      4'd6: wide_counter = write_beats_q;
      default: wide_counter = 64'd0;
    endcase
    status_data = 32'd0;
    unique case (status_address[11:8])
      4'h0: begin
        unique case (status_address[7:0])
          8'h90: status_data = {command_index, error_code};
          8'h94: status_data = {8'(MaxExperts), 8'(MaxSlots), 8'(Channels), 8'(Positions)};
          8'h98: status_data = 32'(BankWords);
          8'h9C: status_data = {8'(NumSequences), 8'(MaxLayers), 8'(MaxDff / 64), 8'(MaxDModel / 64)};
          8'hA0: status_data = 32'hF1A3_0001;
          8'hA4: status_data = {8'(TopK), 8'(MaxOrder), 8'(TableAddressBits), 8'(BurstBeats)};
          8'hA8: status_data = {27'd0, engine_busy, load_active};
          8'hAC: status_data = 32'(AxiBytes);
          default: status_data = 32'd0;
        endcase
      end
      4'h1: begin
        if (status_address[7]) status_data = status_address[2] ? wide_counter[63:32] : wide_counter[31:0];
        else status_data = status_address[2] ? cycle_counter[63:32] : cycle_counter[31:0];
      end
      4'h2: status_data = class_counter;
      default: status_data = 32'd0;
    endcase
  end

`ifndef SYNTHESIS
  // Addresses are put together from bits, so these have to be powers of two.
  initial begin
    assert (AxiBytes == 16 || AxiBytes == 32 || AxiBytes == 64) else $fatal(1, "flame_core: AxiBytes");
    assert ($onehot(Positions) && $onehot(Channels) && Channels <= Positions) else $fatal(1, "flame_core: Channels, Positions");
    assert ($onehot(MaxDModel) && MaxDModel >= 128 && $onehot(MaxDff) && MaxDff >= MaxDModel) else $fatal(1, "flame_core: MaxDModel, MaxDff");
    assert ($onehot(MaxExperts) && MaxExperts >= 2 && MaxExperts <= 16) else $fatal(1, "flame_core: MaxExperts");
    assert ($onehot(MaxSlots) && $onehot(NumSequences)) else $fatal(1, "flame_core: MaxSlots, NumSequences");
    assert ($onehot(BurstBeats) && BurstBeats >= 4 && BurstBeats <= 64) else $fatal(1, "flame_core: BurstBeats");
    assert (MaxLayers >= 2 && MaxLayers <= 16 && BankWords % 2 == 0) else $fatal(1, "flame_core: MaxLayers, BankWords");
  end
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(engine_start && engine_busy)) else $error("flame_core: a run before the last one ended");
    end
  end
`endif

endmodule
