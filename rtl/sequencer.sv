/// Runs the command list: fetches commands eight at a time, brings tokens to router and engine, asks the expert buffer, starts
/// the engine, tells the predictor, writes results. One command at a time: a layer's result is in memory before the next
/// command begins, as a decoder's data dependence demands. The sums of finished rows are written while the last block of
/// rows is still computed; the record about the command, which lies before them, comes last.
/// An error of a load, whenever it comes, is reported by the run at hand or by the next one, which then does nothing else; the
/// run does not end before the buffer has forgotten all slots, so that no expert of broken words is ever a hit.
module sequencer #(
    parameter int unsigned MaxExperts = 8,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned MaxDModel = 1024,
    parameter int unsigned MaxDff = 4096,
    parameter int unsigned MaxSlots = 64,
    parameter int unsigned NumSequences = 64,
    parameter int unsigned TableAddressBits = 16,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Words = AxiBytes / 4,  // 32-bit words of a beat
    localparam int unsigned SlotBits = $clog2(MaxSlots),
    localparam int unsigned LayerBits = $clog2(MaxLayers),
    localparam int unsigned ExpertBits = $clog2(MaxExperts),
    localparam int unsigned SequenceBits = $clog2(NumSequences),
    localparam int unsigned RouterBeatBits = $clog2(MaxDModel / Words),
    localparam int unsigned TokenBeatBits = $clog2(MaxDModel / AxiBytes),
    localparam int unsigned TableBeatBits = TableAddressBits - $clog2(Words)
) (
    input  logic                          clk_i,
    input  logic                          rst_ni,
    input  logic                          start_i,
    output logic                          done_o,
    output logic                          idle_o,
    output logic [                   7:0] error_o,
    output logic [                  23:0] command_index_o,
    output logic [                   3:0] cycle_kind_o,
    // Arguments.
    input  logic [                  63:0] commands_i,
    input  logic [                  23:0] command_count_i,
    input  logic [                   7:0] model_blocks_i,        // d_model / 64
    input  logic [                   7:0] ff_blocks_i,
    input  logic [                   4:0] experts_i,
    input  logic [                   4:0] layers_i,
    input  logic [                  31:0] slots_i,
    input  logic                          slots_fit_i,           // slots * bank words <= capacity
    input  logic                          shape_fits_i,          // pattern, steps and sizes are those of one image
    input  logic                          predictor_fits_i,      // order, layers and bits are in range
    // Host port.
    output logic                          read_o,
    input  logic                          read_ready_i,
    output logic [                  63:0] read_address_o,
    output logic [                  15:0] read_beats_o,
    input  logic                          data_valid_i,
    input  logic [        8*AxiBytes-1:0] data_i,
    output logic                          write_o,
    input  logic                          write_ready_i,
    input  logic                          write_idle_i,          // no write is on its way
    output logic [                  63:0] write_address_o,
    output logic [                  15:0] write_beats_o,
    output logic                          write_data_valid_o,
    input  logic                          write_data_ready_i,
    output logic [        8*AxiBytes-1:0] write_data_o,
    input  logic                          read_error_i,
    input  logic                          load_error_i,          // of the loader's reads
    input  logic                          write_error_i,
    // Router.
    output logic                          router_write_o,
    output logic [         LayerBits-1:0] router_layer_o,
    output logic [        ExpertBits-1:0] router_expert_o,
    output logic [    RouterBeatBits-1:0] router_beat_o,
    output logic                          router_start_o,
    output logic                          router_beat_valid_o,
    input  logic                          router_done_i,
    input  logic [        ExpertBits-1:0] router_choice_i,
    input  logic [     32*MaxExperts-1:0] router_logits_i,
    // Predictor.
    output logic                          table_write_o,
    output logic [     TableBeatBits-1:0] table_beat_o,
    output logic                          sequence_clear_o,
    output logic                          sequence_copy_o,
    output logic [      SequenceBits-1:0] sequence_source_o,
    output logic [      SequenceBits-1:0] sequence_o,
    output logic                          observe_o,
    input  logic                          observe_ready_i,
    // Expert buffer.
    output logic                          decide_o,
    output logic [                   7:0] decide_key_o,
    output logic                          decide_count_o,
    output logic                          decide_hold_o,
    input  logic                          answer_i,
    input  logic [          SlotBits-1:0] answer_slot_i,
    input  logic [                   1:0] answer_class_i,
    output logic                          pin_o,
    output logic [          SlotBits-1:0] slot_o,
    output logic                          prefetch_o,
    output logic [                   7:0] prefetch_key_o,
    input  logic                          prefetch_ready_i,
    output logic                          flush_o,
    input  logic                          flushed_i,
    output logic                          keep_write_o,
    output logic [                   3:0] keep_layer_o,
    // Engine.
    output logic                          token_write_o,
    output logic [     TokenBeatBits-1:0] token_beat_o,
    output logic                          engine_start_o,
    input  logic                          engine_done_i,
    input  logic                          engine_issue_i,
    input  logic                          engine_starved_i,
    input  logic [                  31:0] hidden_maximum_i,
    input  logic [      RouterBeatBits:0] result_beats_i,        // beats of sums that the engine has finished
    output logic                          result_read_o,
    output logic [    RouterBeatBits-1:0] result_beat_o,
    input  logic [        8*AxiBytes-1:0] result_data_i
);

  localparam int unsigned LineBeats = flame_pkg::LineBytes / AxiBytes;
  localparam int unsigned LineBeatBits = $clog2(LineBeats);

  typedef enum logic [3:0] {
    StateIdle,
    StateFetch,
    StateFetchWait,
    StateDecode,
    StateRoute,
    StateDecide,
    StateArm,
    StateCompute,
    StateResult,
    StateResultWait,
    StateDelay,
    StateTables,
    StateFlush,
    StatePrefetch,
    StateDone
  } state_e;

  state_e state_q;
  logic [7:0] error_q;
  logic [23:0] command_q;
  logic [223:0] fetched_q[8];
  logic [223:0] current;
  logic [31:0] delay_q, cycles_q;
  logic [15:0] beat_q;
  logic [RouterBeatBits:0] router_beats;
  logic [TokenBeatBits:0] token_beats;
  logic [15:0] wanted_beats;
  logic token_complete, armed_q;
  logic [7:0] expert_q;
  logic [SlotBits-1:0] slot_q;
  logic [1:0] class_q;
  logic pinned_q;
  logic broken_q;  // a load had an error since the slots were last forgotten
  logic [3:0] load_expert_q;
  logic hint_held_q, hint_due_q;
  logic [7:0] hint_key_q;

  // ---- Command fields.
  logic [7:0] opcode, flags, layer, expert, sequence_id, source_id;
  logic [63:0] input_address, output_address;
  logic [31:0] count;
  logic route, forced, lookup, observe, compute;
  assign current = fetched_q[command_q[2:0]];
  assign opcode = current[7:0];
  assign flags = current[15:8];
  assign layer = current[23:16];
  assign expert = current[31:24];
  assign sequence_id = current[39:32];
  assign source_id = current[47:40];
  assign input_address = current[127:64];
  assign output_address = current[191:128];
  assign count = current[223:192];
  assign route = flags[flame_pkg::FlagRoute];
  assign forced = flags[flame_pkg::FlagForced];
  assign lookup = flags[flame_pkg::FlagLookup];
  assign observe = flags[flame_pkg::FlagObserve];
  assign compute = flags[flame_pkg::FlagCompute];

  assign router_beats = (RouterBeatBits + 1)'({model_blocks_i, 2'b00}) << LineBeatBits;
  assign token_beats = (TokenBeatBits + 1)'(model_blocks_i) << LineBeatBits;
  assign wanted_beats = (route ? 16'(router_beats) : 16'd0) + (compute ? 16'(token_beats) : 16'd0);
  assign token_complete = beat_q == wanted_beats;

  // ---- Checks made when a command is decoded.
  logic [7:0] command_error, start_error;
  logic reads;  // the command has something to fetch
  assign reads = (opcode == flame_pkg::OpLayer) ? route || compute :
                 opcode == flame_pkg::OpLoadRouter || opcode == flame_pkg::OpLoadTable || opcode == flame_pkg::OpLoadKeep;
  always_comb begin
    command_error = flame_pkg::ErrorNone;
    if (opcode > flame_pkg::OpPrefetch) command_error = flame_pkg::ErrorOpcode;
    if (opcode == flame_pkg::OpLayer || opcode == flame_pkg::OpPrefetch) begin
      if (layer >= 8'(layers_i)) command_error = flame_pkg::ErrorLayer;
      if ((!route || forced) && expert >= 8'(experts_i)) command_error = flame_pkg::ErrorExpert;
      if (sequence_id >= 8'(NumSequences)) command_error = flame_pkg::ErrorSequence;
    end
    if (opcode == flame_pkg::OpLoadRouter && layer >= 8'(layers_i)) command_error = flame_pkg::ErrorLayer;
    if (opcode == flame_pkg::OpLoadTable && (count[31:16] != '0 || 32'(current[63:48]) + count > 32'(2 ** TableBeatBits))) begin
      command_error = flame_pkg::ErrorCount;
    end
    if (opcode == flame_pkg::OpLoadKeep && count > 32'd16) command_error = flame_pkg::ErrorCount;
    if (reads && input_address[5:0] != '0 || opcode == flame_pkg::OpLayer && output_address[5:0] != '0) begin
      command_error = flame_pkg::ErrorAddress;
    end
    if ((opcode == flame_pkg::OpClearSequence || opcode == flame_pkg::OpCopySequence) &&
        (sequence_id >= 8'(NumSequences) || source_id >= 8'(NumSequences))) begin
      command_error = flame_pkg::ErrorSequence;
    end
    start_error = flame_pkg::ErrorNone;
    if (model_blocks_i == '0 || 32'(model_blocks_i) > MaxDModel / 64 || ff_blocks_i == '0 ||
        32'(ff_blocks_i) > MaxDff / 64 || experts_i == '0 || 32'(experts_i) > MaxExperts || layers_i == '0 ||
        32'(layers_i) > MaxLayers) begin
      start_error = flame_pkg::ErrorShape;
    end
    if (!shape_fits_i) start_error = flame_pkg::ErrorShape;
    if (!predictor_fits_i) start_error = flame_pkg::ErrorPredictor;
    if (commands_i[5:0] != '0) start_error = flame_pkg::ErrorAddress;
    if (slots_i == '0 || slots_i > MaxSlots || !slots_fit_i) start_error = flame_pkg::ErrorSlots;
  end

  logic take_read;
  assign take_read = read_o && read_ready_i;

  // Of a command's line the first 28 bytes count.
  logic [2:0] fetched_command;
  assign fetched_command = 3'(beat_q >> LineBeatBits);
  always_ff @(posedge clk_i) begin
    if (state_q == StateFetchWait && data_valid_i) begin
      for (int unsigned word = 0; word < 7; word++) begin
        if ((beat_q & 16'(LineBeats - 1)) == 16'(word / Words)) begin
          fetched_q[fetched_command][32*word+:32] <= data_i[32*(word%Words)+:32];
        end
      end
    end
  end

  logic results_sent, load_done;
  logic [15:0] load_beats;
  assign load_beats = count[15:0];
  assign load_done = beat_q == load_beats;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q       <= StateIdle;
      error_q       <= flame_pkg::ErrorNone;
      command_q     <= '0;
      delay_q       <= '0;
      cycles_q      <= '0;
      beat_q        <= '0;
      expert_q      <= '0;
      slot_q        <= '0;
      class_q       <= '0;
      pinned_q      <= 1'b0;
      armed_q       <= 1'b0;
      load_expert_q <= '0;
    end else begin
      cycles_q <= cycles_q + 1'b1;
      if (data_valid_i) beat_q <= beat_q + 1'b1;
      unique case (state_q)
        StateIdle:
        if (start_i) begin
          command_q <= '0;
          error_q   <= (broken_q || load_error_i) ? flame_pkg::ErrorAxiRead : start_error;
          state_q   <= (broken_q || load_error_i || start_error != flame_pkg::ErrorNone) ? StateDone : StateFetch;
        end

        StateFetch: begin
          cycles_q <= '0;
          if (error_q != flame_pkg::ErrorNone || command_q == command_count_i) begin
            state_q <= StateDone;
          end else if (command_q[2:0] != '0) begin
            state_q <= StateDecode;
          end else if (read_ready_i) begin
            beat_q  <= '0;
            state_q <= StateFetchWait;
          end
        end
        StateFetchWait: if (beat_q == 16'(8 * LineBeats)) state_q <= StateDecode;

        StateDecode: begin
          beat_q        <= '0;
          load_expert_q <= '0;
          expert_q      <= expert;
          class_q       <= flame_pkg::ClassNone;
          delay_q       <= count;
          if (command_error != flame_pkg::ErrorNone) begin
            error_q <= command_error;
            state_q <= StateDone;
          end else begin
            unique case (opcode)
              flame_pkg::OpLayer:
              if (!(route || compute) || read_ready_i) begin
                state_q <= route ? StateRoute : (lookup || compute) ? StateDecide : StateArm;
              end
              flame_pkg::OpDelay: state_q <= StateDelay;
              flame_pkg::OpLoadRouter, flame_pkg::OpLoadTable, flame_pkg::OpLoadKeep:
              if (read_ready_i) state_q <= StateTables;
              flame_pkg::OpFlush: state_q <= StateFlush;
              flame_pkg::OpPrefetch: state_q <= StatePrefetch;
              flame_pkg::OpEnd: state_q <= StateDone;
              default: begin
                command_q <= command_q + 1'b1;
                state_q   <= StateFetch;
              end
            endcase
          end
        end

        StateRoute:
        if (router_done_i) begin
          if (!forced) expert_q <= 8'(router_choice_i);
          state_q <= (lookup || compute) ? StateDecide : StateArm;
        end

        StateDecide:
        if (answer_i) begin
          slot_q   <= answer_slot_i;
          class_q  <= lookup ? answer_class_i : flame_pkg::ClassNone;
          pinned_q <= compute;
          state_q  <= StateArm;
        end

        // Tell the predictor; wait for the rest of the token; start the engine.
        StateArm: begin
          if (observe && observe_ready_i && !armed_q) armed_q <= 1'b1;
          if ((!observe || armed_q) && token_complete) begin
            armed_q <= 1'b0;
            state_q <= compute ? StateCompute : StateResult;
          end
        end

        StateCompute:
        if (engine_done_i) begin
          pinned_q <= 1'b0;
          state_q  <= StateResult;
        end

        StateResult: if (write_ready_i) state_q <= StateResultWait;
        StateResultWait:
        if (results_sent && write_idle_i) begin
          command_q <= command_q + 1'b1;
          state_q   <= StateFetch;
        end

        StateDelay: begin
          delay_q <= delay_q - 1'b1;
          if (delay_q <= 32'd1) begin
            command_q <= command_q + 1'b1;
            state_q   <= StateFetch;
          end
        end

        StateTables: begin
          if (data_valid_i && opcode == flame_pkg::OpLoadRouter && beat_q + 1'b1 == 16'(router_beats)) begin
            beat_q        <= '0;
            load_expert_q <= load_expert_q + 1'b1;
            if (5'(load_expert_q) + 1'b1 == experts_i) begin
              command_q <= command_q + 1'b1;
              state_q   <= StateFetch;
            end
          end
          if (opcode != flame_pkg::OpLoadRouter && load_done) begin
            command_q <= command_q + 1'b1;
            state_q   <= StateFetch;
          end
        end

        StateFlush:
        if (flushed_i) begin
          if (error_q != flame_pkg::ErrorNone) begin
            state_q <= StateDone;
          end else begin
            command_q <= command_q + 1'b1;
            state_q   <= StateFetch;
          end
        end

        StatePrefetch:
        if (!hint_held_q) begin
          command_q <= command_q + 1'b1;
          state_q   <= StateFetch;
        end

        StateDone:
        if (broken_q) state_q <= StateFlush;
        else if (!hint_held_q) state_q <= StateIdle;
        default: state_q <= StateIdle;
      endcase
      // The first error stays; the command at hand ends in its own time, then the kernel is done.
      if (error_q == flame_pkg::ErrorNone && state_q != StateIdle) begin
        if (read_error_i || load_error_i) error_q <= flame_pkg::ErrorAxiRead;
        if (write_error_i) error_q <= flame_pkg::ErrorAxiWrite;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flushed_i) broken_q <= 1'b0;
    else if (load_error_i) broken_q <= 1'b1;
  end

  // ---- A hint waits for the next decision, so that its load stands behind that one's; another hint, a delay or the end of the
  // list sends it before.
  always_ff @(posedge clk_i) begin
    if (!rst_ni || state_q == StateFlush) begin
      hint_held_q <= 1'b0;
      hint_due_q  <= 1'b0;
    end else if (hint_held_q) begin
      if (state_q == StateDecide && answer_i) hint_due_q <= 1'b1;
      if (prefetch_o && prefetch_ready_i) hint_held_q <= 1'b0;
    end else if (state_q == StatePrefetch) begin
      hint_held_q <= 1'b1;
      hint_due_q  <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (state_q == StatePrefetch && !hint_held_q) hint_key_q <= {layer[3:0], expert[3:0]};
  end
  assign prefetch_o = hint_held_q && (hint_due_q || state_q == StatePrefetch || state_q == StateDelay || state_q == StateDone);
  assign prefetch_key_o = hint_key_q;

  // ---- Requests.
  always_comb begin
    read_o = 1'b0;
    read_address_o = input_address;
    read_beats_o = wanted_beats;
    if (state_q == StateFetch) begin
      read_o = error_q == flame_pkg::ErrorNone && command_q != command_count_i && command_q[2:0] == '0;
      read_address_o = commands_i + (64'(command_q) << 6);
      read_beats_o = 16'(8 * LineBeats);
    end else if (state_q == StateDecode && command_error == flame_pkg::ErrorNone) begin
      read_o = reads;
      if (opcode != flame_pkg::OpLayer) begin
        read_beats_o = (opcode == flame_pkg::OpLoadRouter) ? 16'(experts_i) * 16'(router_beats) : load_beats;
      end
    end
  end

  assign router_start_o = state_q == StateDecode && opcode == flame_pkg::OpLayer && route && take_read;
  assign router_beat_valid_o = data_valid_i && route && opcode == flame_pkg::OpLayer && beat_q < 16'(router_beats) &&
                               state_q == StateRoute;
  logic token_state;
  assign token_state = state_q == StateRoute || state_q == StateDecide || state_q == StateArm;
  assign token_write_o = data_valid_i && compute && token_state && (!route || beat_q >= 16'(router_beats));
  assign token_beat_o = TokenBeatBits'(beat_q - (route ? 16'(router_beats) : 16'd0));
  assign router_write_o = data_valid_i && state_q == StateTables && opcode == flame_pkg::OpLoadRouter;
  assign router_layer_o = LayerBits'(layer);
  assign router_expert_o = ExpertBits'(load_expert_q);
  assign router_beat_o = RouterBeatBits'(beat_q);
  assign table_write_o = data_valid_i && state_q == StateTables && opcode == flame_pkg::OpLoadTable;
  assign table_beat_o = TableBeatBits'(32'(current[63:48]) + 32'(beat_q));
  assign keep_write_o = data_valid_i && state_q == StateTables && opcode == flame_pkg::OpLoadKeep;
  assign keep_layer_o = beat_q[3:0];
  assign sequence_clear_o = state_q == StateDecode && opcode == flame_pkg::OpClearSequence &&
                            command_error == flame_pkg::ErrorNone;
  assign sequence_copy_o = state_q == StateDecode && opcode == flame_pkg::OpCopySequence &&
                           command_error == flame_pkg::ErrorNone;
  assign sequence_o = SequenceBits'(sequence_id);
  assign sequence_source_o = SequenceBits'(source_id);
  assign observe_o = state_q == StateArm && observe && observe_ready_i && !armed_q;
  assign decide_o = state_q == StateDecide;
  assign decide_key_o = {layer[3:0], expert_q[3:0]};
  assign decide_count_o = lookup;
  assign decide_hold_o = !compute;
  assign pin_o = pinned_q;
  assign slot_o = slot_q;
  assign flush_o = state_q == StateFlush;
  assign engine_start_o = state_q == StateArm && compute && (!observe || armed_q) && token_complete;

  // ---- Results: the sums as soon as all blocks but the last are there, then two lines about the command; one word of
  // look-ahead hides the memory's latency.
  localparam int unsigned RecordBeats = 2 * LineBeats;
  logic [15:0] sum_beats, next_result_q, sent_q;
  logic sums_asked_q, pushing_q, record_q, queue_ready, queue_valid;
  logic [2:0] record_beat_q;
  logic [8*AxiBytes-1:0] queue_data;
  logic [1023:0] record;
  logic [2:0] queued;
  logic ask_sums, ask_record, sums_due, request;
  assign sum_beats = compute ? 16'(router_beats) : 16'd0;
  assign ask_sums = state_q == StateCompute && !sums_asked_q && 16'(result_beats_i) + 16'd4 >= sum_beats;
  assign ask_record = state_q == StateResult;
  assign sums_due = sums_asked_q && next_result_q < sum_beats &&
                    (state_q != StateCompute || next_result_q < 16'(result_beats_i));
  assign request = (sums_due || (state_q == StateResultWait && next_result_q >= sum_beats && next_result_q < sum_beats + 16'(RecordBeats))) &&
                   queued + 3'(pushing_q) < 3'd3;
  assign result_read_o = request && next_result_q < sum_beats;
  assign result_beat_o = RouterBeatBits'(next_result_q);
  assign record = {512'(router_logits_i), 384'd0, cycles_q, hidden_maximum_i, 16'd0, 6'd0, class_q, expert_q, 32'hF1A3_0001};

  always_ff @(posedge clk_i) begin
    if (!rst_ni || state_q == StateDecode) begin
      next_result_q <= '0;
      sent_q        <= '0;
      sums_asked_q  <= 1'b0;
      pushing_q     <= 1'b0;
      record_q      <= 1'b0;
      record_beat_q <= '0;
    end else begin
      pushing_q     <= request;
      record_q      <= next_result_q >= sum_beats;
      record_beat_q <= 3'(next_result_q - sum_beats);
      if (ask_sums && write_ready_i) sums_asked_q <= 1'b1;
      if (request) next_result_q <= next_result_q + 1'b1;
      if (write_data_valid_o && write_data_ready_i) sent_q <= sent_q + 1'b1;
    end
  end
  assign queue_data = record_q ? record[8*AxiBytes*32'(record_beat_q)+:8*AxiBytes] : result_data_i;
  assign results_sent = sent_q == sum_beats + 16'(RecordBeats);

  fifo #(
      .Width(8 * AxiBytes),
      .Depth(4)
  ) u_results (
      .clk_i,
      .rst_ni,
      .clear_i(state_q == StateDecode),
      .valid_i(pushing_q),
      .ready_o(queue_ready),
      .data_i (queue_data),
      .valid_o(queue_valid),
      .ready_i(write_data_ready_i),
      .data_o (write_data_o),
      .count_o(queued)
  );
  assign write_data_valid_o = queue_valid;
  assign write_o = ask_sums || ask_record;
  assign write_address_o = ask_sums ? output_address + 64'(2 * flame_pkg::LineBytes) : output_address;
  assign write_beats_o = ask_sums ? sum_beats : 16'(RecordBeats);

  assign done_o = state_q == StateDone && !hint_held_q && !broken_q;
  assign idle_o = state_q == StateIdle;
  assign error_o = error_q;
  assign command_index_o = command_q;

  always_comb begin
    unique case (state_q)
      StateIdle: cycle_kind_o = flame_pkg::CycleIdle;
      StateRoute, StateArm: cycle_kind_o = flame_pkg::CycleInput;
      StateDecide, StatePrefetch: cycle_kind_o = flame_pkg::CycleDecide;
      StateCompute:
      cycle_kind_o = engine_issue_i ? flame_pkg::CycleCompute :
                     engine_starved_i ? flame_pkg::CycleMemory : flame_pkg::CycleOverhead;
      StateResult, StateResultWait: cycle_kind_o = flame_pkg::CycleOutput;
      StateDelay: cycle_kind_o = flame_pkg::CycleDelay;
      StateTables, StateFlush: cycle_kind_o = flame_pkg::CycleTables;
      default: cycle_kind_o = flame_pkg::CycleCommand;
    endcase
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!pushing_q || queue_ready) else $error("sequencer: a result was lost");
      assert (state_q != StateResult || !compute || sums_asked_q) else $error("sequencer: sums were not written");
    end
  end
`endif

endmodule
